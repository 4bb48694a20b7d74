"""From stored figures to readings: what each signal of a policy measures in a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from feature_store.duration import parse_duration
from sparkml_ops.alerts.reading import Place, Reading
from sparkml_ops.clock import spoken
from sparkml_ops.config.alerts import BurnPolicy, ContractPolicy, DriftPolicy, FaultPolicy, FreshnessPolicy, PerformancePolicy, QuarantinePolicy
from sparkml_ops.window import Window

__all__ = [
    "burning",
    "contract_readings",
    "drift_readings",
    "fault_readings",
    "figure_readings",
    "freshness_reading",
    "quarantine_reading",
    "unusual",
]

_CAUSES = 5
_HYSTERESIS = 0.6  # share of the limit below which a window is good again, where nothing else is said
_Row = Mapping[str, Any]


def drift_readings(policy: DriftPolicy, rows: Iterable[_Row], version: int | None) -> Iterator[Reading]:
    """A window's `drift_metrics` as a policy weighs them.

    A column counts when a statistic's verdict is `drift` (its effect is beyond the minimum effect under the report's false discovery rate), its effect
    and q satisfy the policy, and none of its statistics is at fault: a fault is another matter, and hides what drift means.

    Args:
        rows: Of one window, all columns, segments and statistics.
        version: Of the model that scored it.
    """
    for subject, columns in _by_subject(policy.by, _judged(policy.columns, rows), segments=policy.by == "segment").items():
        enough = {name: found for name, found in columns.items() if _rows(found) >= policy.minimum_rows}
        decided = {name: found for name, found in enough.items() if any(row["verdict"] != "undecided" for row in found)}
        if not decided:
            continue
        faults = [name for name, found in decided.items() if _has(found, "fault")]
        causes = [cause for name, found in decided.items() if name not in faults and (cause := _cause(policy, name, found))]
        causes.sort(key=lambda cause: (-cause["weight"] * cause["effect"], cause["column"]))
        value = sum(cause["weight"] for cause in causes)
        low = policy.clear_below if policy.clear_below is not None else _HYSTERESIS * policy.at_least
        first = next(iter(decided.values()))[0]
        names = ", ".join(f"{cause['column']} ({cause['statistic']} {cause['value']:.3g})" for cause in causes[:_CAUSES])
        said = f"{len(causes)} of {len(decided)} columns drift in {first['window']}" + (f": {names}" if names else "")
        if faults:
            said += f"; {len(faults)} at fault are left out ({', '.join(faults[:_CAUSES])} in {first['current']})"
        yield Reading(
            subject,
            first["window"],
            first["as_of"],
            value,
            policy.at_least,
            _above(value, policy.at_least, low),
            said,
            version=version,
            causes=tuple(causes[:_CAUSES]),
        )


def fault_readings(policy: FaultPolicy, rows: Iterable[_Row], version: int | None) -> Iterator[Reading]:
    """A window's columns at fault; each is named with the version of the table in which it was found."""
    for subject, columns in _by_subject(policy.by, _judged(policy.columns, rows), segments=False).items():
        enough = {name: found for name, found in columns.items() if _rows(found) >= policy.minimum_rows}
        if not enough:
            continue
        causes = [cause for name, found in enough.items() for cause in _faults(name, found)]
        value, first = float(len({cause["column"] for cause in causes})), next(iter(enough.values()))[0]
        names = ", ".join(f"{cause['column']} ({cause['statistic']} {cause['value']:.3g})" for cause in causes[:_CAUSES])
        said = f"{value:.0f} of {len(enough)} columns of {first['current']} break their contract in {first['window']}" + (
            f": {names}" if names else ""
        )
        place = _above(value, float(policy.at_least), 0.5)
        yield Reading(
            subject, first["window"], first["as_of"], value, float(policy.at_least), place, said, version=version, causes=tuple(causes[:_CAUSES])
        )


def contract_readings(policy: ContractPolicy, rows: Iterable[_Row], versions: Mapping[str, int]) -> Iterator[Reading]:
    """Rows of `contract_results` as a policy reads them.

    Args:
        rows: The newest judgement of each window, a row for each rule.
        versions: Of the models that scored the windows; a refused window has none.
    """
    for (window, subject), judged in _by_window(policy, rows).items():
        first = judged[0]
        broken = [row for row in judged if row["outcome"] in policy.outcomes]
        causes = tuple({name: row[name] for name in ("name", "rule", "column", "outcome", "failed", "found")} for row in broken[:_CAUSES])
        names = ", ".join(f"{row['name']} ({row['found'] or str(row['failed']) + ' rows'})" for row in broken[:_CAUSES])
        said = f"{len(broken)} of {len(judged)} rules of the contract are broken in {window}" + (f": {names}" if names else "")
        value, limit = float(len(broken)), float(policy.at_least)
        yield Reading(subject, window, first["as_of"], value, limit, _above(value, limit, 0.5), said, version=versions.get(window), causes=causes)


