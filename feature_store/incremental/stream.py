"""The same refresh, driven by a stream of its source's changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from feature_store.computation import Computation
from feature_store.delta import Tables
from feature_store.delta.changes import FEED, VERSION, feed_stream
from feature_store.errors import ContractError
from feature_store.incremental.plan import decide, written
from feature_store.names import Warehouse
from feature_store.records import Snapshot
from feature_store.refresh import Refresh
from feature_store.table import FeatureTable

__all__ = ["stream"]


def stream(tables: Tables, table: FeatureTable, source: str, *, checkpoint: str, available_now: bool) -> StreamingQuery:
    """Start the query.

    Its rows only say that something changed and up to which version: a batch refreshes the table from what it has recorded to that
    version, in one commit. So a batch that comes again after a kill finds its work done, and one that Spark cuts in two is whole.

    Args:
        table: The declared table.
        source: Name of the table that it reads.
        checkpoint: Where the query keeps its place.
        available_now: Whether it ends at the source's newest version.

    Raises:
        ContractError: The source keeps no change feed.
    """
    newest = tables.newest(source)
    if not tables.keeps_feed(source):
        raise ContractError(
            f"table `{source}` without a change feed",
            expected=f"{FEED} = true",
            mend=f"set it with ALTER TABLE ... SET TBLPROPERTIES ('{FEED}' = 'true')",
        )
    now = datetime.now(UTC)
    plan = decide(tables, table, newest, now, written(tables, table))
    if plan.kind == "rebuild":
        # No feed leads from what is stored to what shall be; from here on it does.
        Refresh(Computation(tables, table, newest, now)).run()
    first = newest.version if plan.kind == "rebuild" or plan.since is None else min(plan.since + 1, newest.version)
    writer = feed_stream(tables, source, first).writeStream.foreachBatch(_refreshing(tables.warehouse, table, source))
    return (
        writer.option("checkpointLocation", checkpoint)
        .trigger(**({"availableNow": True} if available_now else {"processingTime": "0 seconds"}))
        .start()
    )


def _refreshing(warehouse: Warehouse, table: FeatureTable, source: str) -> Callable[[DataFrame, int], None]:
    """What is done with a batch; holds no session, since a Connect server runs it in a process of its own."""

    def refresh(batch: DataFrame, _: int) -> None:
        found = batch.agg(F.max(VERSION).alias("version")).first()
        if found is None or found["version"] is None:
            return
        tables = Tables(batch.sparkSession, warehouse)
        last = written(tables, table)
        done = last.details.get("sources", {}).get(source) if last is not None and last.details.get("kind") == "refresh" else None
        if done is None or done < found["version"]:
            Refresh(Computation(tables, table, Snapshot(source, int(found["version"])), datetime.now(UTC))).run()

    return refresh
