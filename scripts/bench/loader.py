"""The loader beside bare decoding and loaders that go row by row; prints Markdown for docs/benchmarks.md.

Rows of 28 floats and a label in row groups of 125,000, in pages of 20,000 as Spark writes them. Bare decoding is one thread's; that which keeps
what it decodes tells what new memory costs on the machine, which a first epoch pays too. Loaders that go row by row are timed on fewer rows. Memory is of a process for each size (`--memory 20000000` for the large one).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rounds import heading, measure

from sparkml_ops.model.spec import ModelSpec, NumericInput
from sparkml_ops.training.group_reader import GroupReader
from sparkml_ops.training.loader import Loader
from sparkml_ops.training.plan import Group, Plan
from sparkml_ops.training.shuffle_quality import ShuffleQuality, shuffle_quality

COLUMNS = [f"x{index:02d}" for index in range(28)]
READ = [*COLUMNS, "label", "split", "row_position"]
SPEC = ModelSpec("mlp", tuple(NumericInput(name, "float", 0.1, 0.1, 1.1) for name in COLUMNS), (), (64,))
GROUP, FILE, PAGE = 125_000, 500_000, 20_000
BATCH, SHARDS = 1024, 24
BY_ROW = 100_000
MEBI = 2**20


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, nargs="*", default=[2_000_000], help="rows of the runs that measure memory")
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(peak(Path(arguments.child))))
        return 0
    torch.set_num_threads(1)
    print(heading(f"python scripts/bench/loader.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        speed(write(Path(folder) / "rows", arguments.rows), arguments.rounds)
    print(
        "\n| rows | rows are | peak MiB of a rank | of these, imports | CPU seconds a million rows | of decoding alone |\n|---:|---|---:|---:|---:|---:|"
    )
    for rows in arguments.memory:
        with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
            write(Path(folder) / "rows", rows)
            memory(Path(folder) / "rows", rows)
    return 0


def write(folder: Path, rows: int) -> tuple[Group, ...]:
    """Seeded rows, and their row groups."""
    folder.mkdir()
    options = {"row_group_size": GROUP, "use_dictionary": ["split"], "compression": "snappy", "data_page_size": PAGE * 4, "write_batch_size": PAGE}
    for number, start in enumerate(range(0, rows, FILE)):
        rng, count = np.random.default_rng((1, number)), min(FILE, rows - start)
        columns = {name: rng.normal(size=count).astype(np.float32) for name in COLUMNS}
        label, position = (rng.random(count) < 0.3).astype(np.int32), np.arange(start, start + count)
        pq.write_table(pa.table({**columns, "label": label, "split": ["train"] * count, "row_position": position}), _name(folder, number), **options)
    return groups(folder)


def groups(folder: Path) -> tuple[Group, ...]:
    """What is in a folder."""
    found = []
    for path in sorted(folder.iterdir()):
        footer = pq.read_metadata(path)
        found += [Group(str(path), index, footer.row_group(index).num_rows) for index in range(footer.num_row_groups)]
    return tuple(found)


def speed(groups: tuple[Group, ...], rounds: int) -> None:
    """All in turns, and the quality of the order."""
    rows = sum(group.rows for group in groups)
    ours = {"ours, first epoch": partial(ours_first, groups), "ours, streamed": partial(ours_first, groups, budget=0)}
    later = loader(groups)
    epochs = iter(range(1, 1_000))
    drain(later, 0)
    contestants: dict[str, Callable[[], object]] = {
        "decoding alone": partial(decode, groups),
        "decoding alone, all kept": partial(kept, groups),
        **ours,
    }
    contestants["ours, later epochs"] = lambda: drain(later, next(epochs))
    contestants["TorchDistributor's dataset"] = partial(by_partition, groups)
    contestants["to_pylist"] = partial(by_row, groups)
    costs = measure(contestants, rounds, alternate=True)
    counts = dict.fromkeys(contestants, rows) | {"TorchDistributor's dataset": BY_ROW, "to_pylist": BY_ROW}
    print("| way | million rows a second | CPU seconds a million rows | ours, first epoch, is so many times as fast |\n|---|---:|---:|---:|")
    mine = rows / costs["ours, first epoch"].seconds
    for name, cost in costs.items():
        each = counts[name] / cost.seconds
        print(f"| {name} | {each / 1e6:.3f} | {cost.cpu / counts[name] * 1e6:.2f} | {mine / each:.2f} |", flush=True)
    print("\n| order of the rows of a batch | distance from uniform | of a random sample | next to each other in the data | random |")
    print("|---|---:|---:|---:|---:|")
    for shuffle in (True, False):
        told(f"{'ours' if shuffle else 'not shuffled, 24 shards'}", quality(groups, shuffle=shuffle))
    told("row groups one after the other, shuffled inside", shuffle_quality(by_group(rows), rows))


def told(name: str, found: ShuffleQuality) -> None:
    """A line of the table."""
    print(f"| {name} | {found.distance:.3f} | {found.random_distance:.3f} | {found.neighbours:.5f} | {found.random_neighbours:.5f} |", flush=True)


def quality(groups: tuple[Group, ...], *, shuffle: bool) -> ShuffleQuality:
    """Of the first 200 batches of an epoch."""
    plan = Plan(groups, SHARDS, BATCH, 7, shuffle=shuffle)
    reading = Loader(plan, GroupReader(SPEC, label="label", split="train", dtype="float32"), rank=0, size=1)
    return shuffle_quality([batch.position.numpy() for batch in islice(reading.batches(0), 200)], plan.rows)


def by_group(rows: int) -> list[np.ndarray]:
    """What a loader does that has one row group open."""
    rng = np.random.default_rng(3)
    shuffled = np.concatenate([start + rng.permutation(min(GROUP, rows - start)) for start in range(0, rows, GROUP)])
    return list(shuffled[: len(shuffled) // BATCH * BATCH].reshape(-1, BATCH)[:200])


def loader(groups: tuple[Group, ...], **options: int) -> Loader:
    """A rank of one, as a training makes it."""
    plan = Plan(groups, SHARDS, BATCH, 7)
    return Loader(plan, GroupReader(SPEC, label="label", split="train", dtype="float32"), rank=0, size=1, **options)


def drain(reading: Loader, epoch: int) -> int:
    """All batches of an epoch."""
    rows = sum(len(batch.label) for batch in reading.batches(epoch))
    if rows != reading.plan.rows:
        raise SystemExit(f"{rows} rows of {reading.plan.rows}")
    return rows


def ours_first(groups: tuple[Group, ...], **options: int) -> int:
    """An epoch of a loader that has read nothing yet."""
    return drain(loader(groups, **options), 0)


def decode(groups: tuple[Group, ...], taken: Callable[[pa.Table], object] = id) -> None:
    """Every row group into Arrow, and nothing more than to hand it over."""
    for group in groups:
        with pq.ParquetFile(group.path, pre_buffer=True) as file:
            taken(file.read_row_group(group.index, columns=READ, use_threads=False))


def kept(groups: tuple[Group, ...]) -> None:
    """The same, all of it in memory at the end."""
    decode(groups, [].append)


def by_partition(groups: tuple[Group, ...]) -> None:
    """The dataset of pyspark over an Arrow file of the partition, which TorchDistributor writes on the executor, behind torch's loader."""
    from pyspark.ml.torch.data import _SparkPartitionTorchDataset
    from pyspark.sql.types import FloatType, IntegerType, StructField, StructType

    kinds = {name: FloatType() for name in COLUMNS} | {"label": IntegerType()}
    schema = StructType([StructField(name, kind) for name, kind in kinds.items()])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "partition.arrow"
        with pq.ParquetFile(groups[0].path) as file, pa.OSFile(str(path), "wb") as sink:
            table = file.read_row_group(0, columns=list(kinds)).slice(0, BY_ROW)
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table, max_chunksize=10_000)
        dataset = _SparkPartitionTorchDataset(str(path), schema, table.num_rows)
        rows = sum(len(batch[-1]) for batch in torch.utils.data.DataLoader(dataset, batch_size=BATCH))
    if rows != BY_ROW:
        raise SystemExit(f"{rows} rows of {BY_ROW}")


