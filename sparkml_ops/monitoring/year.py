"""A year of a project as data: what each window of work brought, for people to read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sparkml_ops.page import Drawn
from sparkml_ops.records import MonitorReport, Performance, RetrainDecision
from sparkml_ops.window import Window

__all__ = ["ColumnState", "Limit", "Month", "Overlay", "Rung", "Takeover", "Year", "missing"]


@dataclass(frozen=True)
class ColumnState:
    """What drift said of one column in one window.

    Args:
        verdict: `fault`, `drift`, `undecided` or `no drift`.
        effect: The greatest judged distance as a multiple of its threshold; None where none has a value.
    """

    verdict: str
    effect: float | None


@dataclass(frozen=True)
class Month:
    """One window of work, usually a month.

    Args:
        window: Its label.
        as_of: Clock at which it was scored, ISO 8601; empty where it was not.
        rows: Scored rows; None where it was not scored.
        quarantined: Rows set aside with a reason.
        model_version: The version that scored it.
        drift: By column; empty where drift was not measured.
        monitor: How good the predictions were, by the newest truth.
        decision: Whether a new model was due after it.
    """

    window: str
    as_of: str
    rows: int | None
    quarantined: int | None
    model_version: int | None
    drift: Mapping[str, ColumnState] = field(default_factory=dict)
    monitor: MonitorReport | None = None
    decision: RetrainDecision | None = None

    @property
    def total(self) -> int:
        """Scored and quarantined rows together."""
        return (self.rows or 0) + (self.quarantined or 0)

    def with_verdict(self, verdict: str) -> tuple[str, ...]:
        """Columns of a verdict, in their order."""
        return tuple(name for name, column in self.drift.items() if column.verdict == verdict)

    def figure(self, metric: str, kind: Literal["realised", "estimated"] = "realised") -> Performance | None:
        """A number over all rows with its interval; None where it does not exist."""
        found = (
            item for item in (self.monitor.performance if self.monitor else ()) if (item.metric, item.kind, item.segment) == (metric, kind, None)
        )
        return next((item for item in found if item.value is not None), None)


@dataclass(frozen=True)
class Takeover:
    """A version became the champion.

    Args:
        at: ISO 8601, UTC.
        version: None where the alias was taken away.
        reason: `promote`, `rollback` or `by hand`.
    """

    at: str
    version: int | None
    reason: str


@dataclass(frozen=True)
class Limit:
    """What the policy calls good enough.

    Args:
        metric: A figure of the monitor report.
        at_least: Lowest good value.
        at_most: Highest good value.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def broken_by(self, value: float) -> str:
        """How a value breaks the limit, in words; empty where it keeps it."""
        if self.at_least is not None and value < self.at_least:
            return f"below {self.at_least:g}"
        return f"above {self.at_most:g}" if self.at_most is not None and value > self.at_most else ""


@dataclass(frozen=True)
class Overlay:
    """How the values of a column lay, over the same bins in each window.

    Args:
        column: Its name.
        ticks: Places on the axis, 0 to 1, and what stands there.
        reference: Share of each bin in the reference of the newest window.
        windows: The same of each compared window, oldest first.
    """

    column: str
    ticks: tuple[tuple[float, str], ...]
    reference: tuple[float, ...]
    windows: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Rung:
    """An alert, as it stands.

    Args:
        policy: That opened it.
        subject: What it is about; empty: the model as a whole.
        severity: `log`, `ticket` or `page`.
        state: `open`, `acknowledged`, `muted` or `resolved`.
        window: In which it was opened last.
        resolved: Window in which it was resolved; empty: it was not.
        said: What was found.
        owner: Who is asked.
        runbook: Address of what to do.
        verdict: `real` or `noise`, as a person said; empty: nobody did.
        episodes: How often it was opened.
    """

    policy: str
    subject: str
    severity: str
    state: str
    window: str
    resolved: str
    said: str
    owner: str
    runbook: str
    verdict: str
    episodes: int


@dataclass(frozen=True)
class Year(Drawn):
    """The windows of a project, oldest first.

    Args:
        project: Its name.
        model: Registered name.
        champion: Version of the champion; None where there is none.
        months: Windows that the ledger knows, all of one size.
        alarms: What should wake somebody, in words.
        slot: Role under which the predictions are stored.
        as_of: The clock of the newest fact in it, ISO 8601.
        takeovers: Moves of the champion, oldest first.
        limit: Of the policy, where it has one.
        earlier: Older windows that are left out.
        alerts: Open ones first, then the newest.
        overlays: Values of the columns that drift most; empty where nobody asked for them.
    """

    project: str
    model: str
    champion: int | None
    months: tuple[Month, ...]
    alarms: tuple[str, ...] = ()
    slot: str = "champion"
    as_of: str = ""
    takeovers: tuple[Takeover, ...] = ()
    limit: Limit | None = None
    earlier: int = 0
    alerts: tuple[Rung, ...] = ()
    overlays: tuple[Overlay, ...] = ()

    @property
    def calendar(self) -> tuple[Month, ...]:
        """The months with a place for each missing one between the first and the last."""
        known = {month.window: month for month in self.months}
        return tuple(known.get(label) or Month(label, "", None, None, None) for label in sorted({*known, *missing(known)}))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns whose drift was measured: those that drift most often first."""
        loud: Counter[str] = Counter(name for month in self.months for name, column in month.drift.items() if column.verdict in ("fault", "drift"))
        effects: dict[str, float] = {}
        for name, column in (pair for month in self.months for pair in month.drift.items()):
            effects[name] = max(effects.get(name, 0.0), column.effect or 0.0)
        return tuple(sorted(effects, key=lambda name: (-loud[name], -effects[name], name)))

    def html(self) -> str:
        """The year as one page that needs nothing else."""
        from sparkml_ops.monitoring.year_page import render

        return render(self)


def missing(labels: Iterable[str]) -> tuple[str, ...]:
    """The windows between the first and the last that are not among some labels of one size.

    >>> missing(["2013-11", "2014-02", "2013-12"])
    ('2014-01',)
    """
    known = sorted(labels)
    found: list[str] = []
    for label, after in itertools.pairwise(known):
        window = Window.parse(label).next()
        while window.label < after:
            found.append(window.label)
            window = window.next()
    return tuple(found)
