"""The scoring set of a window: every row with its features, as the model will see it, kept as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from feature_store.delta import Tables, Transaction
from feature_store.pii import without_statistics
from sparkml_ops.errors import ContractError
from sparkml_ops.records import Snapshot
from sparkml_ops.scoring.shape import check_shape, nullable
from sparkml_ops.window import Window

if TYPE_CHECKING:
    from feature_store import FeatureStore, Lookup, RowFunction

__all__ = ["WINDOW", "input_versions", "materialise", "scoring_set_table", "stored_set"]

WINDOW = "window"


def scoring_set_table(target: str) -> str:
    """Name of the table that holds a target's scoring sets.

    >>> scoring_set_table("flights_scores")
    'flights_scores_scoring_set'
    """
    return f"{target}_scoring_set"


def materialise(
    tables: Tables,
    store: FeatureStore,
    spine: DataFrame,
    lookups: Sequence[Lookup],
    *,
    target: str,
    window: Window,
    generation: int = 0,
    spine_time: str,
    row_key: Sequence[str],
    spine_versions: Mapping[str, int] | None = None,
    allow_empty: bool = False,
    functions: Sequence[RowFunction] = (),
) -> Snapshot:
    """Join a window's rows with their features and store them, in one commit; what is stored already is used as it is.

    Args:
        tables: The warehouse.
        store: Joins, with pinned versions of its tables.
        spine: The window's rows, all of them, without labels; one outside the window fails the job.
        lookups: What is looked up for each row.
        target: Table of the predictions.
        window: Which part of the scoring set is written.
        generation: Of deliberate repeats.
        spine_time: Column (timestamp) at which each row's features are looked up.
        row_key: Columns that identify a row.
        spine_versions: Version of each table that the spine was read from, to be recorded with those of the lookups.
        allow_empty: Whether a window without rows is stored.
        functions: What is computed of each joined row, as in training.

    Raises:
        ContractError: The spine is empty, lacks a column, or has one named `window`.
    """
    name, transaction = scoring_set_table(target), _transaction(target, window.label, generation)
    if stored := stored_set(tables, target, window, generation):
        return stored
    _check_columns(spine.columns, (*row_key, spine_time))
    if not allow_empty and spine.isEmpty():
        raise ContractError(
            f"no rows in window {window.label}",
            expected="rows to score",
            mend="load the window's data first, or allow it with scoring.allow_empty=true",
        )
    frame, inputs = store.assemble(spine, lookups, spine_time=spine_time, functions=functions, between=(window.start, window.end))
    schema = StructType([*nullable(frame.schema).fields, StructField(WINDOW, StringType())])
    settings = check_shape(tables, name, schema)
    details = {WINDOW: window.label, "inputs": {**(spine_versions or {}), **inputs}}
    without_statistics(tables, name, schema, store.personal_columns(lookups), (WINDOW,))
    rows, where = frame.withColumn(WINDOW, F.lit(window.label)), {WINDOW: window.label}
    return tables.replace(name, rows, where, transaction=transaction, details=details, partition_by=(WINDOW,), settings=settings).snapshot


def stored_set(tables: Tables, target: str, window: Window, generation: int = 0) -> Snapshot | None:
    """The scoring set of a window where it is there; needs no Spark where the warehouse is a folder."""
    landed = tables.landed(scoring_set_table(target), _transaction(target, window.label, generation))
    return None if landed is None else landed.snapshot


def input_versions(tables: Tables, target: str, scoring_set: Snapshot, window: str, generation: int) -> dict[str, int]:
    """Versions of the tables behind a scoring set, its own included."""
    own = {scoring_set.table: scoring_set.version}
    landed = tables.landed(scoring_set.table, _transaction(target, window, generation))
    if landed is None or landed.snapshot != scoring_set:
        return own
    return {**{str(table): int(version) for table, version in landed.details.get("inputs", {}).items()}, **own}


def _transaction(target: str, window: str, generation: int) -> Transaction:
    return Transaction(f"{scoring_set_table(target)}/{window}/{generation}")


def _check_columns(found: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in found]:
        raise ContractError(
            f"no column {', '.join(missing)} in the spine", expected=f"row key and spine time among {sorted(found)[:5]}, ...", mend="correct them"
        )
    if WINDOW in found:
        raise ContractError(f"a column `{WINDOW}` in the spine", expected="that name free for the scoring set", mend="rename the column")