def figure_readings(policy: PerformancePolicy | BurnPolicy, rows: Iterable[_Row]) -> Iterator[Reading]:
    """Rows of `performance_metrics`, every measurement of every window, as a policy reads them.

    A window is beyond the limit when the whole interval of the figure is; one without an interval when the value is.
    """
    segments = isinstance(policy, PerformancePolicy) and policy.by == "segment"
    for row in rows:
        wanted = (row["metric"], row["kind"]) == (policy.metric, policy.kind) and (row["segment"] is not None) == segments
        if wanted and row["value"] is not None and row["measured"] >= policy.minimum_rows:
            subject = f"segment={row['segment']}" if segments else ""
            known, limit = row["as_of"], policy.at_least if policy.at_least is not None else policy.at_most
            assert limit is not None
            bad = "below" if policy.at_least is not None else "above"
            said = f"{row['kind']} {row['metric']} {row['value']:.4f} of {row['measured']:,} rows in {row['window']}"
            interval = "" if row["lower"] is None else f", between {row['lower']:.4f} and {row['upper']:.4f}"
            place = _figure_place(policy, row)
            said += (
                f"{interval}; {'certainly ' if place == 'beyond' and interval else 'not ' if place == 'good' else 'not certainly '}{bad} {limit:g}"
            )
            yield Reading(subject, row["window"], known, row["value"], limit, place, said, int(row["rows"]), int(row["version"]))


def burning(policy: BurnPolicy, readings: Sequence[Reading]) -> list[Reading]:
    """How fast the error budget burns at each window: the share of rows in bad windows, over the share that the objective allows.

    Both over the `long` newest windows and over the `short` ones: the first says that it matters, the second that it goes on.
    Source: the multi-window burn rate of the SRE Workbook, chapter 5, with windows of work for hours.

    Args:
        readings: Of `figure_readings`, of one subject, in the order of the windows.
    """
    found, allowed = [], 1 - policy.objective
    for place, reading in enumerate(readings):
        rates = [_bad_share(readings[max(0, place + 1 - length) : place + 1]) / allowed for length in (policy.long, policy.short)]
        value = min(rates)
        state: Place = "beyond" if value >= policy.rate else "good" if rates[1] < policy.rate else "between"
        said = (
            f"the error budget burns {rates[0]:.3g} times too fast over {policy.long} windows and {rates[1]:.3g} over {policy.short} ({reading.said})"
        )
        found.append(Reading(reading.subject, reading.window, reading.known, value, policy.rate, state, said, reading.rows, reading.version))
    return found


def unusual(policy: DriftPolicy, readings: Sequence[Reading]) -> list[Reading]:
    """Windows that drift no more than the same season did before are not beyond the limit: winter comes every year.

    Args:
        readings: Of `drift_readings`, of one subject, in the order of the windows; a window without evidence counts for none.
    """
    found = []
    for place, reading in enumerate(readings):
        earlier = [readings[before].value for before in range(place - policy.season, -1, -policy.season)][: policy.history]
        usual = max(earlier, default=0.0)
        if reading.place == "beyond" and earlier and reading.value <= usual:
            said = f"{reading.said}; no more than in {len(earlier)} earlier windows of its season ({usual:.3g})"
            found.append(replace(reading, place="between", said=said))
        else:
            found.append(reading)
    return found


def quarantine_reading(policy: QuarantinePolicy, window: str, known: datetime, *, rows: int, quarantined: int, version: int | None) -> Reading | None:
    """The share of a scored window that was set aside; None where the window has too few rows."""
    whole = rows + quarantined
    if whole < policy.minimum_rows:
        return None
    share = quarantined / whole
    low = policy.clear_below if policy.clear_below is not None else _HYSTERESIS * policy.at_least
    said = f"{quarantined:,} of {whole:,} rows of {window} in quarantine ({share:.2%})"
    return Reading("", window, known, share, policy.at_least, _above(share, policy.at_least, low), said, rows, version)


