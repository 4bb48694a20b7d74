"""Drift of columns together: correlations, and how well the reference's main directions still describe the rows.

Each column alone may stay as it was while they stop moving together: a join that went wrong, a sensor that was swapped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from scipy.special import ndtr, ndtri

from feature_store.scan import Scan
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift import inference
from sparkml_ops.drift.anchors import chosen_types, fix_edges
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.drift.profile import check_types
from sparkml_ops.drift.source import Source, as_source, run
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import CoMoments, CoMomentsMaker, Edges, NumberEdges, kind_of
from sparkml_ops.summaries.order import Floats
from sparkml_ops.summaries.survey import Survey

__all__ = ["JointDrift", "PairDrift", "compare_jointly"]

_NAME = "(together)"
_DETAIL = 12
_WIDEST = 500


@dataclass(frozen=True, slots=True)
class PairDrift:
    """The correlation of two columns on both sides.

    Args:
        first: A column.
        second: Another one.
        reference: Pearson's correlation over the rows that have both; None where a side is constant or has too few rows.
        current: The same now.
        n: Rows of the reference that have both.
        m: Rows of the current side.
        p: P-value of "the correlation changed by at most the threshold" (normal approximation).
        q: False discovery rate over all pairs.
        threshold: The minimum change.
        verdict: As for a column.
    """

    first: str
    second: str
    reference: float | None
    current: float | None
    n: int
    m: int
    p: float | None
    q: float | None
    threshold: float
    verdict: Verdict

    @property
    def change(self) -> float:
        """How much the correlation moved; 0 where it is not known on both sides."""
        return 0.0 if self.reference is None or self.current is None else self.current - self.reference

    def interval(self, level: float) -> tuple[float | None, float | None]:
        """Ends of the confidence interval of the size of the change (normal approximation); None where the change is not known."""
        if self.reference is None or self.current is None or min(self.n, self.m) < 2:
            return None, None
        half = float(ndtri(1 - level / 2)) * _spread(self.reference, self.current, self.n, self.m)
        return max(0.0, abs(self.change) - half), min(2.0, abs(self.change) + half)


@dataclass(frozen=True, eq=False)
class JointDrift:
    """How numeric columns move together, on both sides.

    Args:
        columns: Names.
        reference: Correlations, (columns, columns); NaN where unknown.
        current: The same now.
        pairs: Each pair once, the greatest change first.
        components: Main directions of the reference that hold the wanted share of its variance.
        reconstruction: Mean squared error of describing a row by these directions, in the reference's standard deviations and as a share of
            the number of columns: of the reference and of the current rows; None where a column is constant or empty.
    """

    columns: tuple[str, ...]
    reference: Floats
    current: Floats
    pairs: tuple[PairDrift, ...]
    components: int
    reconstruction: tuple[float, float] | None

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of a pair."""
        found = {pair.verdict for pair in self.pairs}
        return next((verdict for verdict in ("drift", "undecided", "no drift") if verdict in found), "undecided")

    def to_pandas(self) -> pd.DataFrame:
        """A row for each pair: first, second, reference, current, n, m, p, q, threshold, verdict."""
        names = ("first", "second", "reference", "current", "n", "m", "p", "q", "threshold", "verdict")
        return pd.DataFrame([{name: getattr(pair, name) for name in names} for pair in self.pairs], columns=list(names))


def compare_jointly(
    reference: DataFrame | Scan | Source,
    current: DataFrame | Scan | Source,
    columns: Iterable[str] | None = None,
    *,
    threshold: float = 0.1,
    explained: float = 0.9,
    edges: Edges | None = None,
    settings: DriftSection | None = None,
) -> JointDrift:
    """Compare the correlations of numeric columns, and the error of the reference's main directions, in one pass over both sides.

    Correlations are over the rows that have both columns, as pandas has them; infinite values count as missing, and a value
    further out than 64 times the distance of the outer deciles counts as that far. Values are rounded to 2^-12 of that distance, so
    that the sums are whole numbers and do not depend on partitions or engines.

    Args:
        reference: What is expected.
        current: What is looked at.
        columns: By default all numbers of the reference; at most 500.
        threshold: Smallest change of a correlation that counts.
        explained: Share of the reference's variance that the main directions hold.
        edges: Edges of the columns, where they are known; otherwise two or three passes over the reference find them.
        settings: Level, correction and fewest rows.

    Raises:
        ContractError: A column is missing, has another type or is no number; fewer than two or more than 500 columns.
    """
    settings, base, source = settings or DriftSection(), as_source(reference), as_source(current)
    names = tuple(columns) if columns is not None else tuple(name for name, kind in base.types.items() if kind_of(kind) == "number")
    types = chosen_types(base.types, names)
    if not 2 <= len(names) <= _WIDEST or any(kind_of(kind) != "number" for kind in types.values()):
        raise ContractError(
            f"{len(names)} columns, {[name for name in names if kind_of(types[name]) != 'number'][:5]} of them no numbers",
            expected=f"2 to {_WIDEST} numeric columns",
            mend="name the columns that belong together",
        )
    check_types(types, source.types)
    maker = _maker(names, edges or fix_edges(base, types, settings))
    found = run([(side, Survey(name, {_NAME: maker})) for name, side in (("reference", base), ("current", source))])
    sides = [
        cast("CoMoments", found[name][None, None][_NAME]) if found[name] else maker.of_table(_no_rows(names)) for name in ("reference", "current")
    ]
    return judged(names, sides[0], sides[1], threshold, explained, settings)


