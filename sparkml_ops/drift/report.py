"""What a comparison found: statistics by column and segment, verdicts, tables and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from feature_store.records import Snapshot
from sparkml_ops.drift.column_drift import STATISTICS, VERDICTS, ColumnDrift, Measure
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.page import Drawn

__all__ = ["STATISTICS", "ColumnDrift", "DriftReport", "Measure"]


@dataclass(frozen=True, eq=False)
class DriftReport(Drawn):
    """The comparison of two sides.

    Args:
        columns: Each column over all rows first, then by segment.
        reference: What the reference was, in words.
        current: What was compared with it.
        edges: Id of the edges.
        snapshot: The commit that stored it, where it was stored.
    """

    columns: tuple[ColumnDrift, ...]
    reference: str = "reference"
    current: str = "current"
    edges: str = ""
    snapshot: Snapshot | None = None

    def __getitem__(self, key: str | tuple[str, str | None]) -> ColumnDrift:
        """A column over all rows, or over a segment: `report["distance", "origin=JFK"]`."""
        column, segment = key if isinstance(key, tuple) else (key, None)
        for found in self.columns:
            if (found.column, found.segment) == (column, segment):
                return found
        raise KeyError(f"no column {column!r} (segment {segment!r}) in this report of {sorted({found.column for found in self.columns})[:20]}")

    def __iter__(self) -> Iterator[ColumnDrift]:
        return iter(self.columns)

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of a column over all rows; segments do not count."""
        found = {column.verdict for column in self.columns if column.segment is None}
        return next((verdict for verdict in VERDICTS if verdict in found), "undecided")

    @property
    def by_severity(self) -> list[ColumnDrift]:
        """All entries, gravest first: by verdict, then by the greatest effect as a share of its threshold."""
        return sorted(self.columns, key=lambda column: (VERDICTS.index(column.verdict), -_severity(column), column.segment or "", column.column))

    def with_skew(self, shares: Mapping[str, float], most: float) -> DriftReport:
        """The report with one more statistic of the columns that a replay compared: `skew`, a fault above a share.

        Args:
            shares: Share of the current rows that differ in a replay, by column.
            most: Greatest share that is none.
        """

        def judged(column: ColumnDrift) -> ColumnDrift:
            if column.segment is not None or column.column not in shares:
                return column
            value, rows = shares[column.column], column.measures["missing"].m
            skew = Measure(value, value, value, rows, rows, threshold=most, method="replay", verdict="fault" if value > most else "no drift")
            return replace(column, measures={**column.measures, "skew": skew})

        return replace(self, columns=tuple(map(judged, self.columns)))

    def to_document(self) -> dict[str, Any]:
        """The report's result as plain JSON types."""
        whole = [column for column in self.by_severity if column.segment is None]
        return {
            "reference": self.reference,
            "current": self.current,
            "edges": self.edges,
            "snapshot": None if self.snapshot is None else asdict(self.snapshot),
            "verdict": self.verdict,
            "columns": {
                column.column: {"verdict": column.verdict, **{name: measure.value for name, measure in column.measures.items()}} for column in whole
            },
            "segments": [
                [column.segment, column.column, column.verdict]
                for column in self.columns
                if column.segment is not None and column.verdict in ("fault", "drift")
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row for each segment, column and statistic."""
        return [
            {
                "segment": column.segment,
                "column": column.column,
                "statistic": name,
                **{field: getattr(measure, field) for field in ("value", "lower", "upper", "n", "m", "p", "q", "threshold", "method", "verdict")},
            }
            for column in self.columns
            for name, measure in column.measures.items()
        ]

    def to_pandas(self) -> pd.DataFrame:
        """A row for each segment ("name=value", or None for all rows), column and statistic.

        Columns: segment, column, statistic, value, lower, upper, n, m, p, q, threshold, method, verdict.
        """
        frame = pd.DataFrame(
            self.rows(), columns=["segment", "column", "statistic", "value", "lower", "upper", "n", "m", "p", "q", "threshold", "method", "verdict"]
        )
        numbers = dict.fromkeys(["value", "lower", "upper", "p", "q", "threshold"], np.float64)
        return frame.astype(
            {**numbers, "n": np.int64, "m": np.int64, **dict.fromkeys(["segment", "column", "statistic", "method", "verdict"], object)}
        )

    def html(self) -> str:
        """The report as one page that needs nothing else."""
        from sparkml_ops.drift.page import render

        return render(self)


def _severity(column: ColumnDrift) -> float:
    shares = [measure.value / measure.threshold for measure in column.measures.values() if measure.value is not None and measure.threshold]
    return max(shares, default=0.0)
