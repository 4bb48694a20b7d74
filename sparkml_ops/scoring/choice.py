"""Which engine scores a window: by rule, said with its reason, and overridable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pyspark.sql.types import BooleanType, DateType, DecimalType, IntegralType, StringType, StructField, TimestampNTZType, TimestampType

from feature_store.delta import Tables, refusal_of
from feature_store.records import Snapshot
from feature_store.scan import scannable
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.scoring.target import PARTITIONS

__all__ = ["Choice", "choose", "target_refused", "unlike_keys"]

Engine = Literal["files", "arrow", "pandas"]
# Whose values Python compares as Spark does.
_KEYS = (IntegralType, StringType, BooleanType, DateType, TimestampType, TimestampNTZType, DecimalType)


@dataclass(frozen=True)
class Choice:
    """An engine and why it is this one.

    Args:
        engine: Its name.
        reason: For plans and logs.
    """

    engine: Engine
    reason: str

    def __str__(self) -> str:
        return f"engine {self.engine}: {self.reason}"


def choose(
    tables: Tables,
    settings: ScoringSection,
    scoring_set: Snapshot | None,
    *,
    identity: Sequence[StructField] = (),
    grows: bool = False,
    chosen: str = "",
) -> Choice:
    """The engine of a window; nothing but logs of tables is read.

    `auto` is `files` where the target and the scoring set allow it, `arrow` otherwise. All engines give the same rows.

    Args:
        tables: The warehouse.
        settings: Options; a named engine is taken.
        scoring_set: What is read; None: it is not there yet.
        identity: Key and time columns, where they are known.
        grows: Whether this write brings the target new columns.
        chosen: Why Spark chooses among the rows first; empty: it does not.

    Raises:
        ContractError: `files` is named, and a table does not allow it.
    """
    if settings.engine in ("arrow", "pandas"):
        return Choice("pandas" if settings.engine == "pandas" else "arrow", "named by scoring.engine")
    refused = _refused(tables, settings.target, scoring_set, identity) or (f"this write brings `{settings.target}` new columns" if grows else "")
    refused = refused or chosen
    if settings.engine == "auto" and not refused and not tables.exists(settings.target):
        # Python's library cannot make a table of ours and its rows at once.
        return Choice("arrow", f"Spark makes `{settings.target}` with its first rows, in one commit")
    if settings.engine == "auto":
        return Choice("arrow", refused) if refused else Choice("files", "tasks read and write the tables' files themselves")
    if refused:
        raise ContractError(
            f"scoring.engine=files, but {refused}", expected="tables whose files tasks can read and write", mend="use scoring.engine=auto"
        )
    return Choice("files", "named by scoring.engine")


def target_refused(tables: Tables, target: str) -> str:
    """Why tasks cannot write a target's files themselves; empty: they can."""
    if refused := refusal_of(tables, target):
        return f"of `{target}`: {refused}"
    if tables.exists(target) and (found := tables.partitioned_by(target)) != PARTITIONS:
        return f"`{target}` is partitioned by {', '.join(found) or 'nothing'}"
    return ""


def unlike_keys(identity: Sequence[StructField]) -> str:
    """Those key columns whose values Python might compare other than Spark does; empty: none."""
    return ", ".join(f"`{item.name}` of type {item.dataType.simpleString()}" for item in identity if not isinstance(item.dataType, _KEYS))


def _refused(tables: Tables, target: str, scoring_set: Snapshot | None, identity: Sequence[StructField]) -> str:
    """Why tasks cannot read and write the files themselves; empty: they can."""
    if refused := target_refused(tables, target):
        return refused
    if odd := unlike_keys(identity):
        return f"{odd} in the row key"
    if scoring_set is None:
        return ""
    if tables.partitioned_by(scoring_set.table) != (WINDOW,):
        return f"`{scoring_set.table}` is not partitioned by its windows alone"
    return "" if scannable(tables, scoring_set) else f"the protocol of `{scoring_set.table}` asks more of a reader than Parquet"
