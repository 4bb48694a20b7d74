"""Change detectors over a stream of rows: a detector for each group, stored with each batch, so that a restart goes on where a kill came."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.query import StreamingQuery

from feature_store.address import for_python, for_spark
from feature_store.delta import Tables, Transaction
from feature_store.names import Warehouse, quote
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.detectors import Detector, Watch

__all__ = ["CONCEPT_TABLE", "Detected", "Followed", "follow", "followed"]

CONCEPT_TABLE = "concept_states"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_CHANGES = pa.list_(pa.struct([("position", pa.int64()), ("at", pa.string()), ("value", pa.float64())]))
_SCHEMA = pa.schema(
    [
        ("stream", pa.string()),
        ("group", pa.string()),  # of the group's columns, as JSON
        ("seen", pa.int64()),
        ("changes", _CHANGES),
        ("state", pa.string()),
    ]
)


@dataclass(frozen=True)
class Detected:
    """A change that a detector saw.

    Args:
        position: Of its row in the group's series, from 0.
        at: The first of the columns that order the rows, as text.
        value: Of the series there.
    """

    position: int
    at: str
    value: float


@dataclass(frozen=True)
class Followed:
    """A group of a stream so far.

    Args:
        group: Its columns, as text; None for null.
        seen: Rows.
        changes: In their order.
    """

    group: Mapping[str, str | None]
    seen: int
    changes: tuple[Detected, ...]


def follow(
    tables: Tables,
    stream: DataFrame,
    value: str,
    *,
    name: str,
    order: Sequence[str],
    by: Sequence[str],
    checkpoint: str,
    detector: Detector = "adwin",
    available_now: bool = True,
    **settings: Any,
) -> StreamingQuery:
    """Hand a stream's rows to a detector for each group; what was found is read by `followed`.

    Rows come in the order of their batches, and within a batch in that of `order`. Each batch is one commit of the table `concept_states`, which holds the
    detectors as JSON: a batch that comes again after a kill finds its work done. Rows in batches whose order is that of `order` give what
    `changes_by_group` finds in all of them at once. River must be installed where tasks run, and a batch's rows of one group must fit in a task.

    Args:
        tables: Where `concept_states` lies.
        stream: Streaming rows, as `spark.readStream.table(...)`.
        value: Column of the series: an error, 0 or 1, or a figure; null and NaN are left out, and positions count them.
        name: Of the stream: letters, digits and `._-`.
        order: Columns that put a batch's rows in order; the first one says when a change was.
        by: Columns of the group, as model, version and segment; each value's text tells groups apart.
        checkpoint: Folder in which Spark keeps its place.
        detector: As `changes`.
        available_now: Whether the query ends with the rows that are there.
        settings: As `changes`.

    Raises:
        ContractError: The stream was begun with another checkpoint, detector, setting or version of river.
    """
    watch = Watch(detector, **settings)
    _check(tables, name, watch, checkpoint)
    columns = [
        F.to_json(F.struct(*(F.col(quote(column)).cast("string").alias(column) for column in by)), {"ignoreNullFields": "false"}).alias("group"),
        F.col(quote(order[0])).cast("string").alias("at"),
        F.col(quote(value)).cast("double").alias("value"),
        *(F.col(quote(column)).alias(f"order_{place}") for place, column in enumerate(order)),
    ]
    writer = stream.select(*columns).writeStream.foreachBatch(_taking(tables.warehouse, name, watch.dumps(), len(order)))
    trigger = {"availableNow": True} if available_now else {"processingTime": "0 seconds"}
    return writer.option("checkpointLocation", for_spark(checkpoint)).trigger(**trigger).start()


def followed(tables: Tables, name: str) -> tuple[Followed, ...]:
    """The groups of a stream, in order of their text; needs no Spark where the warehouse is a folder."""
    rows = tables.rows(CONCEPT_TABLE, {"stream": name}) if tables.exists(CONCEPT_TABLE) else []
    ordered = sorted(rows, key=lambda row: str(row["group"]))
    return tuple(Followed(json.loads(row["group"]), row["seen"], tuple(Detected(**change) for change in row["changes"])) for row in ordered)


def _check(tables: Tables, name: str, watch: Watch, checkpoint: str) -> None:
    if not _NAME.fullmatch(name):
        raise ContractError(f"the stream {name!r}", expected="letters, digits and ._-", mend="give it another name")
    rows = tables.rows(CONCEPT_TABLE, {"stream": name}) if tables.exists(CONCEPT_TABLE) else []
    if not rows:
        return
    store, folder = fsspec.core.url_to_fs(for_python(checkpoint))
    if not store.exists(f"{folder.rstrip('/')}/metadata"):
        raise _other_checkpoint(name, f"the new checkpoint {checkpoint}")
    before = Watch.loads(rows[0]["state"])
    if (before.detector, before.settings) != (watch.detector, watch.settings):
        raise ContractError(
            f"{watch.detector} with {watch.settings} for the stream {name}",
            expected=f"{before.detector} with {before.settings}, which it was begun with",
            mend="give another detector's stream a name and a checkpoint of its own",
        )


def _other_checkpoint(name: str, found: str) -> ContractError:
    """Spark numbers the batches of a new checkpoint from 0 again: they would be taken for ones that are done."""
    mend = "start it with its own checkpoint, or all rows anew under another name"
    return ContractError(f"{found} for the stream {name}", expected="the checkpoint that it was begun with", mend=mend)


def _taking(warehouse: Warehouse, name: str, new: str, orders: int) -> Callable[[DataFrame, int], None]:
    """What is done with a batch; holds no session, since a Connect server runs it in a process of its own."""

    def advance(rows: pa.Table, known: pa.Table) -> pa.Table:
        return _advanced(rows, known, name, new, orders)

    def take(batch: DataFrame, number: int) -> None:
        tables = Tables(batch.sparkSession, warehouse)
        tables.ensure(CONCEPT_TABLE, from_arrow_schema(_SCHEMA), partition_by=("stream",))
        transaction = Transaction(f"concept/{name}", number + 1)
        try:
            done = tables.landed(CONCEPT_TABLE, transaction)
        except ContractError:
            raise _other_checkpoint(name, f"batch {number} after later ones") from None
        if done is None:
            states = tables.read(CONCEPT_TABLE).where(F.col("stream") == name)
            moved = batch.groupBy("group").cogroup(states.groupBy("group")).applyInArrow(advance, from_arrow_schema(_SCHEMA))
            tables.replace(CONCEPT_TABLE, moved, {"stream": name}, transaction=transaction, details={"batch": number})

    return take


def _advanced(rows: pa.Table, known: pa.Table, name: str, new: str, orders: int) -> pa.Table:
    """A group's row after a batch: on an executor."""
    if not rows.num_rows:
        return known.cast(_SCHEMA)
    before: dict[str, Any] = known.to_pylist()[0] if known.num_rows else {"changes": [], "state": new}
    watch = Watch.loads(before["state"])
    first = watch.seen
    # Stable: rows that the order does not tell apart stay as they came.
    ordered = rows.take(pc.sort_indices(rows, sort_keys=[(f"order_{place}", "ascending") for place in range(orders)]))
    places = watch.take(pc.fill_null(ordered.column("value"), float("nan")).to_numpy())
    found = ordered.take(pa.array([place - first for place in places], pa.int64())).select(["at", "value"]).to_pylist()
    changes = [*before["changes"], *({"position": place, **row} for place, row in zip(places, found, strict=True))]
    row = {"stream": name, "group": rows.column("group")[0].as_py(), "seen": watch.seen, "changes": changes, "state": watch.dumps()}
    return pa.Table.from_pylist([row], _SCHEMA)
