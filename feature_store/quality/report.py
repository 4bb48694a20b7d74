"""What a write found out about its rows, as it stands in the details of the commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["ColumnProfile", "QualityReport", "Verdict"]


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the rows that were judged.

    Args:
        nulls: Number of nulls.
        nan: Number of NaN.
        low: Least number, as a double (an instant: microseconds since the epoch); None for other types, for keys and for columns
            marked PII, whose values would outlive their rows here.
        high: Greatest number, likewise.
        mean: Mean of the numbers, likewise.
    """

    nulls: int
    nan: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of one expectation.

    Args:
        name: The expectation's.
        rule: Its rule.
        outcome: `pass`; what its severity says where it did not hold; or `not judged` where there was nothing to compare with.
        failed: Rows that broke it; 0 for a rule about the table.
        found: What a rule about the table found, in words.
    """

    name: str
    rule: str
    outcome: Literal["pass", "fail", "quarantine", "warn", "not judged"]
    failed: int = 0
    found: str = ""


@dataclass(frozen=True)
class QualityReport:
    """The rows of one write against what its table expects; no value of a row is in it.

    Args:
        rows: Rows that were judged.
        quarantined: Rows of them that were kept apart.
        whole: Whether they were to be the whole table, not a part of it.
        verdicts: One for each expectation.
        columns: Profile of each column.
        version: The table's version that carries this report; None until it is committed.

    >>> QualityReport.from_document(QualityReport(3, 1, False).document()).quarantined
    1
    """

    rows: int
    quarantined: int
    whole: bool
    verdicts: tuple[Verdict, ...] = ()
    columns: Mapping[str, ColumnProfile] = field(default_factory=dict)
    version: int | None = None

    def document(self) -> dict[str, Any]:
        """As JSON types; without the version, which the commit itself tells."""
        document = asdict(self)
        del document["version"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any], version: int | None = None) -> QualityReport:
        """The report of a commit's details."""
        verdicts = tuple(Verdict(**item) for item in document["verdicts"])
        columns = {name: ColumnProfile(**item) for name, item in document["columns"].items()}
        return cls(document["rows"], document["quarantined"], document["whole"], verdicts, columns, version)
