"""Memory of a worker that scores rows of 1 MB, and one that scores with an artifact of 1 GB; prints Markdown for docs/benchmarks.md.

Each task has a worker of its own, of which the resident memory is looked at every few milliseconds; the first line of an engine is
that of narrow rows and a model of one weight. Pages of a mapped file are shared among workers and go when others need the room, so those of its own are told apart. `--rows 50 --mebibytes 64` tries it out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, LongType, StringType, StructField, StructType, TimestampType
from rounds import heading

from feature_store.delta import PlacedFile, Tables, Transaction, folder_of
from feature_store.names import Warehouse
from sparkml_ops import session
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ArrayInput, CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.records import ModelVersion, Snapshot, TrainingSet
from sparkml_ops.scoring import score
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.published import PublishedModel, publish
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER

WINDOW, WIDTH, MIB = "2020-01", 1 << 18, 1 << 20
ENGINES = ("files", "arrow", "pandas")
PAGE = resource.getpagesize() / MIB
CONF = {"spark.sql.shuffle.partitions": "2", "spark.python.worker.reuse": "false"}
SET = TrainingSet("bench_1", Snapshot("training_set_bench_1", 0), {}, "0" * 16, 1)


@dataclass
class Peak:
    """What the workers took, in MiB.

    Args:
        whole: Of the largest: all pages, mapped files among them.
        own: Of the largest: its own alone.
    """

    whole: float = 0.0
    own: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look until it is ended."""
        known: dict[int, bool] = {}
        while not self.ended.wait(0.003):
            for process in _below(os.getpid()):
                if known.setdefault(process, _is_worker(process)):
                    resident, shared = _pages(process)
                    self.whole, self.own = max(self.whole, resident), max(self.own, resident - shared)


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="of 1 MiB")
    parser.add_argument("--mebibytes", type=int, default=1024, help="of an artifact")
    parser.add_argument("--engines", nargs="*", default=ENGINES, choices=ENGINES)
    arguments = parser.parse_args()
    spark = session.build(session.SparkSection(master="local[2]", driver_memory="6g", conf=CONF))
    print(heading(f"python scripts/bench/scoring_memory.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    print("| what | engine | bytes of a batch or model, MiB | resident at most, MiB | its own pages, MiB |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        bench = Bench(spark, Path(folder))
        for engine in arguments.engines:
            for line in measured(bench, engine, arguments.rows, arguments.mebibytes):
                print(line, flush=True)
    spark.stop()
    return 0


@dataclass(frozen=True)
class Bench:
    """Where everything lies.

    Args:
        spark: The session.
        folder: Scratch.
    """

    spark: SparkSession
    folder: Path

    @property
    def tables(self) -> Tables:
        """The warehouse."""
        return Tables(self.spark, Warehouse(root=str(self.folder / "warehouse")))


def measured(bench: Bench, engine: str, rows: int, mebibytes: int) -> Iterator[str]:
    """Lines of an engine."""
    narrow = stored(bench, "narrow", 20_000, DoubleType(), lambda count: pa.array(np.random.default_rng(1).normal(size=count)))
    number = model(bench, "number", ModelSpec("linear", (NumericInput("x", "double", 0.0, 0.0, 1.0),), ()))
    run(bench, number, narrow, engine, "first")  # it makes the table
    with watching() as peak:
        run(bench, number, narrow, engine, "narrow")
    yield line("narrow rows", engine, 1, peak)
    wide = stored(bench, "wide", rows, ArrayType(FloatType()), vectors)
    spec = ModelSpec("linear", (), (), arrays=(ArrayInput("x", "array<float>", (0.0,) * WIDTH, (1.0,) * WIDTH),))
    with watching() as peak:
        run(bench, model(bench, "vector", spec), wide, engine, "wide")
    yield line(f"{rows} rows of 1 MiB", engine, 32, peak)
    if engine != "files":  # a model is the same on each
        return
    texts = stored(bench, "texts", 100_000, StringType(), lambda count: pa.array([f"t{index}" for index in range(count)]))
    table = ModelSpec("mlp", (), (CategoricalInput("x", "string", (), 64, buckets=mebibytes * MIB // 256 - 1),), (16,))
    with watching() as peak:
        run(bench, model(bench, "table", table), texts, engine, "table")
    yield line("a table of vectors", engine, mebibytes, peak)
    side = int((mebibytes * MIB // 4) ** 0.5)
    layers = ModelSpec("mlp", (NumericInput("x", "double", 0.0, 0.0, 1.0),), (), (side, side))
    small = stored(bench, "small", 2_000, DoubleType(), lambda count: pa.array(np.random.default_rng(2).normal(size=count)))
    with watching() as peak:
        run(bench, model(bench, "layers", layers), small, engine, "layers")
    yield line(f"two layers of {side}", engine, mebibytes, peak)


def line(what: str, engine: str, size: int, peak: Peak) -> str:
    """One line of the table."""
    return f"| {what} | {engine} | {size} | {peak.whole:.0f} | {peak.own:.0f} |"


@contextmanager
def watching() -> Iterator[Peak]:
    """The workers' peaks meanwhile."""
    peak = Peak()
    thread = threading.Thread(target=peak.watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.ended.set()
        thread.join()


def _below(process: int) -> Iterator[int]:
    """Processes below one."""
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        for thread in (int(path.name) for path in Path(f"/proc/{process}/task").iterdir()):
            if thread != process:
                found += Path(f"/proc/{process}/task/{thread}/children").read_text().split()
    except OSError:
        return
    for child in map(int, found):
        yield child
        yield from _below(child)


def _is_worker(process: int) -> bool:
    """Whether Spark's daemon forked it: its command is the daemon's, as its parent's is."""
    try:
        parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        commands = [Path(f"/proc/{which}/cmdline").read_bytes().split(b"\0") for which in (process, parent)]
        return all(b"python" in command[0] and b"daemon" in b" ".join(command) for command in commands)  # Java names the daemon too
    except OSError:
        return False


def _pages(process: int) -> tuple[float, float]:
    """Resident and shared memory of a process, in MiB."""
    with suppress(OSError):
        resident, shared = Path(f"/proc/{process}/statm").read_text().split()[1:3]
        return int(resident) * PAGE, int(shared) * PAGE
    return 0.0, 0.0


def vectors(count: int) -> pa.Array:
    """[rows] of 1 MiB."""
    values = np.random.default_rng(count).normal(size=count * WIDTH).astype(np.float32)
    return pa.ListArray.from_arrays(np.arange(0, len(values) + 1, WIDTH, dtype=np.int32), pa.array(values))


def stored(bench: Bench, name: str, rows: int, kind: DataType, make: Callable[[int], pa.Array]) -> Snapshot:
    """A scoring set of one file with a column `x`; made once."""
    name = f"bench_{name}_scoring_set"
    if bench.tables.exists(name):
        return bench.tables.newest(name)
    schema = [StructField("id", LongType()), StructField("at", TimestampType()), StructField("x", kind), StructField("window", StringType())]
    bench.tables.ensure(name, StructType(schema), partition_by=("window",))
    folder = Path(bench.tables.location(name), folder_of({"window": WINDOW}))
    folder.mkdir()
    path, writer = folder / "part-0.snappy.parquet", None
    for start in range(0, rows, 50 if rows < 10_000 else rows):
        count = min(rows - start, 50 if rows < 10_000 else rows)
        ids = np.arange(start, start + count)
        part = pa.table({"id": ids, "at": pa.array(ids, pa.timestamp("us", "UTC")), "x": make(count)})
        writer = writer or pq.ParquetWriter(path, part.schema, use_dictionary=False, store_schema=False)
        writer.write_table(part)
    assert writer is not None
    writer.close()
    placed = [PlacedFile(f"{folder.name}/{path.name}", path.stat().st_size, {"window": WINDOW}, f'{{"numRecords": {rows}}}')]
    return bench.tables.place(name, placed, {"window": WINDOW}, transaction=Transaction(name)).snapshot


def model(bench: Bench, name: str, spec: ModelSpec) -> ScoringModel:
    """A model with random weights, ready to score; made once."""
    folder, storage = bench.folder / name, Storage(str(bench.folder / "storage"))
    if not folder.exists():
        with torch.device("cpu"):
            artifact.save(folder, spec, build(spec, seed=1).state_dict())
    paths = sorted(folder.iterdir())
    files = []
    for path in paths:
        with path.open("rb") as file:
            files.append((path.name, hashlib.file_digest(file, "sha256").hexdigest()))
    signature = Signature.of_artifact(folder)
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    published = PublishedModel(storage, digest, OWN_LOADER, tuple(files), signature.inputs, signature.outputs)
    publish(published, folder)
    return ScoringModel(ModelVersion("bench", 1, digest, SET), published)


def run(bench: Bench, found: ScoringModel, rows: Snapshot, engine: str, slot: str) -> None:
    """`score`, into a slot of its own."""
    score(
        bench.spark,
        bench.tables,
        found,
        rows,
        window=WINDOW,
        slot=f"{engine}_{slot}",
        generation=0,
        settings=ScoringSection(target="bench_scores", engine=engine),
        scored_at=datetime(2020, 2, 1, tzinfo=UTC),
        run_id="bench",
        row_key=("id",),
        spine_time="at",
    )


if __name__ == "__main__":
    raise SystemExit(main())
