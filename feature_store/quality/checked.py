"""The way of rows into a feature table: judged in one pass, bad ones kept apart, the rest may land."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.delta import Tables, Transaction
from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.quality.expectation import Expectation
from feature_store.quality.quarantine import REASONS, Quarantine
from feature_store.quality.report import ColumnProfile, QualityReport, Verdict
from feature_store.quality.rows import broken, check_frame, mark_repeated
from feature_store.quality.tally import Tally, take_tally
from feature_store.quality.verdicts import judge
from feature_store.table import FeatureTable, definition_digest

__all__ = ["QUALITY", "Checked", "checked", "last_report"]

QUALITY = "quality"
_SHOWN = 5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """Rows that may land, and what their commit must carry.

    Args:
        rows: Without those that were kept apart.
        report: None where the table expects nothing.
        transaction: Of the rows kept apart, which count once a commit of the table carries it; None where there are no new ones.
    """

    rows: DataFrame
    report: QualityReport | None = None
    transaction: Transaction | None = None

    @property
    def details(self) -> dict[str, Any]:
        """For the details of the commit."""
        return {} if self.report is None else {QUALITY: self.report.document()}


def checked(
    tables: Tables,
    table: FeatureTable,
    frame: DataFrame,
    *,
    what: str,
    as_of: datetime,
    unit: str,
    whole: bool,
    beside: DataFrame | None = None,
) -> Checked:
    """Judge the rows of a write by the table's expectations, in one job, and keep the bad ones apart.

    Call it last before the commit of the rows, and commit with `details` and `transaction`. A table without expectations costs
    nothing. A repeat after a kill at any point ends as an unbroken write does.

    Args:
        tables: Where the table lies.
        table: The declared table.
        frame: Exactly its columns; rows that keep its contract.
        what: The rows in words, for the message.
        as_of: The instant from which freshness counts, UTC.
        unit: What tells this write from another one over the same rows: its kind, and its range.
        whole: Whether the rows are to be the whole table.
        beside: The rows among which they will stand, for `unique`; None: none.

    Raises:
        ContractError: An expectation that says `fail` does not hold; shows at most five rows. Nothing was written.
    """
    if not table.expectations:
        return Checked(frame)
    check_frame(table.expectations, frame, what)
    about_rows = [item for item in table.expectations if not item.of_table]
    marked = frame
    for place, item in enumerate(about_rows):
        marked = mark_repeated(marked, item, place, table.merge_keys, beside) if item.rule == "unique" else marked
    breaks = [broken(item, frame.schema, place) for place, item in enumerate(about_rows)]
    apart = [(item, condition) for item, condition in zip(about_rows, breaks, strict=True) if item.otherwise == "quarantine"]
    bad = reduce(Column.__or__, (condition for _, condition in apart), F.lit(False))
    found = take_tally(marked, frame.columns, breaks, bad)
    last = last_report(tables, table, whole=whole)
    verdicts = judge(table.expectations, found, event_time=table.event_time, as_of=as_of, last=last)
    _refuse(table, verdicts, marked, list(zip(about_rows, breaks, strict=True)), what)
    for verdict in verdicts:
        if verdict.outcome in ("warn", "quarantine"):
            _LOG.warning("%s: `%s` does not hold in %s (%s)", verdict.outcome, verdict.name, what, _counted(verdict, found.rows))
    report = QualityReport(found.rows, found.bad, whole, verdicts, _shown(table, found))
    if not found.bad:
        return Checked(frame, report)
    reasons = F.array_compact(F.array(*(F.when(condition, F.lit(item.name)) for item, condition in apart))).alias(REASONS)
    columns = [F.col(quote(name)) for name in frame.columns]
    kept = Quarantine(tables, table).keep(marked.where(bad).select(*columns, reasons), _write_name(tables, table, found, unit))
    return Checked(marked.where(~bad).select(*columns), report, kept)


def last_report(tables: Tables, table: FeatureTable, *, whole: bool | None = None) -> QualityReport | None:
    """What the last write of a table found, from its log alone; None where none was judged.

    Args:
        whole: Only of a write of the whole table, or only of a part; None: of either.
    """
    if not tables.exists(table.table_name):
        return None
    for commit in tables.noted(table.table_name, QUALITY):
        report = QualityReport.from_document(commit.details[QUALITY], commit.snapshot.version)
        if whole in (None, report.whole):
            return report
    return None


def _write_name(tables: Tables, table: FeatureTable, found: Tally, unit: str) -> str:
    """Names a write by what it does to which version: a repeat after a kill has the same name, the same rows written later another one."""
    base = tables.newest(table.table_name).version if tables.exists(table.table_name) else None
    rules = [item.document() for item in table.expectations]
    return definition_digest([table.definition_hash, rules, unit, base, found.rows, found.bad, found.content])[:32]


def _shown(table: FeatureTable, found: Tally) -> dict[str, ColumnProfile]:
    """Without values of keys and of personal data: what is written into a log outlives the row it came from."""
    hidden = {*table.keys, *table.pii}
    return {name: replace(profile, low=None, high=None, mean=None) if name in hidden else profile for name, profile in found.columns.items()}


def _refuse(table: FeatureTable, verdicts: Sequence[Verdict], marked: DataFrame, rules: Sequence[tuple[Expectation, Column]], what: str) -> None:
    failed = [verdict for verdict in verdicts if verdict.outcome == "fail"]
    if not failed:
        return
    conditions = {item.name: (item, condition) for item, condition in rules}
    texts = []
    for verdict in failed[:_SHOWN]:
        text = f"`{verdict.name}` broken by " + (f"{verdict.failed} rows" if verdict.failed else verdict.found)
        if verdict.name in conditions:
            item, condition = conditions[verdict.name]
            text += f": {_examples(marked, condition, (*table.merge_keys, *item.read))}"
        texts.append(text)
    more = f"; and {len(failed) - _SHOWN} more expectations" if len(failed) > _SHOWN else ""
    raise ContractError(
        f"{'; '.join(texts)}{more} in {what}",
        expected=f"what `{table.name}` declares in expectations",
        mend="correct the rows, or say otherwise=quarantine or warn where they may differ",
    )


def _examples(marked: DataFrame, condition: Column, names: Sequence[str]) -> str:
    shown = list(dict.fromkeys(names))
    columns = [F.col(quote(name)) for name in shown]
    # As text, since Python would show instants in its own zone.
    rows = marked.where(condition).orderBy(*columns).limit(_SHOWN).select(*(column.cast("string") for column in columns)).collect()
    return "; ".join(", ".join(f"{name}={value}" for name, value in zip(shown, row, strict=True)) for row in rows)


def _counted(verdict: Verdict, rows: int) -> str:
    return verdict.found or f"{verdict.failed} of {rows} rows"
