"""From two profiles to the measures of each column: a pure function on the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import inference, statistics
from sparkml_ops.drift.bins import declared_bins
from sparkml_ops.drift.blocks import Blocks
from sparkml_ops.drift.bounds import Bounds, Pair
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.drift.profile import Profile
from sparkml_ops.drift.report import STATISTICS, ColumnDrift, Measure
from sparkml_ops.summaries import NumberEdges, NumberSummary

__all__ = ["Entry", "Exact", "entries_of", "judge", "pair_of"]

_MOST_EXCHANGES = 20_000


@dataclass(frozen=True)
class Exact:
    """Distances that further passes have made exact (None: not asked for)."""

    ks: Bounds | None = None
    wasserstein: Bounds | None = None


Entry = tuple[str | None, str]


def entries_of(reference: Profile, current: Profile) -> list[Entry]:
    """Segment and column of each entry of a report: all rows first, then the segments of either side."""
    segments = [None, *sorted(set(reference.segments) | set(current.segments))]
    return [(segment, column) for segment in segments for column in reference.columns]


def pair_of(reference: ColumnProfile, current: ColumnProfile) -> Pair | None:
    """Both sides' cells; None for a category."""
    edges, first, second = reference.edges, reference.state, current.state
    if isinstance(edges, NumberEdges) and isinstance(first, NumberSummary) and isinstance(second, NumberSummary):
        return Pair(edges, first, second)
    return None


def judge(reference: Profile, current: Profile, settings: DriftSection, exact: Mapping[Entry, Exact]) -> tuple[ColumnDrift, ...]:
    """Compute all measures, correct for false discoveries by statistic, and decide."""
    entries = entries_of(reference, current)
    # A p-value cannot be below 1 / exchanges, and the correction multiplies the smallest one by the number of tests.
    exchanges = min(_MOST_EXCHANGES, max(settings.permutations, ceil(2 * len(entries) / settings.level)))
    settings = settings.model_copy(update={"permutations": exchanges})
    found = [_Column((reference, current), entry, settings, exact.get(entry, Exact())) for entry in entries]
    measured = [column.measures() for column in found]
    for name in ("ks", "psi", "total_variation", "missing"):
        rates = inference.discovery_rates([measures[name].p for measures in measured])
        for measures, rate in zip(measured, rates, strict=True):
            measures[name] = replace(measures[name], q=rate)
    return tuple(column.decided(measures) for column, measures in zip(found, measured, strict=True))


