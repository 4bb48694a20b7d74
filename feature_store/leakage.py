"""What an audit of a training set found: signs that its features know more than they will at prediction time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

from feature_store.shared_keys import Shared
from feature_store.strength import Strength

__all__ = ["Finding", "Kind", "LeakageReport", "LookupAge", "TimeAhead"]

Kind = Literal["too good", "time from the future", "shared between splits", "duplicates", "tie"]


@dataclass(frozen=True)
class Finding:
    """A sign of leakage.

    Args:
        kind: What it is.
        subject: The feature, lookup or key.
        found: What was measured, with its threshold.
        mend: The next thing to do.
    """

    kind: Kind
    subject: str
    found: str
    mend: str


@dataclass(frozen=True)
class TimeAhead:
    """Rows in which a column of times lies after the spine time."""

    column: str
    rows: int


@dataclass(frozen=True)
class LookupAge:
    """How long before the spine time a lookup's values were known, from the join done again.

    Args:
        lookup: Its prefix or table.
        rows: Spine rows that it gave a value.
        ahead: Those of them whose event or known time lies after the spine time.
        least: Least seconds from when a value was known to the spine time; None where no row matched.
    """

    lookup: str
    rows: int
    ahead: int
    least: float | None


@dataclass(frozen=True)
class LeakageReport:
    """An audit of one training set.

    Args:
        training_set: Its id.
        rows: Its rows; times, keys and duplicates are counted in all of them.
        sample: Labelled rows, the first by `row_position` (of sites, drawn by its hash), on which features were judged.
        findings: What should be looked at; empty for a clean set.
        strengths: Every feature that was judged by itself, strongest first.
        times: Columns of times that lie after the spine time in some row.
        shared: Rows whose key, group or features stand in the first part as well.
        lookups: How old the joined values were; empty where the join was not done again.
        notes: What was not looked at, and why; features that were accepted.
    """

    training_set: str
    rows: int
    sample: int
    findings: tuple[Finding, ...]
    strengths: tuple[Strength, ...]
    times: tuple[TimeAhead, ...]
    shared: tuple[Shared, ...]
    lookups: tuple[LookupAge, ...]
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        shared = [{**asdict(item), "share": item.share} for item in self.shared]
        return {**asdict(self), "shared": shared, "clean": self.clean}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_document())

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one page that needs nothing from elsewhere; returns where it lies."""
        page = Path(path)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_page(self), encoding="utf-8")
        return page


_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}"
)


def _page(report: LeakageReport) -> str:
    verdict = "nothing found" if report.clean else f"{len(report.findings)} findings"
    sections = [
        _table(
            "Findings", ("kind", "subject", "found", "what to do"), ((item.kind, item.subject, item.found, item.mend) for item in report.findings)
        ),
        _table(
            "Each feature by itself",
            ("feature", "measure", "value", "rows"),
            ((item.feature, item.measure, "too few rows" if item.value is None else f"{item.value:.4f}", item.rows) for item in report.strengths),
        ),
        _table(
            "Rows with a twin in the first part",
            ("key", "part", "rows", "shared", "share"),
            ((item.key, item.part, item.rows, item.shared, f"{item.share:.2%}") for item in report.shared),
        ),
        _table("Times after the spine time", ("column", "rows"), ((item.column, item.rows) for item in report.times)),
        _table(
            "Age of joined values",
            ("lookup", "rows", "ahead", "least seconds"),
            ((item.lookup, item.rows, item.ahead, "" if item.least is None else f"{item.least:g}") for item in report.lookups),
        ),
        _table("Notes", ("",), ((note,) for note in report.notes)),
    ]
    head = f"<title>Leakage audit of {escape(report.training_set)}</title><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    lead = f"<h1>{escape(report.training_set)}: {verdict}</h1><p>{report.rows:,} rows; features judged on {report.sample:,} labelled rows.</p>"
    return f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{lead}{''.join(sections)}</body></html>\n"


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    if not body:
        return ""
    return f"<h2>{title}</h2><table><thead><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f"<td class=n>{value:,}</td>" if isinstance(value, int) else f"<td>{escape(str(value))}</td>"
