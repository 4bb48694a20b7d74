"""`predictions`: what was scored, why rows were set aside, how two slots differ, and every fact about one prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from feature_store.names import quote
from feature_store.provenance import Provenance
from sparkml_ops import release, scoring
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.records import ModelVersion, ScoredWindow
from sparkml_ops.release.explanation import OneRow
from sparkml_ops.scoring.engines import REASON
from sparkml_ops.scoring.side_by_side import SideBySide, compare_sides
from sparkml_ops.scoring.target import OUTCOME, PREDICTION, SLOT
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.card import explain_prediction
from sparkml_ops.verbs.newest import find_run
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["PredictionFacts", "ReasonCount", "compare", "explain", "reasons", "scorings"]

# Of one key: a row in each window size and slot; more are not told apart by it.
_MOST = 20


@dataclass(frozen=True)
class ReasonCount:
    """A reason for which rows are in quarantine.

    Args:
        example: The key of one of them.
    """

    window: str
    slot: str
    reason: str
    rows: int
    example: Mapping[str, Any]


@dataclass(frozen=True)
class PredictionFacts:
    """Every fact about one prediction.

    Args:
        key: The row's key.
        spine_time: The instant of the prediction, UTC.
        outcome: `scored` or `quarantined`.
        prediction: The model's outputs; empty in quarantine.
        reason: Why it is in quarantine; empty where it is scored.
        model: The version that scored it; None where the registry no longer knows it.
        model_name: Its registered name.
        model_version: Its number.
        champion_then: The champion at that time.
        run_id: The run that scored it.
        generation: Of the window's deliberate repeats.
        scored_at: UTC.
        inputs: What the model was given, and what the row brought besides; empty where the scoring set was taken away.
        sources: Where the looked-up ones among them came from.
        explanation: What the prediction hangs on, where that was asked for.
    """

    key: Mapping[str, Any]
    window: str
    slot: str
    spine_time: datetime
    outcome: str
    prediction: Mapping[str, Any]
    reason: str
    model: ModelVersion | None
    model_name: str
    model_version: int
    champion_then: int | None
    run_id: str
    generation: int
    scored_at: datetime
    inputs: Mapping[str, Any]
    sources: tuple[Provenance, ...]
    explanation: OneRow | None = None


def scorings(work: Work, *, window: str | None = None, slot: str | None = None) -> list[FinishedRun]:
    """The scorings that stand, by window and slot; needs no Spark."""
    where = {"verb": "score", "project": work.config.project, "target": work.sections.scoring.target}
    newest: dict[tuple[str, str], FinishedRun] = {}
    for run in work.ledger.standing(where):
        place = (run.key.window, run.key.slot)
        if window in (None, place[0]) and slot in (None, place[1]) and (place not in newest or run.key.generation > newest[place].key.generation):
            newest[place] = run
    return [newest[place] for place in sorted(newest)]


def reasons(work: Work, *, window: str | None = None, slot: str | None = None, most: int = 50) -> tuple[ReasonCount, ...]:
    """Why rows are in quarantine, the most frequent reasons first; one job.

    Args:
        most: How many reasons.
    """
    key = training_set.declaration(work).row_key
    rows = scoring.quarantine(work.tables, work.sections.scoring.target, window=window, slot=slot)
    example = F.first(F.struct(*(F.col(quote(name)) for name in key))).alias("example")
    groups = rows.groupBy(scoring.WINDOW, SLOT, REASON).agg(F.count(F.lit(1)).alias("rows"), example)
    found = groups.orderBy(F.col("rows").desc(), scoring.WINDOW, SLOT, REASON).limit(most).collect()
    return tuple(ReasonCount(row[scoring.WINDOW], row[SLOT], row[REASON], row["rows"], row["example"].asDict()) for row in found)


def compare(work: Work, left: str, right: str, *, window: str | None = None) -> SideBySide:
    """Two sets of predictions beside each other.

    Args:
        left: A slot, or the run of a scoring: its id or the beginning of it.
        right: The same.
        window: Of the slots.

    Raises:
        ContractError: No such slot or run, or a slot without a window.
    """
    sides = [_rows(work, side, window) for side in (left, right)]
    return compare_sides(sides[0], sides[1], training_set.declaration(work).row_key)


def explain(
    work: Work, key: Mapping[str, str], *, window: str | None = None, slot: str | None = None, contributions: bool = False
) -> tuple[PredictionFacts, ...]:
    """Every fact about the predictions of one row: what it was given, from where, by which model, and what came out.

    Args:
        key: Column of the row key to value.
        window: Only of this window.
        slot: Only of this slot.
        contributions: Whether to say what each prediction hangs on, by SHAP; takes the extra `explain`.

    Raises:
        ContractError: Other columns than the row key's, a value that is none of its type, or no such row.
    """
    declared, target = training_set.declaration(work), work.sections.scoring.target
    if sorted(key) != sorted(declared.row_key):
        raise ContractError(f"the key {sorted(key)}", expected=f"a value of each of {list(declared.row_key)}", mend="give them as column=value")
    rows = work.tables.read(target)
    for name, value in {scoring.WINDOW: window, SLOT: slot}.items():
        rows = rows if value is None else rows.where(F.col(name) == F.lit(value))
    found = rows.where(_is(rows, key)).orderBy(scoring.WINDOW, SLOT, "generation").limit(_MOST).collect()
    if not found:
        place = "".join(f", {name} {value}" for name, value in (("window", window), ("slot", slot)) if value)
        raise ContractError(
            f"no row {', '.join(f'{name}={value}' for name, value in key.items())} in `{target}`{place}",
            expected="a row that was scored or set aside",
            mend="`sparkml-ops predictions show` lists what was scored",
        )
    return tuple(_facts(work, key, row, contributions=contributions) for row in found)


def _rows(work: Work, side: str, window: str | None) -> DataFrame:
    """Scored and quarantined rows of a slot, or of a run at the version that it made."""
    target, version = work.sections.scoring.target, None
    if window is not None and any(run.key.slot == side for run in scorings(work, window=Window.parse(window).label)):
        place = {scoring.WINDOW: Window.parse(window).label, SLOT: side}
    else:
        run = find_run(work, side, verb="score")
        scored = TypeAdapter(ScoredWindow).validate_python(run.record)
        place, version = {scoring.WINDOW: scored.window, SLOT: scored.slot}, scored.snapshot.version
    rows = work.tables.read(target, version)
    for name, value in place.items():
        rows = rows.where(F.col(name) == F.lit(value))
    return rows


def _is(rows: DataFrame, key: Mapping[str, str]) -> Column:
    same = F.lit(True)
    for name, value in key.items():
        same = same & (F.col(quote(name)) == F.lit(value).try_cast(rows.schema[name].dataType))
    return same


def _facts(work: Work, key: Mapping[str, str], row: Row, *, contributions: bool) -> PredictionFacts:
    declared, target = training_set.declaration(work), work.sections.scoring.target
    versions: dict[str, int] = json.loads(row["feature_versions"])
    name = scoring.scoring_set_table(target)
    stored = work.tables.read(name, versions.get(name)).where(F.col(scoring.WINDOW) == F.lit(row[scoring.WINDOW]))
    stored = stored.where(_is(stored, key)).drop(scoring.WINDOW).limit(1)
    given = stored.first()
    lookups = [lookup.lookup() for lookup in declared.lookups]
    sources = () if given is None else work.store.provenance(stored, lookups, spine_time=declared.time, versions=versions)
    model = _model(work, row["model_name"], row["model_version"])
    told = (
        explain_prediction(work, model, stored) if contributions and model is not None and given is not None and row[PREDICTION] is not None else None
    )
    known, values = (*declared.row_key, declared.time), _plain(row)
    return PredictionFacts(
        key={column: values[column] for column in declared.row_key},
        window=row[scoring.WINDOW],
        slot=row[SLOT],
        spine_time=values[declared.time],
        outcome=row[OUTCOME],
        prediction=values[PREDICTION] or {},
        reason=row[REASON] or "",
        model=model,
        model_name=row["model_name"],
        model_version=row["model_version"],
        champion_then=release.champion_at(work.tables, row["model_name"], values["scored_at"]),
        run_id=row["run_id"],
        generation=row["generation"],
        scored_at=values["scored_at"],
        inputs={} if given is None else {item: value for item, value in _plain(given).items() if item not in known},
        sources=sources,
        explanation=told,
    )


def _model(work: Work, name: str, version: int) -> ModelVersion | None:
    try:
        return work.tracking.resolve(name, version).record
    except ContractError:  # deleted, or registered by something else
        return None


def _plain(row: Row) -> dict[str, Any]:
    """A row's values by name; Spark hands an instant over in the zone of this process, without saying so."""
    values = row.asDict(recursive=True)
    return {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in values.items()}
