"""Write Java's archive of the classes that Spark and Delta load, so that each later session starts in less time.

Run by the set-up. The archive belongs to one Java and one environment: Java itself checks both at each start, and a
session that finds it unfit loads its classes as before. See application class-data sharing, JEP 310 and JEP 350.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark import SparkContext
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops import session


def main() -> int:
    """Do what a session usually does and have Java write down on its exit what it loaded."""
    archive = session.class_archive()
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        partial = Path(folder) / archive.name
        conf = {
            "spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={partial} -Xlog:disable",
            "spark.sql.warehouse.dir": f"{folder}/warehouse",
        }
        built = session.build(session.SparkSection(master="local[2]", driver_memory="1g", conf=conf))
        work(Tables(built, Warehouse(root=f"{folder}/tables")))
        end()
        if not partial.exists():
            print("this Java wrote no archive: sessions start as before", file=sys.stderr)
            return 1
        partial.replace(archive)
    print(f"{archive.stat().st_size / 2**20:.0f} MiB")
    return 0


def work(tables: Tables) -> None:
    """A little of each thing: Delta's commits, joins, windows, Arrow to Python and back."""
    rows = tables.spark.createDataFrame(pd.DataFrame({"key": [1, 1, 2], "text": ["a", "b", None], "value": [0.5, 1.5, 2.5]}))
    rows = rows.withColumn("at", F.current_timestamp())
    for window in ("2026-01", "2026-02"):
        tables.replace("sample", rows.withColumn("window", F.lit(window)), where={"window": window}, partition_by=("window",))
    tables.append("sample", tables.read("sample").where("value > 1"))
    tables.overwrite("features", rows)
    tables.merge("features", rows.dropDuplicates(["key"]).withColumn("key", F.col("key") + 1), keys=("key", "at"))
    stored = tables.read("sample")
    running = stored.withColumn("n", F.row_number().over(Window.partitionBy("key").orderBy("at")))
    counts = stored.groupBy("key").agg(F.count("*").alias("rows"), F.stddev("value"), F.max(F.struct("at", "value")))
    joined = running.join(counts, "key", "left").orderBy("key")
    joined.mapInPandas(same, joined.schema).toArrow()


def same(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Rows as they come."""
    yield from frames


def end() -> None:
    """Stop Spark and wait for Java, which writes the archive on its way out."""
    context, gateway = SparkContext._active_spark_context, SparkContext._gateway
    assert context is not None
    assert gateway is not None
    context.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(300)


if __name__ == "__main__":
    raise SystemExit(main())
