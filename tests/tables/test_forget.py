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
from warehouses import opened

import feature_store as fs
from feature_store import hooks
from feature_store.consumers import Consumer, Consumers
from feature_store.content import measure
from feature_store.delta import Purge, Tables
from feature_store.erasure.forgotten import ERASURES, Forgotten
from feature_store.pii import marked_personal, without_statistics
from feature_store.scan import plan_scan

NAME = "C-0017x"
OTHERS = ("A-0001a", "D-0003c", "E-0004d")
START = datetime(2013, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=5)
EVENTS = "customer string, at timestamp, amount double, label double"
SPEND = fs.FeatureTable("spend", ("customer",), "at", (fs.Feature("amount", "double"),), source="events", pii=("customer",))
LOOKUP = fs.Lookup("spend", {"buyer": "customer"}, prefix="p_")


def events(spark: SparkSession) -> DataFrame:
    """Three rows of each of four customers; the one to be forgotten is a bound of its file."""
    names = ["A-0001a", NAME, "D-0003c", "E-0004d"]
    rows = [(name, START + timedelta(days=day), float(number + day), float(day % 2)) for number, name in enumerate(names) for day in range(3)]
    return spark.createDataFrame(rows, EVENTS).repartitionByRange(2, "customer")


def scored(tables: Tables) -> None:
    """A target as predictions are: of change feed and deletion vectors, and partitioned by the key too, whose value so stands in paths."""
    rows = events(tables.spark).select("customer", "at", F.lit("2013-01").alias("window"))
    tables.replace("scores", rows, {"window": "2013-01"}, partition_by=("window", "customer"))
    Purge.of(tables).set_properties("scores", {"delta.enableDeletionVectors": "true", "delta.enableChangeDataFeed": "true"})
    # Rows that are only marked as deleted, a change file that holds them, and a condition in the log.
    tables.spark.sql(f"DELETE FROM {tables.warehouse.qualified('scores')} WHERE customer = '{NAME}' AND at = '2013-01-02'")


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder as text, Parquet decoded: written apart from the library's own search."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = str(pq.ParquetFile(path).read().to_pylist()) if path.suffix == ".parquet" else path.read_bytes().decode(errors="replace")
            yield path, f"{path.relative_to(folder)} {text}"


def holding(folder: Path, text: str) -> set[str]:
    """Names of the tables below a folder of which a file holds a text."""
    return {path.relative_to(folder).parts[0] for path, held in texts(folder) if text in held}


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in one order."""
    return frame.sort_values(list(frame.columns)).reset_index(drop=True)


@dataclass
class Filled:
    """A filled warehouse by path, before anybody was forgotten: tests take copies."""

    store: fs.FeatureStore
    made: fs.TrainingSet
    folder: Path

    def copy(self, folder: Path) -> fs.FeatureStore:
        """A store over a copy."""
        shutil.copytree(self.folder, folder / "warehouse")
        return fs.FeatureStore(self.store.tables.spark, root=str(folder / "warehouse"))


@pytest.fixture(scope="module")
def filled(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A source, a feature table, a training set under another name of the key, predictions, and a model made of it."""
    return fill(spark, tmp_path_factory.mktemp("filled") / "warehouse")


def fill(spark: SparkSession, folder: Path) -> Filled:
    """As the fixture says."""
    store = fs.FeatureStore(spark, root=str(folder))
    tables = store.tables
    tables.overwrite("events", events(spark))
    store.register(SPEND)
    store.refresh("spend", as_of=AS_OF)
    tables.overwrite("orders", events(spark).withColumnRenamed("customer", "buyer"))
    made = store.training_set("orders", [LOOKUP], name="buyers", spine_time="at", label="label", row_key=("buyer", "at"), as_of=AS_OF)
    Consumers(tables).record(Consumer("model", "spenders", "3", {made.snapshot.table: made.snapshot.version}))
    scored(tables)
    return Filled(store, made, folder)


