"""`causes`: which columns are behind a window's drift, since when, by which version of which table, and from which columns upstream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from feature_store.lineage.columns import columns_read
from sparkml_ops import clock, release, scoring
from sparkml_ops.drift.carried import carried
from sparkml_ops.drift.measure import METRICS_TABLE
from sparkml_ops.drift.stored import stored_profiles
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.monitoring.causes import Cause, rank
from sparkml_ops.release.importance import Importance, importance_of
from sparkml_ops.scoring.scoring_set import input_versions
from sparkml_ops.verbs.finished import Finished
from sparkml_ops.verbs.inputs import spine_table
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["CauseReport", "Traced", "Upstream", "causes"]


@dataclass(frozen=True)
class Traced:
    """A cause and where it came from.

    Args:
        cause: The column.
        since: First window of the unbroken row of windows in which it drifts or is at fault.
        last_good: The window before; None where it never was good.
        table: Where the column comes from: a feature table, or the spine; None where the declaration does not say.
        version: Of that table, as `since` was scored with it; None where nobody recorded it.
        version_before: The same of `last_good`: what was written between both is where it began.
        upstream: `<source>.<column>` that it is computed from, with how.
    """

    cause: Cause
    since: str
    last_good: str | None
    table: str | None
    version: int | None
    version_before: int | None
    upstream: Mapping[str, str]


@dataclass(frozen=True)
class Upstream:
    """A column of a source, and how much of the ranked score hangs on it.

    Args:
        column: `<source>.<column>`.
        share: Scores of the causes that are computed from it, over the sum of all scores.
        causes: These columns.
    """

    column: str
    share: float
    causes: tuple[str, ...]


@dataclass(frozen=True)
class CauseReport:
    """Where a window's drift comes from.

    Args:
        window: Label.
        version: Of the model that scored it; None where nobody recorded it.
        ranked_by: `effect x importance`, or `effect` where no importance is known.
        importance: Where it comes from, and what it is: `given`, or of the version's card in its own words; empty where none is known.
        causes: The likeliest first.
        upstream: Columns of sources from which most of it comes, the most first.
    """

    window: str
    version: int | None
    ranked_by: str
    importance: str
    causes: tuple[Traced, ...]
    upstream: tuple[Upstream, ...]


def causes(
    work: Work, *, window: str | None = None, importance: Mapping[str, float] | None = None, as_of: datetime | str | None = None
) -> CauseReport:
    """Rank what is behind a window's drift; reads what `drift` and `score` stored, without Spark where the warehouse is a folder.

    Args:
        window: A compared window of the champion; None: the newest.
        importance: By column, in any unit. None: what the card of the version that scored the window measured (`models card`), where one did.
        as_of: Runs with a later clock do not count.

    Raises:
        ContractError: The window was not compared, or another comparison took its place.
    """
    now = clock.resolve(as_of)
    work.check()
    finished = Finished(work, now)
    compared, scored = finished.newest_by_window("drift"), finished.newest_by_window("score")
    label = window or next(reversed(compared), "")
    if label not in compared:
        raise ContractError(
            f"no drift of window {label or 'whatsoever'}",
            expected=f"one of {', '.join(list(compared)[-5:])}" if compared else "a compared window",
            mend="run `sparkml-ops drift` for it first",
        )
    rows, kept = _rows(work, compared[label]), None if importance is not None else _kept(scored.get(label), work)
    weights, unknown = (importance, ()) if kept is None else (kept.inputs, kept.withheld)
    ranked = rank(rows, weights, unknown=unknown, parts=_parts(work, rows))
    origins = _origins(work)
    traced = tuple(_traced(work, cause, label, compared, scored, origins.get(cause.column, ("", {}))) for cause in ranked)
    version = int(scored[label].record["model"]["version"]) if label in scored else None
    said = "" if weights is None else "given" if kept is None else f"of version {version}: {kept.measured}"
    return CauseReport(label, version, "effect" if weights is None else "effect x importance", said, traced, _upstream(traced))


def _kept(run: FinishedRun | None, work: Work) -> Importance | None:
    """What the card of the version that scored a window measured."""
    if run is None:
        return None
    model = run.record["model"]
    return importance_of(work.storage, model["name"], int(model["version"]), model["digest"])


def _parts(work: Work, rows: Sequence[Mapping[str, object]]) -> Callable[[str, str], Mapping[str, float]]:
    """What the stored profiles say of segments; read where a window has some."""
    both = None
    if any(row["segment"] is not None for row in rows):
        with suppress(ContractError):  # stored in a form that is not read any more: segments are estimated then
            both = stored_profiles(work.tables, rows[0])
    known = set(both[0].columns) if both is not None else set()

    def parts(column: str, statistic: str) -> Mapping[str, float]:
        return carried(*both, column, missing=statistic == "missing") if both is not None and column in known else {}

    return parts


def _rows(work: Work, run: FinishedRun) -> list[dict[str, object]]:
    where = {"project": run.key.project, "window": run.key.window, "slot": release.CHAMPION}
    rows = work.tables.rows(METRICS_TABLE, where) if work.tables.exists(METRICS_TABLE) else []
    found = [row for row in rows if row["run_id"] == run.run_id]
    if not found:
        raise ContractError(
            f"no stored statistics of {run.key.text}",
            expected="those of the newest comparison",
            mend="run `sparkml-ops drift` with `--generation next`",
        )
    return found


def _traced(
    work: Work,
    cause: Cause,
    label: str,
    compared: Mapping[str, FinishedRun],
    scored: Mapping[str, FinishedRun],
    origin: tuple[str, Mapping[str, str]],
) -> Traced:
    since, last_good = _began(cause.column, label, compared)
    table, upstream = origin
    now, before = (_versions(work, scored.get(window)).get(table) if window else None for window in (since, last_good))
    return Traced(cause, since, last_good, table or None, now, before, upstream)


def _began(column: str, label: str, compared: Mapping[str, FinishedRun]) -> tuple[str, str | None]:
    """The first window of the unbroken row that ends with this one, of windows of its size, and the one before."""
    before = [other for other in compared if len(other) == len(label) and Window.parse(other).end <= Window.parse(label).end]
    since = label
    for other in reversed(before):
        if compared[other].record["columns"].get(column, {}).get("verdict") not in ("drift", "fault"):
            return since, other
        since = other
    return since, None


def _versions(work: Work, run: FinishedRun | None) -> dict[str, int]:
    """Versions of the tables that a window was scored with, from the commit of its scoring set."""
    if run is None:
        return {}
    window, generation, target = Window.parse(run.key.window), run.key.generation, work.sections.scoring.target
    stored = scoring.stored_set(work.tables, target, window, generation)
    return {} if stored is None else input_versions(work.tables, target, stored, window.label, generation)


def _origins(work: Work) -> dict[str, tuple[str, Mapping[str, str]]]:
    """By column the table that it is taken from, and the columns of sources that it is computed from."""
    declared = work.sections.training_set
    if declared is None:
        return {}
    spine = spine_table(work, declared)
    found: dict[str, tuple[str, Mapping[str, str]]] = {name: (spine, {f"{declared.spine}.{name}": ""}) for name in declared.columns}
    for lookup in declared.lookups:
        made = work.sections.features.get(lookup.table)
        if made is None:
            found.update({f"{lookup.prefix}{name}": (lookup.table, {}) for name in lookup.features or ()})
            continue
        table = made.table(lookup.table, work.sections.sources)
        read = columns_read(table)
        for feature in table.features:
            upstream = {f"{table.source}.{column}": how for column, how in read.get(feature.name, {}).items()}
            found[f"{lookup.prefix}{feature.name}"] = (table.table_name, upstream)
    return found


def _upstream(traced: Sequence[Traced]) -> tuple[Upstream, ...]:
    whole, scores, names = sum(item.cause.score for item in traced), defaultdict[str, float](float), defaultdict[str, list[str]](list)
    for item in traced:
        for column in item.upstream:
            scores[column] += item.cause.score
            names[column].append(item.cause.column)
    found = [Upstream(column, score / whole if whole else 0.0, tuple(names[column])) for column, score in scores.items()]
    return tuple(sorted(found, key=lambda item: (-item.share, item.column)))