class _Column:
    """One entry of the report in the making."""

    def __init__(self, both: tuple[Profile, Profile], entry: Entry, settings: DriftSection, exact: Exact) -> None:
        self.segment, self.name = entry
        self.type = both[0].edges.types[self.name]
        self.settings, self.exact = settings, exact
        self.reference, self.current = (side.column(self.name, self.segment) for side in both)
        self.n, self.m = self.reference.state.tally.values, self.current.state.tally.values
        self.bins = declared_bins(self.reference, self.current) if self.n and self.m else None
        self.blocks = Blocks.of(self.name, self.segment, *both)

    def measures(self) -> dict[str, Measure]:
        """All statistics, with p-values but without rates and verdicts."""
        return dict.fromkeys(STATISTICS, Measure(None, None, None, self.n, self.m)) | self._distances() | self._of_bins() | self._missing()

    def _distances(self) -> dict[str, Measure]:
        pair = pair_of(self.reference, self.current)
        if pair is None or self.bins is None:
            return {}
        result = {}
        if ks := self.exact.ks or pair.ks():
            p, method = self._p(
                "ks", lambda threshold: inference.ks_p(ks.lower, threshold, self.n, self.m), "band of Dvoretzky, Kiefer and Wolfowitz"
            )
            result["ks"] = Measure(ks.value, ks.lower, ks.upper, self.n, self.m, p, method=f"{_exactness(ks)}; {method}")
        if area := self.exact.wasserstein or pair.wasserstein():
            finite = self.reference.state.tally.finite, self.current.state.tally.finite
            result["wasserstein"] = Measure(area.value, area.lower, area.upper, *finite, method=_exactness(area))
        return result

    def _of_bins(self) -> dict[str, Measure]:
        if self.bins is None:
            return {}
        first, second = self.bins.counts
        size = len(first)
        index, (square, equality) = statistics.psi(first, second), statistics.chi_square(first, second)
        by_psi = self._p("psi", lambda threshold: inference.psi_p(index, threshold, size, self.n, self.m), "noncentral chi-square")
        by_variation = self._p("total_variation", lambda threshold: inference.total_variation_p(first, second, threshold), "normal approximation")
        return {
            "psi": self._exactly(index, by_psi[0], f"+0.5 a count; {by_psi[1]}"),
            "jensen_shannon": self._exactly(statistics.jensen_shannon(first, second)),
            "hellinger": self._exactly(statistics.hellinger(first, second)),
            "chi_square": self._exactly(square, equality, "p of equality"),
            "total_variation": self._exactly(statistics.total_variation(first, second), *by_variation),
        }

    def _exactly(self, value: float, p: float | None = None, method: str = "") -> Measure:
        bins = 0 if self.bins is None else len(self.bins.counts.reference)
        return Measure(value, value, value, self.n, self.m, p, method="; ".join(filter(None, [f"{bins} declared bins", method])))

    def _missing(self) -> dict[str, Measure]:
        first, second = self.reference.state.tally, self.current.state.tally
        if not first.n or not second.n:
            return {"missing": Measure(None, None, None, first.n, second.n)}
        share, before = second.missing / second.n, first.missing / first.n
        p, method = self._p(
            "missing", lambda threshold: inference.missing_p(first.missing, first.n, second.missing, second.n, threshold), "normal approximation"
        )
        return {"missing": Measure(share, share, share, first.n, second.n, p, method=f"share, {before:.4g} in the reference; rise by {method}")}

    def _p(self, name: str, formula: Callable[[float], float], method: str) -> tuple[float | None, str]:
        """P-value by the formula, or by exchange of blocks where the profiles have blocks."""
        threshold = self._threshold(name)
        if threshold is None or (name != "missing" and self._too_few):
            return None, "" if threshold is None else method
        if self.blocks is None:
            return formula(threshold), method
        return self.blocks.p(name, threshold, self.bins, self.settings.permutations, self.settings.seed), f"exchange of {self.blocks.number} blocks"

    def _threshold(self, name: str) -> float | None:
        # Numbers are judged by the distance of their distribution functions, which needs no bins.
        if name == "total_variation" and isinstance(self.reference.edges, NumberEdges):
            return None
        threshold: float | None = getattr(self.settings.thresholds, name, None)
        return threshold

    @property
    def _too_few(self) -> bool:
        few_blocks = self.blocks is not None and self.blocks.number < self.settings.minimum_blocks
        return few_blocks or min(self.n, self.m) < self.settings.minimum_rows

    def decided(self, measures: Mapping[str, Measure]) -> ColumnDrift:
        """With thresholds and verdicts."""
        judged = {name: replace(measure, threshold=self._threshold(name), verdict=self._verdict(name, measure)) for name, measure in measures.items()}
        margin = inference.band(self.settings.level, self.n, self.m) if judged["ks"].value is not None else None
        return ColumnDrift(self.name, self.type, self.segment, judged, self.bins, self.reference, self.current, margin, self.settings.level)

    def _verdict(self, name: str, measure: Measure) -> Verdict | None:
        threshold = self._threshold(name)
        if threshold is None or measure.value is None or measure.lower is None or measure.upper is None:
            return None
        if name == "missing":
            rise = measure.value - (self.reference.missing or 0.0)
            verdict = inference.effect_verdict(rise, rise, threshold, measure.q, self.settings.level)
            return "fault" if verdict == "drift" else verdict
        if self._too_few:
            return "undecided"
        return inference.effect_verdict(measure.lower, measure.upper, threshold, measure.q, self.settings.level)


def _exactness(bounds: Bounds) -> str:
    return "exact" if bounds.lower == bounds.upper else "anchored cells"