def test_an_entity_goes_from_every_table_and_stays_away(filled: Filled, tmp_path: Path) -> None:
    """The whole story of one entity: plan, erasure with its proof, tombstone, late rows, then its sources too."""
    store = filled.copy(tmp_path)
    tables, spark, folder, made = store.tables, store.tables.spark, tmp_path / "warehouse", filled.made
    table = made.snapshot.table
    store.register(SPEND)
    before = {name: tables.read(name).toPandas() for name in ("spend", "scores", table)}
    assert holding(folder, NAME) == {"events", "spend", "orders", "scores", table}

    planned = store.forget({"customer": NAME}, dry_run=True)
    assert planned.dry_run
    assert not tables.exists(ERASURES)
    assert {item.table: item.rows for item in planned.tables} == {"spend": 3, "scores": 2, table: 3}
    assert {item.table: item.rows for item in planned.sources} == {"events": 3, "orders": 3}
    assert [item.columns for item in planned.tables if item.table == table] == [("buyer",)]

    report = store.forget({"customer": NAME})
    assert holding(folder, NAME) == {"events", "orders"}, "sources are their owners'"
    assert "retrain model spenders 3: it was made from rows of the entity" in report.advice
    assert any("source `events` still holds 3 rows" in item for item in report.advice)
    assert NAME not in repr(report)
    for name, rows in before.items():
        gone = rows["buyer" if "buyer" in rows else "customer"] == NAME
        pd.testing.assert_frame_equal(ordered(tables.read(name).toPandas()), ordered(rows[~gone]))
    searched = [
        path for path, _ in texts(folder) if path.parts[len(folder.parts)] in before and path.suffix == ".parquet" and "_delta_log" not in path.parts
    ]
    assert report.proof is not None
    assert (report.proof.data_files, report.proof.findings) == (len(searched), 0)

    # What is pinned to the old version reads the rows that are left.
    (stone,) = report.tombstones
    remaining = store.load(made)
    assert (stone.old_hash, stone.new_hash, stone.rows) == (made.content_hash, measure(remaining).digest, 9)
    scan = plan_scan(tables, made.snapshot)
    assert scan is not None
    assert scan.rows == 9
    with pytest.raises(fs.ErasedError, match=rf"erasure {report.erasure} left 9 rows .content {stone.old_hash} before, {stone.new_hash} now"):
        store.rebuild(made.id)

    # Late rows of the source, of the one who was forgotten too; a spine's row without a key stays.
    tables.append("events", spark.createDataFrame([(name, START + timedelta(days=3), 1.0, 1.0) for name in (NAME, "A-0001a")], EVENTS))
    store.refresh("spend", as_of=AS_OF)
    assert sorted(tables.read("spend").toPandas()["customer"]) == sorted([*OTHERS * 3, "A-0001a"])
    buyers = tables.read("orders").unionByName(spark.createDataFrame([(None, START, 1.0, 1.0)], EVENTS.replace("customer", "buyer")))
    assembled, _ = store.assemble(buyers, [LOOKUP], spine_time="at")
    assert sorted(map(str, assembled.toPandas()["buyer"])) == sorted([*OTHERS * 3, "None"])

    # The hash that keeps them away, by Python's own HMAC.
    salt, hashes = Forgotten(tables).hashes()
    assert hashes == {("customer",): [hmac.new(salt, f"8:customer{len(NAME)}:{NAME}".encode(), hashlib.sha256).hexdigest()]}

    again = store.forget({"customer": NAME}, include_sources=True)
    assert holding(folder, NAME) == set()
    assert again.erasure == report.erasure
    assert {item.table: item.rows for item in again.tables} == {"spend": 0, "scores": 0, table: 0, "events": 4, "orders": 3}
    with pytest.raises(fs.ContractError, match=r"no table with the key `custmer` \(did you mean `customer`\?\)"):
        store.forget({"custmer": NAME})


def test_numbers_pairs_roles_and_files_of_killed_writers(spark: SparkSession, tmp_path: Path) -> None:
    """A number is found as one in logs full of numbers; of a pair both must agree; a young file of no commit is a writer's."""
    with opened("catalog", spark, tmp_path) as tables:
        store = fs.FeatureStore(spark, catalog=tables.warehouse.catalog)
        trips = [(17, "EWR", "UA", "JFK"), (1, "EWR", "AA", "LGA"), (2, "JFK", "UA", "EWR"), (3, None, "UA", "BOS"), (4, "BOS", "UA", "BOS")]
        tables.append("trips", spark.createDataFrame(trips, "account bigint, origin string, carrier string, dest string").coalesce(1))
        store.register(fs.FeatureTable("pairs", ("origin", "carrier"), "at", (fs.Feature("n", "int"),)))
        place = Path(tables.location("trips"))
        tables.append("profiles", spark.createDataFrame([("account", bytearray(b"17"))], "column string, state binary"))
        spark.range(1).write.saveAsTable(f"{tables.warehouse.catalog}.plain", format="parquet")
        spark.sql(f"CREATE VIEW {tables.warehouse.catalog}.seen AS SELECT * FROM {tables.warehouse.qualified('trips')}")

        number = store.forget({"account": 17})
        assert [note.split("`")[1] for note in number.notes] == ["plain", "profiles"], "what was not searched, or tells of keys in its own way"
        assert [(item.table, item.rows) for item in number.tables] == [("trips", 1)]
        assert '\\"account\\":17' not in "".join(text for _, text in texts(place))
        pair = store.forget({"origin": "JFK", "carrier": "UA"})
        assert [(item.rows, item.columns) for item in pair.tables] == [(1, ("carrier+origin",))]

        (data,) = (path for path, _ in texts(place) if path.suffix == ".parquet" and "_delta_log" not in path.parts)
        shutil.copyfile(data, place / "part-killed.parquet")
        with pytest.raises(fs.OpsError, match=r"1 files of `trips` that still hold the entity, as part-killed\.parquet"):
            store.forget({"airport": "LGA"}, roles={"airport": ("origin", "dest")})
        role = store.forget({"airport": "LGA"}, roles={"airport": ("origin", "dest")}, writers_idle=True)
        assert [(item.rows, item.columns) for item in role.tables] == [(0, ("origin", "dest"))]
        assert sorted(tables.read("trips").toPandas()["account"]) == [3, 4]


