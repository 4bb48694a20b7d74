"""Scoring engines beside a bare process and MLflow's spark_udf; prints Markdown for docs/benchmarks.md.

Rows of 30 numbers, as 30 columns of doubles and as one `array<float>`, with a key and a time, in four files of a Delta table. The bare process is pyarrow, the
same loaded model and Parquet, on one thread; what it writes is key and prediction. The engines are the whole of `score`: keys, checks, quarantine, lineage
and the commit. CPU seconds are of this process, Java and the Python workers. `--rows 1000000` tries it out.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, LongType, StringType, StructField, StructType, TimestampType
from rounds import Cost, heading, measure

from feature_store.delta import PlacedFile, Tables, Transaction, folder_of
from feature_store.names import Warehouse
from sparkml_ops import session
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ArrayInput, ModelSpec, NumericInput
from sparkml_ops.records import ModelVersion, Snapshot, TrainingSet
from sparkml_ops.scoring import score
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.published import PublishedModel, publish
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER
from sparkml_ops.tracking.package import write_package

WIDTH, WINDOW, GROUP, BATCH = 30, "2020-01", 250_000, 1 << 15
NAMES = [f"f{index:02d}" for index in range(WIDTH)]
LAYOUTS = ("columns", "array")
MODELS = ("linear", "mlp", "trees")
SET = TrainingSet("bench_1", Snapshot("training_set_bench_1", 0), {}, "0" * 16, 1)


@dataclass(frozen=True)
class Bench:
    """Where everything lies.

    Args:
        spark: The session.
        folder: Scratch.
        rows: Of each table.
    """

    spark: SparkSession
    folder: Path
    rows: int

    @property
    def tables(self) -> Tables:
        """The warehouse."""
        return Tables(self.spark, Warehouse(root=str(self.folder / "warehouse")))

    @property
    def storage(self) -> Storage:
        """The models' files."""
        return Storage(str(self.folder / "storage"))


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--layouts", nargs="*", default=LAYOUTS, choices=LAYOUTS)
    parser.add_argument("--engines", nargs="*", default=["files", "arrow", "pandas"])
    parser.add_argument("--without-udf", action="store_true", help="leave spark_udf out, which takes longest")
    parser.add_argument("--partitions", action="store_true", help="200 small files beside 4 large ones instead, of the linear model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    spark = session.build(session.SparkSection(master="local[2]", driver_memory="4g", conf={"spark.sql.shuffle.partitions": "4"}))
    print(heading(f"python scripts/bench/scoring.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
        bench = Bench(spark, Path(folder), arguments.rows)
        if arguments.partitions:
            small_files(bench, arguments.rounds)
        else:
            compare(bench, arguments)
    spark.stop()
    return 0


def compare(bench: Bench, arguments: argparse.Namespace) -> None:
    """All engines in turns, model by model and layout by layout."""
    costs: dict[tuple[str, str, str], Cost] = {}
    for layout in arguments.layouts:
        rows = stored(bench, layout, 4)
        for kind in arguments.models:
            contestants = dict(calls(bench, kind, layout, rows, arguments))
            costs |= {(layout, kind, name): cost for name, cost in measure(contestants, arguments.rounds, alternate=True).items()}
    print("| rows as | model | way | CPU seconds a million rows | million rows a CPU second | of the bare process | of spark_udf |")
    print("|---|---|---|---:|---:|---:|---:|")
    for (layout, kind, name), cost in costs.items():
        bare, udf = (costs.get((layout, kind, peer)) for peer in ("bare", "spark_udf"))
        beside = [f"{peer.cpu / cost.cpu:.2f}" if peer else "" for peer in (bare, udf)]
        print(f"| {layout} | {kind} | {name} | {cost.cpu / bench.rows * 1e6:.2f} | {bench.rows / cost.cpu / 1e6:.3f} | {' | '.join(beside)} |")


def small_files(bench: Bench, rounds: int) -> None:
    """What many files cost beside few."""
    generations = itertools.count()  # of one target: a repeated one would be no work
    call = {
        f"{engine}, {files} files": partial(engine_run, bench, made(bench, "linear", "columns"), stored(bench, "columns", files), engine, generations)
        for files in (4, 200)
        for engine in ("files", "arrow")
    }
    costs = measure(call, rounds, alternate=True)
    print("| engine | CPU seconds, 4 files | 200 files | ratio |\n|---|---:|---:|---:|")
    for engine in ("files", "arrow"):
        few, many = costs[f"{engine}, 4 files"].cpu, costs[f"{engine}, 200 files"].cpu
        print(f"| {engine} | {few:.2f} | {many:.2f} | {many / few:.2f} |")


def calls(bench: Bench, kind: str, layout: str, rows: Snapshot, arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], object]]]:
    """The contestants of a model and a layout."""
    model = made(bench, kind, layout)
    yield "bare", partial(bare, bench, model, layout)
    for engine in arguments.engines:
        yield engine, partial(engine_run, bench, model, rows, engine, itertools.count())
    # MLflow's frames of lists are none of XGBoost's.
    if not arguments.without_udf and (kind, layout) != ("trees", "array"):
        yield "spark_udf", partial(udf_run, bench, kind, layout, rows)


