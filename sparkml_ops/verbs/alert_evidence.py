"""What the policies of a project are judged by: figures that its verbs stored, read without Spark where the warehouse is a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, get_args

from feature_store.duration import parse_duration
from sparkml_ops import release
from sparkml_ops.alerts.reading import Reading
from sparkml_ops.alerts.rules import contract_readings, drift_readings, fault_readings, figure_readings, freshness_reading, quarantine_reading
from sparkml_ops.config.alerts import (
    BurnPolicy,
    ContractPolicy,
    DriftPolicy,
    FaultPolicy,
    FreshnessPolicy,
    PerformancePolicy,
    PolicyBase,
    QuarantinePolicy,
)
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.drift.measure import METRICS_TABLE
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.monitoring import PERFORMANCE_TABLE
from sparkml_ops.verbs.contract import results
from sparkml_ops.verbs.due import due_windows
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window, instant

__all__ = ["AlertEvidence"]

_TAIL = 7  # windows beside those that a policy looks back on: what checks may have missed


class AlertEvidence:
    """Readings of the champion's windows.

    Args:
        work: The project.
        now: The clock, UTC: runs with a later one are left out.
        every: Every window that was ever measured, for a back-test; otherwise the newest ones.
    """

    def __init__(self, work: Work, now: datetime, *, every: bool = False) -> None:
        self._work, self._now, self._every = work, now, every

    def readings(self) -> dict[str, list[Reading]]:
        """Of each policy, in no particular order."""
        policies = self._work.sections.alerts.policies
        found = {name: list(self._of(policy)) for name, policy in policies.items()}
        for name, reading in self._compared({name: policy for name, policy in policies.items() if isinstance(policy, DriftPolicy | FaultPolicy)}):
            found[name].append(reading)
        return found

    def _of(self, policy: PolicyBase) -> Iterator[Reading]:
        if isinstance(policy, PerformancePolicy | BurnPolicy):
            yield from figure_readings(policy, self._figures)
        elif isinstance(policy, ContractPolicy):
            versions = {run.key.window: _version(run) for run in self._runs if run.key.verb == "score"}
            yield from contract_readings(policy, self._verdicts, versions)
        elif isinstance(policy, QuarantinePolicy):
            yield from self._quarantined(policy)
        elif isinstance(policy, FreshnessPolicy):
            yield from self._fresh(policy)

    @cached_property
    def _runs(self) -> list[FinishedRun]:
        found = self._work.ledger.standing({"project": self._work.config.project, "target": self._work.sections.scoring.target})
        return sorted((run for run in found if run.key.slot == release.CHAMPION and run.as_of <= self._now), key=lambda run: run.as_of)

    @cached_property
    def _figures(self) -> list[dict[str, Any]]:
        """Every measurement of every window: a later one replaces an earlier one only for later clocks."""
        tables, wanted = self._work.tables, {"project": self._work.config.project, "target": self._work.sections.scoring.target}
        if not tables.exists(PERFORMANCE_TABLE):
            return []
        rows = tables.rows(PERFORMANCE_TABLE, {**wanted, "slot": release.CHAMPION})
        return [row | {"as_of": instant(row["as_of"])} for row in rows]

    @cached_property
    def _verdicts(self) -> list[dict[str, Any]]:
        """The newest judgement of each window by the contract of the model's inputs."""
        rows = [row | {"as_of": instant(row["as_of"])} for row in results(self._work, {"slot": release.CHAMPION})]
        return [row for row in rows if row["as_of"] <= self._now]

    def _compared(self, policies: Mapping[str, DriftPolicy | FaultPolicy]) -> Iterator[tuple[str, Reading]]:
        """Window by window: of thousands of columns and segments only one window's rows are held."""
        newest = {run.key.window: run for run in self._runs if run.key.verb == "drift"}
        versions = {run.key.window: _version(run) for run in self._runs if run.key.verb == "score"}
        wanted = {name: set(self._tail(newest, policy)) for name, policy in policies.items()}
        for label in self._ordered(newest):
            asked = [name for name, labels in wanted.items() if label in labels]
            rows = self._metrics(newest[label]) if asked else []
            for name in asked:
                make: Callable[..., Iterator[Reading]] = drift_readings if isinstance(policies[name], DriftPolicy) else fault_readings
                yield from ((name, reading) for reading in make(policies[name], rows, versions.get(label)))

    def _metrics(self, run: FinishedRun) -> list[Mapping[str, Any]]:
        """The judged statistics of a comparison; none where a later one took their place."""
        if not self._work.tables.exists(METRICS_TABLE):
            return []
        where = {"project": run.key.project, "window": run.key.window, "slot": run.key.slot, "run_id": run.run_id, "verdict": get_args(Verdict)}
        return [row | {"as_of": instant(row["as_of"])} for row in self._work.tables.rows(METRICS_TABLE, where)]

    def _quarantined(self, policy: QuarantinePolicy) -> Iterator[Reading]:
        for run in self._runs:
            if run.key.verb == "score":
                counts = {name: int(run.record[name]) for name in ("rows", "quarantined")}
                if reading := quarantine_reading(policy, run.key.window, run.as_of, **counts, version=_version(run)):
                    yield reading

    def _fresh(self, policy: FreshnessPolicy) -> Iterator[Reading]:
        """What is missing now; for a back-test at each clock of a run, and at each moment at which a window became late."""
        first: dict[str, FinishedRun] = {}
        for run in self._runs:
            if run.key.verb == "score":
                first.setdefault(run.key.window, run)
        within = parse_duration(policy.within)
        clocks = {self._now}
        if self._every and first:
            ends = [Window.parse(label).end for label in first] + [window.end for window in due_windows(list(first), as_of=self._now)]
            due = {end + within + timedelta(seconds=1) for end in ends}
            clocks |= {run.as_of for run in self._runs} | {instant for instant in due if instant <= self._now}
        for clock in sorted(clocks):
            known = [label for label, run in first.items() if run.as_of <= clock]
            if known:
                missing = [window.label for window in due_windows(known, as_of=clock) if clock - window.end > within]
                newest = max((*known, *missing), key=lambda label: Window.parse(label).end)
                yield freshness_reading(policy, newest, clock, missing, _version(first[newest]) if newest in known else None)

    def _tail(self, labels: Mapping[str, Any], policy: PolicyBase) -> list[str]:
        ordered = self._ordered(labels)
        seasons = policy.history * policy.season if isinstance(policy, DriftPolicy) else 0
        return ordered if self._every else ordered[-(_TAIL + seasons + max(policy.of, policy.clear_windows)) :]

    @staticmethod
    def _ordered(labels: Mapping[str, Any]) -> list[str]:
        return sorted(labels, key=lambda label: Window.parse(label).end)


def _version(run: FinishedRun) -> int:
    return int(run.record["model"]["version"])
