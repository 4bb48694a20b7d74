"""From two profiles to the measures of each column: a pure function on the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from sparkml_ops.config.drift import DriftSection, Thresholds
from sparkml_ops.drift import inference, statistics
from sparkml_ops.drift.bins import declared_bins
from sparkml_ops.drift.blocks import Blocks
from sparkml_ops.drift.bounds import Bounds, Pair
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.drift.profile import Profile
from sparkml_ops.drift.report import STATISTICS, ColumnDrift, Measure
from sparkml_ops.drift.units import conversion_of
from sparkml_ops.summaries import NumberEdges, NumberSummary

__all__ = ["Entry", "Exact", "entries_of", "judge", "pair_of"]

_MOST_EXCHANGES = 20_000
# A change of unit is looked for from this distance on, in columns of these types.
_UNIT = 0.1
_UNITS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
_BY_FORMULA = "noncentral chi-square"


@dataclass(frozen=True)
class Exact:
    """Distances that further passes have made exact (None: not asked for)."""

    ks: Bounds | None = None
    wasserstein: Bounds | None = None
    cramer_von_mises: Bounds | None = None


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


def judge(reference: Profile, current: Profile, settings: DriftSection, exact: Mapping[Entry, Exact], look: int = 1) -> tuple[ColumnDrift, ...]:
    """Compute all measures, correct for false discoveries by statistic, and decide.

    Args:
        reference: What is expected.
        current: What is looked at.
        settings: What counts.
        exact: Distances that are known exactly.
        look: Number of this window among those that are looked at, where `settings.sequential`.
    """
    entries = entries_of(reference, current)
    # A p-value cannot be below 1 / exchanges, and the correction multiplies the smallest one by the number of tests.
    exchanges = min(_MOST_EXCHANGES, max(settings.permutations, ceil(2 * len(entries) / settings.level)))
    settings = settings.model_copy(update={"permutations": exchanges})
    found = [_Column((reference, current), entry, settings).measured(exact.get(entry, Exact())) for entry in entries]
    _of_stability(found, settings)
    for name in ("ks", "psi", "total_variation", "missing"):
        rates = inference.discovery_rates([_all_looks(column.measures[name].p, settings, look) for column in found], settings.correction)
        for column, rate in zip(found, rates, strict=True):
            column.rates[name] = rate
    return tuple(column.decided(settings.level / inference.spent(look) if settings.sequential else settings.level) for column in found)


def _all_looks(p: float | None, settings: DriftSection, look: int) -> float | None:
    """The p-value that holds over all windows that are looked at, where that is asked for."""
    return min(1.0, p * inference.spent(look)) if p is not None and settings.sequential else p


def _of_stability(found: list[_Column], settings: DriftSection) -> None:
    """P-values of the index by its formula, all in one call: fifty times cheaper than one by one."""
    threshold = settings.thresholds.psi
    open_ones = [column for column in found if column.measures["psi"].method.endswith(_BY_FORMULA)]
    if threshold is None or not open_ones:
        return
    measures = [column.measures["psi"] for column in open_ones]
    bins = np.array([column.size for column in open_ones])
    values = inference.psi_p(
        np.array([measure.value for measure in measures]),
        threshold,
        bins,
        np.array([measure.n for measure in measures]),
        np.array([measure.m for measure in measures]),
    )
    for column, measure, value in zip(open_ones, measures, np.atleast_1d(values).tolist(), strict=True):
        column.measures["psi"] = replace(measure, p=value)


class _Column:
    """One entry of the report in the making: what is kept of it is light, its states stay bytes."""

    def __init__(self, both: tuple[Profile, Profile], entry: Entry, settings: DriftSection) -> None:
        self.segment, self.name = entry
        self.type, self.both, self.settings = both[0].edges.types[self.name], both, settings
        self.held = tuple(side.column(self.name, self.segment) for side in both)
        self.measures: dict[str, Measure] = {}
        self.rates: dict[str, float | None] = {}

    def measured(self, exact: Exact) -> _Column:
        """With all statistics, but for rates and verdicts."""
        reference, current = (side.opened() for side in self.held)
        self.tallies = reference.tally, current.tally
        self.n, self.m = (tally.values for tally in self.tallies)
        self.bins = declared_bins(reference, current) if self.n and self.m else None
        blocks = Blocks.of(self.name, self.segment, *self.both)
        self.blocked = blocks is not None
        self.few = min(self.n, self.m) < self.settings.minimum_rows or (blocks is not None and blocks.number < self.settings.minimum_blocks)
        self.measures = dict.fromkeys(STATISTICS, Measure(None, None, None, self.n, self.m))
        self.measures |= self._distances(pair_of(reference, current), exact, blocks) | self._of_bins(blocks) | self._missing(blocks)
        return self

    @property
    def size(self) -> int:
        """Number of declared bins."""
        return 0 if self.bins is None else len(self.bins.counts.reference)

    def _distances(self, pair: Pair | None, exact: Exact, blocks: Blocks | None) -> dict[str, Measure]:
        if pair is None or self.bins is None:
            return {}
        result = {}
        if ks := exact.ks or pair.ks():
            p, method = self._p(
                "ks", blocks, lambda threshold: inference.ks_p(ks.lower, threshold, self.n, self.m), "band of Dvoretzky, Kiefer and Wolfowitz"
            )
            result["ks"] = Measure(ks.value, ks.lower, ks.upper, self.n, self.m, p, method=f"{_exactness(ks)}; {method}")
            if ks.lower >= _UNIT and not self.few and self.type.partition("(")[0] in _UNITS and (unit := conversion_of(pair, ks.lower)):
                method = f"a change of unit: {unit.name}; Kolmogorov-Smirnov {unit.left:.3g} after it"
                result["unit"] = Measure(unit.factor, unit.factor, unit.factor, self.n, self.m, threshold=0.0, method=method, verdict="fault")
        if area := exact.wasserstein or pair.wasserstein():
            finite = self.tallies[0].finite, self.tallies[1].finite
            result["wasserstein"] = Measure(area.value, area.lower, area.upper, *finite, method=_exactness(area))
        if criterion := exact.cramer_von_mises or pair.cramer_von_mises():
            result["cramer_von_mises"] = Measure(criterion.value, criterion.lower, criterion.upper, self.n, self.m, method=_exactness(criterion))
        return result

    def _of_bins(self, blocks: Blocks | None) -> dict[str, Measure]:
        if self.bins is None:
            return {}
        first, second = self.bins.counts
        # The formula's p-values of all entries come later, in one call.
        p, method = self._p("psi", blocks, lambda _: None, _BY_FORMULA)
        by_variation = self._p(
            "total_variation", blocks, lambda threshold: inference.total_variation_p(first, second, threshold), "normal approximation"
        )
        found = statistics.divergences(first, second)
        return {
            **{name: self._exactly(found[name]) for name in ("jensen_shannon", "hellinger", "l_infinity")},
            "psi": self._exactly(found["psi"], p, f"+0.5 a count; {method}"),
            "kullback_leibler": self._exactly(found["kullback_leibler"], method="+0.5 a count"),
            "total_variation": self._exactly(found["total_variation"], *by_variation),
            **{name: self._exactly(value, p, "p of equality") for name, (value, p) in statistics.tests_of_equality(first, second).items()},
            **self._turnover(),
        }

    def _turnover(self) -> dict[str, Measure]:
        """Shares of new and lost categories; unknown where either side counts some only together."""
        bins = self.bins
        if bins is None or not isinstance(bins.edges, tuple) or bins.together:
            return {}
        first, second = bins.counts
        return {
            "new_categories": self._exactly(float(second[first == 0].sum() / self.m), method="share of the current values"),
            "lost_categories": self._exactly(float(first[second == 0].sum() / self.n), method="share of the reference's values"),
        }

    def _exactly(self, value: float | None, p: float | None = None, method: str = "") -> Measure:
        return Measure(
            value, value, value, self.n, self.m, p, method=f"{self.size} declared bins; {method}" if method else f"{self.size} declared bins"
        )

    def _missing(self, blocks: Blocks | None) -> dict[str, Measure]:
        first, second = self.tallies
        if not first.n or not second.n:
            return {"missing": Measure(None, None, None, first.n, second.n)}
        share, before = second.missing / second.n, first.missing / first.n
        p, method = self._p(
            "missing",
            blocks,
            lambda threshold: inference.missing_p(first.missing, first.n, second.missing, second.n, threshold),
            "normal approximation",
        )
        return {"missing": Measure(share, share, share, first.n, second.n, p, method=f"share, {before:.4g} in the reference; rise by {method}")}

    def _p(self, name: str, blocks: Blocks | None, formula: Callable[[float], float | None], method: str) -> tuple[float | None, str]:
        """P-value by the formula, or by exchange of blocks where the profiles have blocks."""
        threshold = self._threshold(name)
        if threshold is None:
            return None, ""
        if name != "missing" and self.few:
            return None, "too few values for a test"
        if blocks is None:
            return formula(threshold), method
        return blocks.p(name, threshold, self.bins, self.settings.permutations, self.settings.seed), f"exchange of {blocks.number} blocks"

    def _threshold(self, name: str) -> float | None:
        # Numbers are judged by the distance of their distribution functions, which needs no bins.
        if name == "total_variation" and isinstance(self.held[0].edges, NumberEdges):
            return None
        threshold: float | None = getattr(self.settings.thresholds, name, None)
        return threshold

    def decided(self, level: float) -> ColumnDrift:
        """With thresholds and verdicts; `level` is this look's own."""
        for name in Thresholds.model_fields:
            if (threshold := self._threshold(name)) is not None:
                measure, rate = self.measures[name], self.rates.get(name)
                # Blocks are worth fewer rows than they have: what chance makes of them is in their p-value.
                plain = not self.blocked and self.n and self.m
                chance = inference.chance(name, level, self.size, self.n, self.m) if plain else 0.0
                verdict = self._verdict(name, measure, threshold, rate, chance)
                self.measures[name] = measure.judged(max(threshold, chance), rate, verdict)
        margin = inference.band(level, self.n, self.m) if self.measures["ks"].value is not None else None
        return ColumnDrift(self.name, self.type, self.segment, self.measures, self.bins, self.held[0], self.held[1], margin, level)

    def _verdict(self, name: str, measure: Measure, threshold: float, rate: float | None, chance: float) -> Verdict | None:
        if measure.value is None or measure.lower is None or measure.upper is None:
            return None
        if name == "missing":
            first = self.tallies[0]
            rise = measure.value - first.missing / first.n
            verdict = inference.effect_verdict(rise, rise, threshold, rate, self.settings.level)
            return "fault" if verdict == "drift" else verdict
        if self.few:
            return "undecided"
        return inference.effect_verdict(measure.lower, measure.upper, threshold, rate, self.settings.level, chance)


def _exactness(bounds: Bounds) -> str:
    return "exact" if bounds.lower == bounds.upper else "anchored cells"
