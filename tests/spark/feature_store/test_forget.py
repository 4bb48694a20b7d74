"""An entity that is forgotten is in no file, no log and no later refresh; others stay, and a kill changes nothing of it."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from running_session import keys
from warehouses import WAYS, opened

import feature_store as fs
from feature_store import hooks
from feature_store.consumers import Consumer, Consumers
from feature_store.content import measure
from feature_store.delta import Purge, Tables
from feature_store.erasure.forgotten import ERASURES, Forgotten
from feature_store.scan import plan_scan

NAME = "C-0017x"
START = datetime(2013, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=30)
EVENTS = "customer string, account bigint, at timestamp, amount double, label double"
SPEND = fs.FeatureTable(
    "spend",
    ("customer",),
    "at",
    (fs.Feature("amount_sum_7d", "double"),),
    source="events",
    aggregates=(fs.Aggregate("sum", "amount", "7d"),),
    slide="1d",
    pii=("customer",),
)
ACCOUNTS = fs.FeatureTable("accounts", ("account",), "at", (fs.Feature("amount", "double"),))
LOOKUP = fs.Lookup("spend", {"buyer": "customer"})


def events(spark: SparkSession) -> DataFrame:
    """Twelve rows of four customers, a file each, so that the one to be forgotten is a bound of its file."""
    rows = [
        (name, 4000 + number, START + timedelta(days=day), float(number + day), float(day % 2))
        for number, name in enumerate(["A-0001a", NAME, "D-0003c", "E-0004d"])
        for day in range(3)
    ]
    return spark.createDataFrame(rows, EVENTS).repartition(2, "customer")


def filled(tables: Tables) -> tuple[fs.FeatureStore, fs.TrainingSet]:
    """A store with a source, feature tables, a training set under another name of the key, and tables that others made."""
    spark = tables.spark
    store = fs.FeatureStore(spark, root=tables.warehouse.root, catalog=tables.warehouse.catalog)
    tables.overwrite("events", events(spark))
    store.register(SPEND, ACCOUNTS)
    store.refresh("spend", as_of=AS_OF)
    store.write("accounts", events(spark).select("account", "at", "amount"))
    # A second write of some rows, so that stale files and change files hold the entity.
    store.write("accounts", events(spark).select("account", "at", (F.col("amount") + 1).alias("amount")))
    tables.overwrite("orders", events(spark).withColumnRenamed("customer", "buyer").drop("account"))
    made = store.training_set("orders", [LOOKUP], name="buyers", spine_time="at", label="label", row_key=("buyer", "at"), as_of=AS_OF)
    Consumers(tables).record(Consumer("model", "spenders", "3", {made.snapshot.table: made.snapshot.version}))
    # Predictions, partitioned as a target is and, worse, by the key itself: its value stands in paths.
    scores = events(spark).select("customer", "at", F.lit("2013-01").alias("window"))
    tables.replace("scores", scores, {"window": "2013-01"}, partition_by=("window",))
    tables.overwrite("by_customer", events(spark).select("customer", "amount"), partition_by=("customer",))
    return store, made


def features(tables: Tables, name: str, *properties: str) -> None:
    """Set table properties."""
    Purge.of(tables).set_properties(name, dict(item.split("=") for item in properties))


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder as text, Parquet decoded: written apart from the library's own search."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = str(pq.ParquetFile(path).read().to_pylist()) if path.suffix == ".parquet" else path.read_bytes().decode(errors="replace")
            yield path, f"{path.relative_to(folder)} {text}"


def holding(folder: Path, text: str) -> set[str]:
    """Names of the tables below a folder of which a file holds a text."""
    return {path.relative_to(folder).parts[0] for path, held in texts(folder) if text in held}


@pytest.mark.parametrize("way", WAYS)
def test_an_entity_goes_from_every_table_file_and_log(way: str, spark: SparkSession, tmp_path: Path) -> None:
    """By path and in a catalog: rows, stale files, change files, paths, statistics; the others' rows stay as they were."""
    with opened(way, spark, tmp_path) as tables:
        store, made = filled(tables)
        folder = Path(tables.location("events")).parent
        features(tables, "scores", "delta.enableDeletionVectors=true", "delta.enableChangeDataFeed=true")
        spark.sql(f"DELETE FROM {tables.warehouse.qualified('scores')} WHERE customer = '{NAME}' AND at = '2013-01-02'")
        before = {name: tables.read(name).toPandas() for name in ("spend", "scores", "orders", made.snapshot.table)}
        assert holding(folder, NAME) == {"events", "spend", "orders", "scores", "by_customer", made.snapshot.table}

        planned = store.forget({"customer": NAME}, dry_run=True)
        assert planned.dry_run
        assert not tables.exists(ERASURES)
        assert {item.table: item.rows for item in planned.tables} == {"spend": 9, "scores": 2, made.snapshot.table: 3}
        assert {item.table: item.rows for item in planned.sources} == {"events": 3, "orders": 3, "by_customer": 3}

        first = store.forget({"customer": NAME})
        assert holding(folder, NAME) == {"events", "orders", "by_customer"}, "sources are their owners'"
        assert any("source `events` still holds 3 rows" in item for item in first.advice)
        assert "retrain model spenders 3: it was made from rows of the entity" in first.advice
        assert [(item.table, item.columns) for item in first.tables if item.kind == "training set"] == [(made.snapshot.table, ("buyer",))]

        second = store.forget({"customer": NAME}, include_sources=True)
        assert holding(folder, NAME) == set()
        assert second.erasure == first.erasure
        assert second.proof is not None
        assert second.proof.findings == 0
        live = [path for path, _ in texts(folder) if path.suffix == ".parquet" and "_delta_log" not in path.parts]
        assert second.proof.data_files == sum(path.relative_to(folder).parts[0] not in ("accounts",) and _searched(path, folder) for path in live)
        for name, rows in before.items():
            column = "buyer" if "buyer" in rows.columns else "customer"
            pd.testing.assert_frame_equal(_sorted(tables.read(name).toPandas()), _sorted(rows[rows[column] != NAME]))


