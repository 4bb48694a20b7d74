"""Upkeep changes no row, does nothing twice, and takes nothing that somebody pins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from running_session import keys
from warehouses import opened

import feature_store as fs
from feature_store import hooks
from feature_store.content import measure
from feature_store.delta import TableFiles, Tables, Upkeep
from feature_store.health import health
from feature_store.maintenance import Policy

TABLE = fs.FeatureTable("balances", ("customer",), "at", (fs.Feature("balance", "double"),))
# As it would be for large tables: everything is small, old and worth clustering.
NOW = Policy(few=2, cluster_from=1, retain=timedelta(0), short=True)


@pytest.fixture
def catalog(spark: SparkSession, tmp_path: Path) -> Iterator[Tables]:
    with opened("catalog", spark, tmp_path) as warehouse:
        yield warehouse


def balances(spark: SparkSession, files: int, raised: float = 0.0) -> DataFrame:
    """Values of 50 customers over 40 hours, in so many files."""
    made = spark.range(2000).selectExpr(
        "concat('c', id % 50) as customer", "timestamp_micros(1577836800000000 + (id div 50) * 3600000000) as at", f"id * 1D + {raised} as balance"
    )
    return made.repartition(files)


def test_a_warehouse_is_kept_up_without_taking_what_is_pinned(tables: Tables, spark: SparkSession) -> None:
    """One life: a training set pins an old version, a reader another; upkeep merges, clusters and vacuums round them, once."""
    store = fs.FeatureStore(spark, root=tables.warehouse.root, catalog=tables.warehouse.catalog)
    store.register(TABLE)
    store.tables.overwrite("balances", balances(spark, 3))
    store.tables.overwrite("spine", balances(spark, 1).selectExpr("customer", "at", "cast(balance > 900 as double) as label"))
    made = store.training_set("spine", (fs.Lookup("balances", ("customer",)),), name="pinned", spine_time="at", label="label")
    store.tables.overwrite("balances", balances(spark, 2, raised=1.0))
    store.tables.overwrite("balances", balances(spark, 5, raised=2.0))
    content, reading = measure(store.read("balances")), store.read("balances", 2)

    first = {item.table: item for item in store.maintain(policy=replace(NOW, retain=timedelta(days=7), short=False))}
    steps = {name: [step.kind for step in item.steps] for name, item in first.items() if item.steps}

    assert steps == {"balances": ["cluster"]}
    assert first[made.snapshot.table].note.startswith("a training set's own table")
    assert measure(reading) == measure(store.read("balances")) == content
    assert [state.gone for state in store.training_sets()] == [()]

    # Without any retention: what nobody pins goes, what the training set pins is held.
    planned = {item.table: item for item in store.maintain(plan=True, policy=NOW)}
    held = len(TableFiles(tables, "balances").paths(made.inputs["balances"]))
    done = {item.table: item for item in store.maintain(policy=NOW)}

    assert done == planned
    assert [step.kind for step in done["balances"].steps] == ["vacuum"]
    assert done["balances"].held == {made.id: held} == {made.id: 3}
    assert store.rebuild(made.id) == made
    assert measure(store.read("balances")) == content
    assert TableFiles(tables, "balances").lost(1)
    assert [item for item in store.maintain(policy=NOW) if item.steps or item.failed] == []

    # Released, its input goes, and everyone is told.
    released = replace(NOW, release=(made.id,))
    taken = next(item for item in store.maintain("balances", policy=released))

    assert [(step.kind, step.files) for step in taken.steps] == [("vacuum", held)]
    assert [(state.training_set, state.gone, state.readable) for state in store.training_sets()] == [(made, ("balances",), True)]
    assert any("no longer readable: `balances` at version 0" in note for note in store.audit(made).notes)
    with pytest.raises(fs.ContractError, match=r"released training sets \['nobody'\]"):
        store.maintain(policy=replace(NOW, release=("nobody",)))


CHILD = """
import sys
from datetime import timedelta
from running_session import attach
import feature_store as fs
from feature_store.maintenance import Policy
policy = Policy(few=2, cluster_from=1, retain=timedelta(0), short=True)
fs.FeatureStore(attach(), catalog=sys.argv[1]).maintain("balances", policy=policy)
"""


def test_a_killed_upkeep_goes_on_where_it_stopped(catalog: Tables, spark: SparkSession, tmp_path: Path) -> None:
    """What was done before the kill is not due any more; the same statements in a catalog, marks and deletion vectors among them."""
    store = fs.FeatureStore(spark, catalog=catalog.warehouse.catalog)
    store.register(TABLE)
    store.tables.overwrite("balances", balances(spark, 6))
    # Between its two statements.
    hooking = {"kill": "delta.upkeep.balances:after", "once": str(tmp_path / "killed")}
    environment = {**keys(spark), hooks.VARIABLE: json.dumps(hooking)}
    done = subprocess.run([sys.executable, "-c", CHILD, str(catalog.warehouse.catalog)], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]

    due = store.maintain("balances", plan=True, policy=NOW)[0]

    assert [(step.kind, step.files) for step in due.steps] == [("vacuum", 6)]
    files = TableFiles(catalog, "balances")
    held = sorted(files.paths(0))[:2]
    Upkeep(catalog).vacuum("balances", timedelta(0), hold=held)
    assert files.sizes(files.paths(0)).keys() == set(held)
    assert [[step.kind for step in item.steps] for item in (*store.maintain("balances", policy=NOW), *store.maintain("balances", policy=NOW))] == [
        ["vacuum"],
        [],
    ]
    # A few new rows are not worth a rewrite of all, many small files are worth one of theirs.
    store.tables.append("balances", balances(spark, 1).limit(1).selectExpr("'c99' as customer", "at", "balance"))
    lazy = replace(NOW, few=8, retain=timedelta(days=7), short=False)
    plans = [store.maintain("balances", plan=True, policy=policy)[0] for policy in (lazy, replace(lazy, few=2))]
    assert [[step.kind for step in plan.steps] for plan in plans] == [[], ["compact"]]
    # Hidden rows are counted, and our own tables get their mark.
    spark.sql(f"ALTER TABLE {catalog.warehouse.qualified('balances')} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {catalog.warehouse.qualified('balances')} WHERE customer = 'c7' AND balance < 1000")
    Upkeep(catalog).mark("balances")
    found = health(catalog, "balances")
    assert (found.files, found.rows, found.deletion_vectors, found.format) == (2, 2001, 1, 1)
    # Of two deletion vectors of one file the newer is in force.
    spark.sql(f"DELETE FROM {catalog.warehouse.qualified('balances')} WHERE customer = 'c8' AND balance < 1000")
    assert len(vectors := set(Path(files.place).rglob("*.bin"))) == 2
    Upkeep(catalog).vacuum("balances", timedelta(0))
    assert len(vectors & set(Path(files.place).rglob("*.bin"))) == 1
    assert store.read("balances").count() == 2001 - 20 - 20
