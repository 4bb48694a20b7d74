"""What is found of one column: its statistics, their verdicts, and what they were computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sparkml_ops.drift.bins import Bins, Counts
from sparkml_ops.drift.column import ColumnProfile
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.summaries.order import Floats

__all__ = ["STATISTICS", "VERDICTS", "ColumnDrift", "Measure"]

STATISTICS = (
    "ks",
    "wasserstein",
    "cramer_von_mises",
    "psi",
    "jensen_shannon",
    "kullback_leibler",
    "hellinger",
    "total_variation",
    "l_infinity",
    "chi_square",
    "g_test",
    "fisher",
    "new_categories",
    "lost_categories",
    "missing",
    "unit",
)
VERDICTS: tuple[Verdict, ...] = ("fault", "drift", "undecided", "no drift")
"""The gravest first."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One statistic of one column.

    Args:
        value: None where the statistic does not apply or a side has no value.
        lower: Guaranteed lower bound; equal to the value where it is exact.
        upper: Guaranteed upper bound.
        n: Rows of the reference that it is over.
        m: Rows of the current side.
        p: P-value of "the effect is at most the threshold"; for chi-square, G and Fisher of "both sides are equal".
        q: False discovery rate within the statistic's family, all columns and segments of the report.
        threshold: The minimum effect, or what chance makes of equal samples of these sizes where that is more; None where the statistic is not judged.
        method: How value and p came about.
        verdict: None where the statistic is not judged.
    """

    value: float | None
    lower: float | None
    upper: float | None
    n: int
    m: int
    p: float | None = None
    q: float | None = None
    threshold: float | None = None
    method: str = ""
    verdict: Verdict | None = None

    def judged(self, threshold: float, q: float | None, verdict: Verdict | None) -> Measure:
        """With what was decided; a report has tens of thousands, for which `dataclasses.replace` is slow."""
        return Measure(self.value, self.lower, self.upper, self.n, self.m, self.p, q, threshold, self.method, verdict)


@dataclass(frozen=True, eq=False)
class ColumnDrift:
    """One column on both sides, over all rows or over a segment.

    Args:
        column: Its name.
        type: Its Spark type.
        segment: `name=value`, or None for all rows.
        measures: By name of the statistic, all of `STATISTICS`.
        declared: Bins and their counts; None where a side has no value.
        reference: Profile of the reference.
        current: Profile of the current rows.
        margin: Half the width of `ks_interval`.
        level: 1 - confidence of that interval.
    """

    column: str
    type: str
    segment: str | None
    measures: Mapping[str, Measure]
    declared: Bins | None
    reference: ColumnProfile
    current: ColumnProfile
    margin: float | None
    level: float

    @property
    def ks(self) -> float | None:
        """Kolmogorov-Smirnov distance; a lower bound where `ks_bounds` differ; None for a category."""
        return self.measures["ks"].value

    @property
    def ks_bounds(self) -> tuple[float, float] | None:
        """Guaranteed bounds of the distance between the two samples."""
        return self._bounds("ks")

    @property
    def ks_interval(self) -> tuple[float, float] | None:
        """Confidence interval of the distance between the two populations."""
        bounds = self.ks_bounds
        if bounds is None or self.margin is None:
            return None
        return max(0.0, bounds[0] - self.margin), min(1.0, bounds[1] + self.margin)

    @property
    def wasserstein(self) -> float | None:
        """Wasserstein-1 distance in the column's unit (microseconds for dates); None for a category."""
        return self.measures["wasserstein"].value

    @property
    def wasserstein_bounds(self) -> tuple[float, float] | None:
        """Guaranteed bounds of the distance between the two samples."""
        return self._bounds("wasserstein")

    @property
    def psi(self) -> float | None:
        """Population stability index over the declared bins."""
        return self.measures["psi"].value

    @property
    def jensen_shannon(self) -> float | None:
        """Jensen-Shannon distance over the declared bins, base e."""
        return self.measures["jensen_shannon"].value

    @property
    def hellinger(self) -> float | None:
        """Hellinger distance over the declared bins."""
        return self.measures["hellinger"].value

    @property
    def chi_square(self) -> float | None:
        """Statistic of the chi-square test over the declared bins; its p-value is in `measures`."""
        return self.measures["chi_square"].value

    @property
    def total_variation(self) -> float | None:
        """Total variation over the declared bins."""
        return self.measures["total_variation"].value

    @property
    def cramer_von_mises(self) -> float | None:
        """Statistic of the two-sample Cramér-von Mises test, scipy's; None for a category."""
        return self.measures["cramer_von_mises"].value

    @property
    def kullback_leibler(self) -> float | None:
        """Kullback-Leibler divergence of the reference from the current rows over the declared bins, base e."""
        return self.measures["kullback_leibler"].value

    @property
    def l_infinity(self) -> float | None:
        """Greatest change of a declared bin's share."""
        return self.measures["l_infinity"].value

    @property
    def g_test(self) -> float | None:
        """Statistic of the likelihood-ratio test over the declared bins; its p-value is in `measures`."""
        return self.measures["g_test"].value

    @property
    def fisher(self) -> float | None:
        """Odds ratio where there are two declared bins; Fisher's exact p-value is in `measures`."""
        return self.measures["fisher"].value

    @property
    def new_categories(self) -> tuple[str, ...] | None:
        """Categories that only the current rows have; None for a number, or where some are counted only together."""
        return self._of_one_side(0) if self.measures["new_categories"].value is not None else None

    @property
    def lost_categories(self) -> tuple[str, ...] | None:
        """Categories that only the reference has; None for a number, or where some are counted only together."""
        return self._of_one_side(1) if self.measures["lost_categories"].value is not None else None

    def _of_one_side(self, absent: int) -> tuple[str, ...]:
        bins = self.declared
        if bins is None or not isinstance(bins.edges, tuple):
            return ()
        return tuple(name for name, count in zip(bins.edges, bins.counts[absent], strict=True) if not count)

    @property
    def unit(self) -> float | None:
        """Factor from the reference's values to the current ones, where a change of unit explains the shift: a fault, not drift."""
        return self.measures["unit"].value

    @property
    def missing(self) -> float | None:
        """Share of null and NaN in the current rows; the reference's is `reference.missing`."""
        return self.measures["missing"].value

    @property
    def bins(self) -> Floats | tuple[str, ...] | None:
        """Edges of the declared bins of a number, (edges[i], edges[i + 1]], or names of the categories."""
        return None if self.declared is None else self.declared.edges

    @property
    def counts(self) -> Counts | None:
        """Rows of both sides in these bins: `.reference` and `.current`."""
        return None if self.declared is None else self.declared.counts

    @property
    def verdict(self) -> Verdict:
        """`fault` before `drift`, before `undecided`, before `no drift`, over the judged statistics.

        A column without a value on one side is undecided, unless its missing share makes it a fault.
        """
        found = {measure.verdict for measure in self.measures.values()} | ({"undecided"} if self.declared is None else set())
        return next((verdict for verdict in VERDICTS if verdict in found), "undecided")

    def _bounds(self, name: str) -> tuple[float, float] | None:
        measure = self.measures[name]
        return None if measure.lower is None or measure.upper is None else (measure.lower, measure.upper)