def judged(
    names: tuple[str, ...], reference: CoMoments, current: CoMoments, threshold: float, explained: float, settings: DriftSection
) -> JointDrift:
    """The comparison from both sides' moments."""
    first, second = correlations(reference), correlations(current)
    pairs = [_pair(names, places, (first, second), (reference, current), threshold, settings) for places in combinations(range(len(names)), 2)]
    rates = inference.discovery_rates([pair.p for pair in pairs], settings.correction)
    decided = [_decided(pair, rate, settings) for pair, rate in zip(pairs, rates, strict=True)]
    ordered = sorted(decided, key=lambda pair: (-abs(pair.change), pair.first, pair.second))
    components, errors = reconstruction(reference, current, explained)
    return JointDrift(names, first, second, tuple(ordered), components, errors)


def correlations(moments: CoMoments) -> Floats:
    """Pearson's correlations over the rows that have both columns; NaN where a column is constant there, or fewer than two rows are."""
    rows, sums = moments.rows.astype(np.float64), moments.sums.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = moments.squares - sums * sums / rows
        found = (moments.products - sums * sums.T / rows) / np.sqrt(spread * spread.T)
    # What subtraction leaves of a constant is no spread.
    constant = spread <= 1e-12 * np.maximum(moments.squares, 1)
    return np.asarray(np.where((rows < 2) | constant | constant.T, np.nan, np.clip(found, -1, 1)))


def reconstruction(reference: CoMoments, current: CoMoments, explained: float) -> tuple[int, tuple[float, float] | None]:
    """How many main directions of the reference hold a share of its variance, and what they miss of each side's rows."""
    matrix, size = correlations(reference), len(reference.rows)
    if np.isnan(matrix).any() or not current.rows.all():
        return 0, None
    values, directions = np.linalg.eigh(matrix)
    order = np.argsort(-values)
    share = np.cumsum(values[order]) / size
    number = min(int(np.searchsorted(share, explained - 1e-12)) + 1, size)
    rest = np.eye(size) - directions[:, order[:number]] @ directions[:, order[:number]].T
    own = np.diag(reference.rows).astype(np.float64)
    means = np.diag(reference.sums) / own
    deviations = np.sqrt(np.diag(reference.squares) / own - means**2)
    averages = current.sums / current.rows
    second = current.products / current.rows - means * averages - means[:, None] * averages.T + np.outer(means, means)
    errors = [float(np.trace(rest @ side)) / size for side in (matrix, second / np.outer(deviations, deviations))]
    return number, (errors[0], errors[1])


def _maker(names: tuple[str, ...], edges: Edges) -> CoMomentsMaker:
    """Steps of 2^-12 of the distance between the outer deciles, from the median."""
    cuts = [cast("NumberEdges", edges[name]).cuts for name in names]
    centres = [float(np.clip(part[len(part) // 2], -1e300, 1e300)) if len(part) else 0.0 for part in cuts]
    ranges = [float(np.ptp(part[np.isfinite(part)])) if np.isfinite(part).any() else 0.0 for part in cuts]
    spans = [span if 0 < span < np.inf else abs(centre) or 1.0 for span, centre in zip(ranges, centres, strict=True)]
    steps = np.exp2(np.ceil(np.log2(spans)) - _DETAIL)
    return CoMomentsMaker(names, np.rint(np.array(centres) / steps) * steps, steps)


def _pair(
    names: tuple[str, ...],
    places: tuple[int, int],
    found: tuple[Floats, Floats],
    sides: tuple[CoMoments, CoMoments],
    threshold: float,
    settings: DriftSection,
) -> PairDrift:
    (before, after), (n, m) = (float(side[places]) for side in found), (int(side.rows[places]) for side in sides)
    known = not (np.isnan(before) or np.isnan(after))
    p = None
    if known and min(n, m) >= settings.minimum_rows:
        p = float(ndtr(-(abs(after - before) - threshold) / _spread(before, after, n, m)))
    one, other = (None if np.isnan(value) else value for value in (before, after))
    return PairDrift(names[places[0]], names[places[1]], one, other, n, m, p, None, threshold, "undecided")


def _spread(before: float, after: float, n: int, m: int) -> float:
    """Standard error of the difference of two correlations of normal columns."""
    return float(np.sqrt((1 - before**2) ** 2 / (n - 1) + (1 - after**2) ** 2 / (m - 1) + 1e-300))


def _decided(pair: PairDrift, rate: float | None, settings: DriftSection) -> PairDrift:
    effect = abs(pair.change)
    verdict = "undecided" if pair.p is None else inference.effect_verdict(effect, effect, pair.threshold, rate, settings.level)
    return PairDrift(pair.first, pair.second, pair.reference, pair.current, pair.n, pair.m, pair.p, rate, pair.threshold, verdict)


def _no_rows(names: tuple[str, ...]) -> pa.Table:
    return pa.table({name: pa.array([], pa.float64()) for name in names})
