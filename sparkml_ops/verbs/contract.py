"""The contract of a model's inputs: learnt from the training set, judged before a window is scored, and kept as a table of verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from feature_store.delta import Transaction
from feature_store.names import quote
from feature_store.quality.tally import take_tally
from feature_store.records import Snapshot
from sparkml_ops import clock, scoring
from sparkml_ops.drift.source import run, source_of
from sparkml_ops.errors import ContractError
from sparkml_ops.logs import logger
from sparkml_ops.runkey import RunKey
from sparkml_ops.scoring.contract import Judged, judge_rows, judged_until, refuse
from sparkml_ops.scoring.learnt import ColumnFacts, Severity, WindowFacts, learnt_rules, to_yaml
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.summaries import FrequentMaker, FrequentValues
from sparkml_ops.summaries.survey import Survey
from sparkml_ops.summaries.views import looking
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.witnesses import declared as declared_of
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["CONTRACT_TABLE", "Learnt", "check", "judge_window", "learn", "results"]

CONTRACT_TABLE = "contract_results"
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "project", "target", "window", "slot")),
        ("generation", pa.int32()),
        ("as_of", pa.timestamp("us", "UTC")),
        ("contract", pa.string()),
        ("rows", pa.int64()),
        *((name, pa.string()) for name in ("rule", "name", "column", "outcome")),
        ("failed", pa.int64()),
        ("found", pa.string()),
    ]
)
_Texts: TypeAlias = "tuple[tuple[str, ...] | None, tuple[str, ...] | None]"
_CAPACITY, _MOST_PATTERNS, _LONGEST = 1000, 5, 40


@dataclass(frozen=True)
class Learnt:
    """A contract that was learnt.

    Args:
        version: Of the model.
        training_set: Whose rows it was learnt from.
        rules: Number of rules.
        text: The file's content.
    """

    version: int
    training_set: str
    rules: int
    text: str


def learn(work: Work, which: int | str = "champion", *, margin: float = 0.1, otherwise: Severity = "warn", most_values: int = 50) -> Learnt:
    """Learn the contract of a version's inputs from its training rows, in three passes.

    Values of columns with personal data are not written down.

    Args:
        which: The version, or an alias.
        margin: Share of a range by which it may be left on either side.
        otherwise: What happens where a rule about rows does not hold.
        most_values: Most values of a text column that are listed.

    Raises:
        ContractError: No such version, or the training set is not there.
    """
    if not 0 <= margin < 10:
        raise ContractError(f"a margin of {margin:g}", expected="a share of the range, as 0.1", mend="correct --margin")
    model = scoring.load(work.tracking, work.storage, work.sections.release.model, which, work.sections.scoring)
    snapshot = model.record.training_set.snapshot
    table = work.tables.read(snapshot.table, snapshot.version)
    where = {"split": "train"} if "split" in table.columns else {}
    rows = table.where(F.col("split") == F.lit("train")) if where else table
    personal = declared_of(work, model.record.training_set).personal
    names = [field.name for field in model.published.inputs if field.name in table.columns]
    tally = take_tally(rows, names, (), F.lit(False), hashed=False)
    texts = [name for name in names if tally.types[name] == "string" and name not in personal]
    known = _texts(work, snapshot, where, texts, most_values)
    facts = []
    for name in names:
        profile = tally.columns[name]
        low, high = (None, None) if name in personal else (profile.low, profile.high)
        values, patterns = known.get(name, (None, None))
        facts.append(ColumnFacts(name, tally.types[name], tally.rows, profile.nulls, profile.nan, low, high, values, patterns))
    rules = learnt_rules(facts, _windows(work, table), margin=margin, otherwise=otherwise)
    origin = f"training set {model.record.training_set.id} of {model.record.name} version {model.record.version}"
    return Learnt(model.record.version, model.record.training_set.id, len(rules), to_yaml(rules, origin))


def check(work: Work, window: str, *, generation: int = 0, as_of: datetime | str | None = None) -> Judged:
    """Judge a window's stored scoring set by the contract; nothing is written.

    Raises:
        ContractError: The project has no contract, or the window has no scoring set.
    """
    now, parsed = clock.resolve(as_of), Window.parse(window)
    target = work.sections.scoring.target
    if not work.sections.scoring.contract.rules:
        raise ContractError("no rule in scoring.contract", expected="a contract to check", mend="run `sparkml-ops contract learn`, or write one")
    snapshot = scoring.stored_set(work.tables, target, parsed, generation)
    if snapshot is None:
        raise ContractError(
            f"no scoring set of window {window}", expected="a window that was scored", mend=f"run `sparkml-ops score --window {window}` first"
        )
    return _judged(work, snapshot, parsed, now)


def judge_window(work: Work, snapshot: Snapshot, key: RunKey, run_id: str, now: datetime) -> Judged | None:
    """Judge a scoring set before it is scored and store the verdicts; None where the project has no contract.

    Raises:
        ContractError: A rule that says `fail` does not hold; the verdicts are stored.
    """
    if not work.sections.scoring.contract.rules:
        return None
    window = Window.parse(key.window)
    judged = _judged(work, snapshot, window, now)
    _store(work, judged, key, run_id, now)
    for verdict in judged.worst:
        logger.warning(
            "%s: `%s` does not hold in window %s (%s)", verdict.outcome, verdict.name, key.window, verdict.found or f"{verdict.failed} rows"
        )
    refuse(judged, _what(window))
    return judged


def results(work: Work, where: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Stored verdicts of this project's windows, read without a Spark job; of each window and slot the newest judgement.

    Args:
        where: Only rows with these values of text columns.
    """
    if not work.tables.exists(CONTRACT_TABLE):
        return []
    asked = {"project": work.config.project, "target": work.sections.scoring.target, **(where or {})}
    rows = work.tables.rows(CONTRACT_TABLE, asked)
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for row in rows:
        place = (row["window"], row["slot"])
        newest[place] = max(newest.get(place, _age(row)), _age(row))
    return sorted((row for row in rows if newest[row["window"], row["slot"]] == _age(row)), key=lambda row: (row["window"], row["slot"]))