def stored(bench: Bench, layout: str, files: int) -> Snapshot:
    """Seeded rows as a scoring set, in so many files; made once."""
    name = f"bench_{layout}_{files}_scoring_set"
    wide = [StructField("x", ArrayType(FloatType()))] if layout == "array" else [StructField(item, DoubleType()) for item in NAMES]
    schema = StructType([StructField("id", LongType()), StructField("at", TimestampType()), *wide, StructField("window", StringType())])
    bench.tables.ensure(name, schema, partition_by=("window",))
    folder = Path(bench.tables.location(name), folder_of({"window": WINDOW}))
    folder.mkdir()
    placed = []
    for number in range(files):
        first, end = bench.rows * number // files, bench.rows * (number + 1) // files
        path = folder / f"part-{number:03d}.snappy.parquet"
        with pq.ParquetWriter(path, rows_of(layout, number, 0, 0).schema, use_dictionary=False, store_schema=False) as writer:
            for start in range(first, end, GROUP):
                writer.write_table(rows_of(layout, number, start, min(start + GROUP, end)))
        size, partition = path.stat().st_size, {"window": WINDOW}
        placed.append(PlacedFile(f"{folder.name}/{path.name}", size, partition, json.dumps({"numRecords": end - first})))
    return bench.tables.place(name, placed, {"window": WINDOW}, transaction=Transaction(name)).snapshot


def rows_of(layout: str, number: int, start: int, end: int) -> pa.Table:
    """Some rows: key, time and numbers, of which one in fifty is missing."""
    rng = np.random.default_rng((7, number, start))
    values = rng.normal(size=(end - start, WIDTH))
    ids = np.arange(start, end)
    keys = {"id": ids, "at": pa.array(ids + 1_577_836_800_000_000, pa.timestamp("us", "UTC"))}
    if layout == "array":
        offsets = np.arange(0, (end - start) * WIDTH + 1, WIDTH, dtype=np.int32)
        return pa.table({**keys, "x": pa.ListArray.from_arrays(offsets, pa.array(values.astype(np.float32).ravel()))})
    return pa.table({**keys, **{name: np.ascontiguousarray(values[:, index]) for index, name in enumerate(NAMES)}})


