"""Which of several tables of predictions consumers read: a pointer, moved by numbered events when the new table has been compared with the old.

Blue-green: a whole new version of the predictions is scored into a target of its own, looked at, and becomes the one that is read
in one commit; moving back is one more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from sparkml_ops.errors import ConflictError, ContractError
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.scoring.side_by_side import SideBySide, compare_sides
from sparkml_ops.scoring.target import SLOT, counted
from sparkml_ops.window import instant

__all__ = ["TABLE", "Candidate", "Publication", "candidate", "move", "publications", "published"]

TABLE = "published_predictions"
_SCHEMA = StructType(
    [
        StructField("project", StringType(), nullable=False),
        StructField("number", IntegerType(), nullable=False),
        StructField("from_target", StringType()),
        StructField("to_target", StringType(), nullable=False),
        StructField("at", TimestampType(), nullable=False),
        StructField("reason", StringType(), nullable=False),
        StructField("actor", StringType(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Publication:
    """One move of the pointer.

    Args:
        project: Whose predictions.
        number: Position in the project's history, from 1.
        from_target: What was read before; None at the first.
        to_target: What is read from then on.
        at: Clock of the move, UTC.
        reason: `publish`, or `back`.
        actor: Who asked for it; may be empty.
    """

    project: str
    number: int
    from_target: str | None
    to_target: str
    at: datetime
    reason: Literal["publish", "back"]
    actor: str


@dataclass(frozen=True)
class Candidate:
    """A target that may be read next, beside the one that is read now.

    Args:
        target: Its table.
        windows: Those of it.
        missing: Windows that are read now and are not in it.
        rows: Scored rows of it.
        quarantined: Rows of it in quarantine.
        now: Scored rows of what is read now.
        beside: How its predictions compare with those; None at the first publication.
    """

    target: str
    windows: tuple[str, ...]
    missing: tuple[str, ...]
    rows: int
    quarantined: int
    now: int = 0
    beside: SideBySide | None = None

    def check(self, most_quarantined: float, most_missing: float) -> None:
        """Refuse what would take predictions away.

        Args:
            most_quarantined: Greatest share of its rows in quarantine.
            most_missing: Greatest share of the rows that are scored now and would not be.

        Raises:
            ContractError: It lacks windows or rows, or has too many in quarantine.
        """
        faults = []
        if not self.rows:
            faults.append("no scored row")
        if self.missing:
            faults.append(f"no window {', '.join(self.missing[:5])}{', …' if len(self.missing) > 5 else ''}")
        if self.quarantined > most_quarantined * (self.rows + self.quarantined):
            faults.append(f"{self.quarantined} of {self.rows + self.quarantined} rows in quarantine, at most {most_quarantined:.2%}")
        if self.beside is not None:
            lost = self.now - self.beside.rows
            if lost > most_missing * self.now:
                faults.append(f"{lost} of {self.now} rows that have a prediction now and would have none, at most {most_missing:.2%}")
        if faults:
            raise ContractError(
                f"in `{self.target}`: {'; '.join(faults)}",
                expected="all that is read now",
                mend="score the missing windows into it first, or correct its rows; what is read has not changed",
            )


def publications(tables: Tables, project: str) -> tuple[Publication, ...]:
    """All moves, oldest first; needs no Spark where the warehouse is a folder."""
    if not tables.exists(TABLE):
        return ()
    rows = tables.rows(TABLE, {"project": project})
    return tuple(sorted((_publication(row) for row in rows), key=lambda item: item.number))


def published(tables: Tables, project: str, default: str) -> str:
    """The target that is read now.

    Args:
        default: Before the first publication.
    """
    moves = publications(tables, project)
    return moves[-1].to_target if moves else default


def candidate(tables: Tables, target: str, now: str | None, row_key: Sequence[str], slot: str = "champion") -> Candidate:
    """Look at a target beside the one that is read now: one job over their keys and predictions.

    Args:
        now: What is read; None: nothing yet.

    Raises:
        TableNotFound: There is no such target.
    """
    rows = _slot_rows(tables, target, slot)
    windows = tables.partition_values(tables.newest(target), WINDOW)
    before = frozenset[str]() if now is None else tables.partition_values(tables.newest(now), WINDOW)
    scored, quarantined = counted(tables, tables.newest(target), {SLOT: slot})
    missing = tuple(sorted(before - windows))
    if now is None or now == target:
        return Candidate(target, tuple(sorted(windows)), missing, scored, quarantined)
    there, _ = counted(tables, tables.newest(now), {SLOT: slot})
    beside = compare_sides(_slot_rows(tables, now, slot), rows, [*row_key, WINDOW])
    return Candidate(target, tuple(sorted(windows)), missing, scored, quarantined, there, beside)


def move(tables: Tables, publication: Publication) -> None:
    """Add a move under its number.

    Raises:
        ConflictError: Another one took the number first.
    """
    commit = tables.add(TABLE, _SCHEMA, [asdict(publication)], transaction=Transaction(f"{TABLE}/{publication.project}", publication.number))
    if not commit.fresh:
        raise ConflictError(
            f"another move of what {publication.project} publishes at the same time", mend="look at it, then publish again if that is still wanted"
        )


def _slot_rows(tables: Tables, target: str, slot: str) -> DataFrame:
    return tables.read(target).where(F.col(SLOT) == F.lit(slot))


def _publication(row: Mapping[str, Any]) -> Publication:
    return Publication(at=instant(row["at"]), **{name: row[name] for name in _SCHEMA.names if name != "at"})