def test_personal_columns_have_no_statistics(filled: Filled) -> None:
    """The log of a table that marks a column never held its bounds."""
    entries = "".join(path.read_text() for path in (filled.folder / "spend" / "_delta_log").glob("*.json"))
    assert '\\"at\\":' in entries
    assert not [name for name in OTHERS if name in entries]
    assert "A-0001a" in "".join(path.read_text() for path in (filled.folder / "orders" / "_delta_log").glob("*.json"))
    # Nor of a training set, where the key has another name.
    made = "".join(path.read_text() for path in (filled.folder / filled.made.snapshot.table / "_delta_log").glob("*.json"))
    assert '\\"p_amount\\":' in made
    assert not [name for name in OTHERS if name in made]


def test_a_table_grows_and_shrinks_beside_its_personal_columns(tables: Tables) -> None:
    """Delta refuses a list of columns that are not there, so none stands in it before its time; a personal one that comes later has no bounds either."""
    merged = {"spark.databricks.delta.schema.autoMerge.enabled": "true"}

    def write(query: str, *, overwritten: bool = False) -> None:
        rows = tables.spark.sql(query)
        without_statistics(tables, "t", rows.schema, {"name", "mail"}, () if overwritten else ("w",), overwritten=overwritten)
        if overwritten:
            tables.overwrite("t", rows)
        else:
            tables.replace("t", rows, {"w": str(rows.first()["w"])}, partition_by=("w",), settings=merged)  # type: ignore[index]

    write("SELECT 1 AS n, 'w1' AS w")
    write("SELECT 2 AS n, 'ann@x' AS mail, true AS flag, 2.5D AS size, 'w2' AS w")
    write("SELECT 3 AS n, 'Ann' AS name, 'w3' AS w")
    assert marked_personal(tables, "t") == {"mail", "name"}
    write("SELECT 4 AS n, 'bob@x' AS mail, false AS flag, 3.5D AS size, 'w4' AS w")
    log = sorted(Path(tables.location("t"), "_delta_log").glob("*.json"))
    said = "".join(path.read_text() for path in log)
    assert not [value for value in ("ann@x", "bob@x", "Ann") if value in said]
    assert '\\"size\\":3.5' in said, "the next write has the bounds of what came"

    write("SELECT 5 AS n, 'Cid' AS name", overwritten=True)
    write("SELECT 6 AS n, 'Dee' AS name", overwritten=True)
    assert marked_personal(tables, "t") == {"name"}
    assert tables.properties("t")["delta.dataSkippingStatsColumns"] == "`n`"


# Between rows and tombstone; before the files; after log entries, before the table's properties are put back.
KILLS = ("delta.commit.{made}:after", "erasure.vacuum:before", "erasure.shorten:after")
CHILD = """
import sys
from running_session import attach
import feature_store as fs
fs.FeatureStore(attach(), root=sys.argv[1]).forget({"customer": sys.argv[2]})
"""


def test_killed_at_any_point_it_ends_the_same(filled: Filled, tmp_path: Path) -> None:
    """A chain of real kills, each start going on from what the last one left; then the unbroken end."""
    store = filled.copy(tmp_path)
    folder, table = tmp_path / "warehouse", filled.made.snapshot.table
    for name in ("spend", "events"):
        # Fewer tables, the same steps.
        shutil.rmtree(folder / name)
    for number, point in enumerate(KILLS):
        hooking = {"kill": point.format(made=table), "once": str(tmp_path / f"killed.{number}")}
        environment = {**keys(store.tables.spark), hooks.VARIABLE: json.dumps(hooking)}
        done = subprocess.run([sys.executable, "-c", CHILD, str(folder), NAME], env=environment, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, f"not killed at {point}: {done.stderr[-2000:]}"
    report = store.forget({"customer": NAME})
    assert holding(folder, NAME) == {"orders"}
    assert [item.name for item in report.consumers] == ["spenders"]
    assert [(item.training_set, item.old_hash, item.rows) for item in report.tombstones] == [(filled.made.id, filled.made.content_hash, 9)]
    assert {name: store.tables.read(name).count() for name in ("scores", table)} == {"scores": 9, table: 9}
    assert not [name for name in ("scores", table) if store.tables.properties(name).get("delta.checkpointInterval")]