def by_row(groups: tuple[Group, ...]) -> None:
    """Slices of a row, as Python objects, behind torch's loader."""

    class Rows(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[dict[str, float]]:
            with pq.ParquetFile(groups[0].path) as file:
                table = file.read_row_group(0, columns=[*COLUMNS, "label"]).slice(0, BY_ROW)
            for batch in table.to_batches():
                for index in range(batch.num_rows):
                    yield batch.slice(index, 1).to_pylist()[0]

    rows = sum(len(batch["label"]) for batch in torch.utils.data.DataLoader(Rows(), batch_size=BATCH))
    if rows != BY_ROW:
        raise SystemExit(f"{rows} rows of {BY_ROW}")


def memory(folder: Path, rows: int) -> None:
    """An epoch in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout)
    print(
        f"| {rows:,} | {found['source']} | {found['peak']:.0f} | {found['imports']:.0f} | {found['epoch']:.2f} | {found['decoding']:.2f} |",
        flush=True,
    )


def peak(folder: Path) -> dict[str, float | str]:
    """Most memory of this process, and what it had before the first row."""
    torch.set_num_threads(1)
    torch.zeros(BATCH, 28) @ torch.zeros(28, 64)
    imports = psutil.Process().memory_info().rss / MEBI
    reading = loader(groups(folder))
    began = time.process_time()
    drain(reading, 0)
    # Not ru_maxrss, which a process inherits from the one that started it.
    most = next(int(line.split()[1]) / 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    epoch = time.process_time() - began
    began = time.process_time()
    decode(groups(folder))
    each = 1e6 / reading.plan.rows
    kind = type(reading._source).__name__.lower()
    return {"peak": most, "imports": imports, "source": kind, "epoch": epoch * each, "decoding": (time.process_time() - began) * each}


def _name(folder: Path, number: int) -> Path:
    return folder / f"part-{number:03d}.parquet"


if __name__ == "__main__":
    raise SystemExit(main())