def _searched(path: Path, folder: Path) -> bool:
    return path.relative_to(folder).parts[0] not in {"feature_tables", "training_sets", "consumers", "erasures"}


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(list(frame.columns)).reset_index(drop=True)


@dataclass
class Store:
    """A filled warehouse by path, before anybody was forgotten."""

    store: fs.FeatureStore
    made: fs.TrainingSet
    folder: Path


@pytest.fixture(scope="module")
def kept(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Filled once; tests take copies."""
    folder = tmp_path_factory.mktemp("kept") / "warehouse"
    store, made = filled(fs.FeatureStore(spark, root=str(folder)).tables)
    return Store(store, made, folder)


def copied(kept: Store, folder: Path) -> fs.FeatureStore:
    """A store over a copy of the warehouse."""
    shutil.copytree(kept.folder, folder / "warehouse")
    return fs.FeatureStore(kept.store.tables.spark, root=str(folder / "warehouse"))


def test_a_forgotten_entity_stays_away_and_its_training_set_keeps_a_tombstone(kept: Store, tmp_path: Path) -> None:
    """Late refresh, write, training set and scoring set; rows without a key stay; pinned readers find the remaining rows."""
    store = copied(kept, tmp_path)
    tables, spark = store.tables, store.tables.spark
    store.register(SPEND)
    report = store.forget({"customer": NAME})
    (stone,) = report.tombstones
    remaining = store.load(kept.made)
    assert stone.old_hash == kept.made.content_hash
    assert (stone.new_hash, stone.rows) == (measure(remaining).digest, 9) == (measure(remaining).digest, remaining.count())
    scan = plan_scan(tables, kept.made.snapshot)
    assert scan is not None
    assert scan.rows == 9
    with pytest.raises(fs.ErasedError, match=rf"erasure {report.erasure} left 9 rows .content {stone.old_hash} before, {stone.new_hash} now"):
        store.rebuild(kept.made.id)

    # Late rows of the source, of the one who was forgotten too, and one without a key.
    late = spark.createDataFrame([(name, 1, START + timedelta(days=9), 1.0, 1.0) for name in (NAME, "A-0001a")], EVENTS)
    tables.append("events", late)
    store.refresh("spend", as_of=AS_OF)
    customers = {row["customer"] for row in tables.read("spend").select("customer").distinct().toLocalIterator()}
    assert customers == {"A-0001a", "D-0003c", "E-0004d"}
    buyers = tables.read("orders").unionByName(
        spark.createDataFrame([(None, START, 1.0, 1.0)], "buyer string, at timestamp, amount double, label double")
    )
    assembled, _ = store.assemble(buyers, [LOOKUP], spine_time="at")
    assert sorted(str(row["buyer"]) for row in assembled.toLocalIterator()) == sorted([*(["A-0001a", "D-0003c", "E-0004d"] * 3), "None"])
    again = store.training_set("orders", [LOOKUP], name="again", spine_time="at", label="label", row_key=("buyer", "at"), as_of=AS_OF)
    assert again.rows == 9

    # The hash that keeps them away, by Python's own HMAC; the name is nowhere in it.
    salt, hashes = Forgotten(tables).hashes()
    assert hashes == {("customer",): [hmac.new(salt, f"8:customer{len(NAME)}:{NAME}".encode(), hashlib.sha256).hexdigest()]}
    with pytest.raises(fs.ContractError, match=r"no table with the key `custmer` \(did you mean `customer`\?\)"):
        store.forget({"custmer": NAME})


def test_numbers_and_keys_of_several_columns(kept: Store, tmp_path: Path) -> None:
    """A whole number is found as one, whatever other numbers a log is full of; of a pair both must agree; a name in every role."""
    store = copied(kept, tmp_path)
    tables, spark = store.tables, store.tables.spark
    trips = [("EWR", "UA", "JFK", 1), ("EWR", "AA", "LGA", 2), ("JFK", "UA", "EWR", 3), (None, "UA", "BOS", 4)]
    for name in ("trips", "roles"):
        tables.append(name, spark.createDataFrame(trips, "origin string, carrier string, dest string, n int").coalesce(1))
    store.register(fs.FeatureTable("pairs", ("origin", "carrier"), "at", (fs.Feature("n", "int"),), source="trips"))

    number = store.forget({"account": "4001"}, include_sources=True)
    assert {item.table: item.rows for item in number.tables} == {"accounts": 3, "events": 3}
    assert tables.read("accounts").where("account = 4001").isEmpty()
    store.write("accounts", events(spark).select("account", "at", "amount"))
    assert tables.read("accounts").count() == 9, "and no write brings it back"

    pair = store.forget({"origin": "EWR", "carrier": "UA"}, include_sources=True)
    assert {item.table: item.rows for item in pair.tables} == {"trips": 1, "roles": 1}
    assert sorted(row["n"] for row in tables.read("trips").toLocalIterator()) == [2, 3, 4]
    role = store.forget({"airport": "EWR"}, roles={"airport": ("origin", "dest")}, include_sources=True)
    assert {item.table: (item.rows, item.columns) for item in role.tables} == {"trips": (2, ("origin", "dest")), "roles": (2, ("origin", "dest"))}
    assert [row["n"] for row in tables.read("roles").toLocalIterator()] == [4]


def test_personal_columns_have_no_statistics(kept: Store) -> None:
    """The log of a table that marks a column never held its bounds, by refresh and by write."""
    entries = "".join(path.read_text() for path in (kept.folder / "spend" / "_delta_log").glob("*.json"))
    assert '\\"at\\":' in entries
    assert "A-0001a" not in entries
    assert "A-0001a" in "".join(path.read_text() for path in (kept.folder / "orders" / "_delta_log").glob("*.json"))


def test_a_file_that_no_commit_speaks_of_is_a_writers(kept: Store, tmp_path: Path) -> None:
    """While it is young the erasure says that it is not done, names it, and removes it on the caller's word."""
    store = copied(kept, tmp_path)
    spend = tmp_path / "warehouse" / "spend"
    orphan = next(path for path, text in texts(spend) if path.suffix == ".parquet" and NAME in text)
    shutil.copyfile(orphan, spend / "part-killed.parquet")
    with pytest.raises(fs.OpsError, match=r"files of `spend` that still hold the entity, as part-killed\.parquet"):
        store.forget({"customer": NAME})
    assert store.forget({"customer": NAME}, writers_idle=True).proof is not None
    assert not (spend / "part-killed.parquet").exists()


KILLS = (
    "delta.commit.erasures:after",
    "delta.commit.{made}:after",
    "erasure.vacuum:before",
    "erasure.properties:after",
    "erasure.shorten:before",
    "erasure.shorten:after",
)
CHILD = """
import sys
from running_session import attach
import feature_store as fs
fs.FeatureStore(attach(), root=sys.argv[1]).forget({"customer": sys.argv[2]}, include_sources=True)
"""


def test_killed_at_any_point_it_ends_the_same(kept: Store, tmp_path: Path) -> None:
    """A chain of real kills, each start going on from what the last one left; then the unbroken end."""
    store = copied(kept, tmp_path)
    folder = tmp_path / "warehouse"
    for number, point in enumerate(KILLS):
        hooking = {"kill": point.format(made=kept.made.snapshot.table), "once": str(tmp_path / f"killed.{number}")}
        environment = {**keys(store.tables.spark), hooks.VARIABLE: json.dumps(hooking)}
        done = subprocess.run([sys.executable, "-c", CHILD, str(folder), NAME], env=environment, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, f"not killed at {point}: {done.stderr[-2000:]}"
    report = store.forget({"customer": NAME}, include_sources=True)
    assert holding(folder, NAME) == set()
    assert [item.name for item in report.consumers] == ["spenders"]
    assert [(item.training_set, item.rows) for item in report.tombstones] == [(kept.made.id, 9)]
    assert {name: tables_rows(store, name) for name in ("events", "orders", "by_customer", kept.made.snapshot.table)} == {
        "events": 9,
        "orders": 9,
        "by_customer": 9,
        kept.made.snapshot.table: 9,
    }
    assert not [name for name in ("orders", "by_customer") if any("shortening" in key for key in store.tables.properties(name))]


def tables_rows(store: fs.FeatureStore, name: str) -> int:
    """Rows of a table."""
    return store.tables.read(name).count()
