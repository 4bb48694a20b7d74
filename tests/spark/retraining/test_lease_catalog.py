"""Leases where a catalog keeps the tables and Spark writes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession
from warehouses import opened

from sparkml_ops.retraining import lease as module
from sparkml_ops.retraining.lease import Lease, give_up, in_flight, leases

WALL = datetime(2026, 1, 1, 12, tzinfo=UTC)


def never(key: str) -> bool:
    return False


def test_in_a_catalog_too_a_number_is_taken_once(spark: SparkSession, tmp_path: Path) -> None:
    """Who was first holds it until it is given up; the row reads back as it was written."""
    mine = Lease(1, "flights", "a", *module._self(), WALL, WALL + timedelta(hours=6), {"reason": "because"})
    with opened("catalog", spark, tmp_path) as tables:
        assert leases(tables, "flights") == ()
        assert module._append(tables, mine)
        assert not module._append(tables, replace(mine, key="b"))
        assert leases(tables, "flights") == (mine,)
        assert in_flight(leases(tables, "flights"), never, "b", WALL) == mine
        give_up(tables, mine, WALL)
        assert in_flight(leases(tables, "flights"), never, "b", WALL) is None