def freshness_reading(policy: FreshnessPolicy, window: str, known: datetime, missing: Sequence[str], version: int | None) -> Reading:
    """How late the scores are at an instant.

    Args:
        window: The newest that is scored or should be.
        known: The instant, UTC.
        missing: Windows that are not scored though their time is over, oldest first.
        version: Of the model that scored the window; None where none did.
    """
    within = parse_duration(policy.within).total_seconds()
    late = max(((known - Window.parse(label).end).total_seconds() for label in missing), default=0.0)
    names = ", ".join(missing[:_CAUSES]) + (", …" if len(missing) > _CAUSES else "")
    said = f"{names} not scored {spoken(late)} after the end, promised within {policy.within}" if missing else f"{window} is scored"
    return Reading("", window, known, late, within, "beyond" if missing else "good", said, version=version)


def _above(value: float, high: float, low: float) -> Place:
    return "beyond" if value >= high else "good" if value < low else "between"


def _figure_place(policy: PerformancePolicy | BurnPolicy, row: _Row) -> Place:
    sign, limit = (1.0, policy.at_least) if policy.at_least is not None else (-1.0, policy.at_most)
    assert limit is not None
    clear = policy.clear_at if isinstance(policy, PerformancePolicy) and policy.clear_at is not None else limit
    best = row["upper" if sign > 0 else "lower"]
    if sign * (row["value"] if best is None else best) < sign * limit:
        return "beyond"
    return "good" if sign * row["value"] >= sign * clear else "between"


def _bad_share(readings: Sequence[Reading]) -> float:
    whole = sum(reading.rows for reading in readings)
    return sum(reading.rows for reading in readings if reading.place == "beyond") / whole if whole else 0.0


def _judged(columns: Sequence[str] | None, rows: Iterable[_Row]) -> list[_Row]:
    return [row for row in rows if row["verdict"] is not None and (columns is None or row["column"] in columns)]


def _by_subject(by: str, rows: Sequence[_Row], *, segments: bool) -> dict[str, dict[str, list[_Row]]]:
    """Rows of each column of each subject."""
    found: dict[str, dict[str, list[_Row]]] = defaultdict(dict)
    for row in rows:
        if (row["segment"] is not None) == segments:
            subject = {"model": "", "column": f"column={row['column']}", "segment": f"segment={row['segment']}"}[by]
            found[subject].setdefault(row["column"], []).append(row)
    return found


def _by_window(policy: ContractPolicy, rows: Iterable[_Row]) -> dict[tuple[str, str], list[_Row]]:
    """Verdicts by window and subject."""
    found: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        if row["rows"] >= policy.minimum_rows and (policy.rules is None or row["name"] in policy.rules):
            found[row["window"], f"rule={row['name']}" if policy.by == "rule" else ""].append(row)
    return found


def _rows(found: Sequence[_Row]) -> int:
    """Rows of the smaller side, nulls left out."""
    return max(int(min(row["n"], row["m"])) for row in found)


def _has(found: Sequence[_Row], verdict: str) -> bool:
    return any(row["verdict"] == verdict for row in found)


def _cause(policy: DriftPolicy, column: str, found: Sequence[_Row]) -> dict[str, Any] | None:
    """The strongest statistic by which a column drifts; None where it does not count."""
    weight = policy.weights.get(column, 1.0)
    drifting = [(_effect(row), row) for row in found if row["verdict"] == "drift" and (row["q"] is None or row["q"] <= policy.q)]
    counted = [(effect, row) for effect, row in drifting if effect >= policy.effect]
    if not counted or weight == 0:
        return None
    effect, row = max(counted, key=lambda item: item[0])
    return {**_named(column, row), "effect": effect, "weight": weight}


def _faults(column: str, found: Sequence[_Row]) -> Iterator[dict[str, Any]]:
    for row in found:
        if row["verdict"] == "fault":
            yield _named(column, row)


def _named(column: str, row: _Row) -> dict[str, Any]:
    figures = ("segment", "statistic", "value", "lower", "upper", "threshold", "q")
    return {"column": column, **{name: row[name] for name in figures}, "table": row["current"]}


def _effect(row: _Row) -> float:
    """Value in minimum effects; a statistic whose minimum effect is nil counts as far beyond it, and stays a number that JSON holds."""
    return min(row["value"] / row["threshold"], 1e6) if row["threshold"] else 1e6