def made(bench: Bench, kind: str, layout: str) -> ScoringModel:
    """A model ready to score; its MLflow package lies beside it for the udf."""
    folder = bench.folder / f"model_{kind}_{layout}"
    if kind == "trees":
        loader = "mlflow.xgboost"
        trees(folder, layout)
        signature = Signature.of_mlmodel(folder)
    else:
        loader, spec = OWN_LOADER, network(kind, layout)
        if not folder.exists():
            artifact.save(folder, spec, build(spec, seed=1).state_dict())
            write_package(folder, bench.folder / f"package_{kind}_{layout}", inputs=spec.inputs, outputs=spec.outputs, run_id="0" * 32)
        signature = Signature.of_artifact(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple((path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
    published = PublishedModel(bench.storage, artifact.digest(folder), loader, files, signature.inputs, signature.outputs)
    publish(published, folder)
    return ScoringModel(ModelVersion("bench", 1, published.digest, SET), published)


def network(kind: str, layout: str) -> ModelSpec:
    """A linear model, or layers of 128 and 64."""
    single = () if layout == "array" else tuple(NumericInput(name, "double", 0.0, 0.1, 1.1) for name in NAMES)
    arrays = (ArrayInput("x", "array<float>", (0.1,) * WIDTH, (1.1,) * WIDTH),) if layout == "array" else ()
    return ModelSpec(kind, single, (), (128, 64) if kind == "mlp" else (), arrays=arrays)


def trees(folder: Path, layout: str) -> None:
    """200 boosted trees of depth 6, as MLflow keeps them."""
    import mlflow.xgboost
    import xgboost
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType

    if folder.exists():
        return
    rng = np.random.default_rng(3)
    values = rng.normal(size=(50_000, WIDTH))
    label = (values[:, :5].sum(axis=1) + rng.normal(size=len(values)) > 0).astype(int)
    booster = xgboost.train({"max_depth": 6, "objective": "binary:logistic", "nthread": 2}, xgboost.DMatrix(values, label), 200)
    inputs = [ColSpec(Array(DataType.float), "x")] if layout == "array" else [ColSpec("double", name) for name in NAMES]
    signature = ModelSignature(Schema(inputs), Schema([ColSpec("float", "probability")]))
    mlflow.xgboost.save_model(booster, str(folder), signature=signature, model_format="ubj", pip_requirements=[])


def bare(bench: Bench, model: ScoringModel, layout: str) -> None:
    """pyarrow, the model and Parquet, on one thread."""
    found, columns = loaded(model.published), [item.name for item in model.published.inputs]
    source = bench.tables.location(f"bench_{layout}_4_scoring_set")
    schema = pa.schema([("id", pa.int64()), ("prediction", pa.float64() if model.published.outputs[0].type == "double" else pa.float32())])
    for number, path in enumerate(sorted(Path(source).rglob("part-*.parquet"))):
        target = bench.folder / f"bare-{number}.parquet"
        with pq.ParquetFile(path) as file, pq.ParquetWriter(target, schema, use_dictionary=False) as writer:
            waiting = []
            for batch in file.iter_batches(BATCH, columns=["id", *columns], use_threads=False):
                predicted = found.predict(pa.table({name: batch.column(name) for name in columns}))
                waiting.append(pa.RecordBatch.from_arrays([batch.column("id"), predicted[0]], schema=schema))
                if len(waiting) == 8:
                    writer.write_table(pa.Table.from_batches(waiting))
                    waiting.clear()
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting))


def engine_run(bench: Bench, model: ScoringModel, rows: Snapshot, engine: str, generations: Iterator[int]) -> None:
    """`score`, once more."""
    target = f"bench_scores_{model.published.loader.rpartition('.')[2]}"
    done = score(
        bench.spark,
        bench.tables,
        model,
        rows,
        window=WINDOW,
        slot=f"{engine}_{model.record.digest[:8]}",
        generation=next(generations),
        settings=ScoringSection(target=target, engine=engine),
        scored_at=datetime(2020, 2, 1, tzinfo=UTC),
        run_id="bench",
        row_key=("id",),
        spine_time="at",
    )
    if (done.rows, done.quarantined) != (bench.rows, 0):
        raise SystemExit(f"{engine}: {done.rows} rows, {done.quarantined} in quarantine")


def udf_run(bench: Bench, kind: str, layout: str, rows: Snapshot) -> None:
    """MLflow's own function over the same rows, key and prediction to Parquet."""
    import mlflow.pyfunc

    place, inputs = bench.folder / (f"{'model' if kind == 'trees' else 'package'}_{kind}_{layout}"), ["x"] if layout == "array" else NAMES
    predict = mlflow.pyfunc.spark_udf(bench.spark, str(place), result_type="double", env_manager="local")
    frame = bench.tables.read(rows.table, rows.version)
    scored = frame.select("id", predict(F.struct(*inputs)).alias("prediction"))
    scored.write.mode("overwrite").parquet(str(bench.folder / "udf"))


if __name__ == "__main__":
    raise SystemExit(main())