def _judged(work: Work, snapshot: Snapshot, window: Window, now: datetime) -> Judged:
    declared, rules = training_set.declaration(work), work.sections.scoring.contract.expectations
    rows = work.tables.read(snapshot.table, snapshot.version).where(F.col(WINDOW) == F.lit(window.label))
    at = judged_until(window.end, now)
    return judge_rows(rows, rules, row_key=declared.row_key, time=declared.time, at=at, what=_what(window))


def _store(work: Work, judged: Judged, key: RunKey, run_id: str, now: datetime) -> None:
    columns = {item.name: item.column for item in work.sections.scoring.contract.expectations}
    common: dict[str, Any] = {"run_id": run_id, "project": key.project, "target": key.target, "window": key.window, "slot": key.slot}
    common |= {"generation": key.generation, "as_of": now, "contract": judged.contract, "rows": judged.rows}
    rows = [
        common
        | {"rule": item.rule, "name": item.name, "column": columns[item.name], "outcome": item.outcome, "failed": item.failed, "found": item.found}
        for item in judged.verdicts
    ]
    work.tables.put(CONTRACT_TABLE, from_arrow_schema(_SCHEMA), rows, {}, transaction=Transaction(f"contract/{run_id}"))


def _what(window: Window) -> str:
    return f"the scoring set of window {window.label}"


def _age(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["as_of"], row["generation"], row["run_id"]


def _texts(work: Work, snapshot: Snapshot, where: Mapping[str, str], names: Sequence[str], most: int) -> dict[str, _Texts]:
    """Of each text column all its values, or else all its patterns, where they are few."""
    if not names:
        return {}
    makers = {**dict.fromkeys(names, FrequentMaker(_CAPACITY)), **{f"{name} (pattern)": FrequentMaker(_CAPACITY) for name in names}}
    source = source_of(work.spark, work.tables, snapshot, where)
    states = run([(source, Survey("training", looking(makers)))])["training"].get((None, None))
    found: dict[str, _Texts] = {}
    for name in names if states else ():
        values, patterns = (cast("FrequentValues", states.get(each)) for each in (name, f"{name} (pattern)"))  # type: ignore[union-attr]
        if not values.error and 0 < len(values.counts) <= most:
            found[name] = tuple(sorted(values.counts)), None
        elif not patterns.error and 0 < len(patterns.counts) <= _MOST_PATTERNS and max(map(len, patterns.counts)) < _LONGEST:
            found[name] = None, tuple(sorted(patterns.counts))
    return found


def _windows(work: Work, table: DataFrame) -> WindowFacts | None:
    """The windows between the first and the last, which alone are whole."""
    time, size = F.col(quote(training_set.declaration(work).time)), work.sections.scoring.window
    start = F.date_trunc(size, time)  # sessions of ours are in UTC
    end = start + F.expr({"month": "interval 1 month", "day": "interval 1 day", "hour": "interval 1 hour"}[size])
    each = table.groupBy(start.alias("start"), end.alias("end")).agg(F.count(F.lit(1)).alias("rows"), F.max(time).alias("newest"))
    ends = each.agg(F.min("start").alias("first"), F.max("start").alias("last"))
    late = F.unix_micros("end") - F.unix_micros("newest")
    inner = each.crossJoin(F.broadcast(ends)).where((F.col("start") > F.col("first")) & (F.col("start") < F.col("last")))
    found = inner.agg(F.min("rows").alias("fewest"), F.max("rows").alias("most"), F.max(late).alias("late")).first()
    if found is None or found["fewest"] is None:
        return None
    return WindowFacts(int(found["fewest"]), int(found["most"]), timedelta(microseconds=int(found["late"])))
