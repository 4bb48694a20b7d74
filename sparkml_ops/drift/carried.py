"""Which segments carry a column's shift: parts that add up to the whole."""

from __future__ import annotations

import numpy as np

from sparkml_ops.drift.bins import Bins, counts_in, declared_bins
from sparkml_ops.drift.profile import Profile
from sparkml_ops.summaries.order import Integers

__all__ = ["carried"]


def carried(reference: Profile, current: Profile, column: str, *, missing: bool = False) -> dict[str, float]:
    """The share of a column's shift that each segment adds; over the values of one segment column they add up to 1.

    The shift is the total variation of the whole over its declared bins: half the sum of how far each bin's share moved. A segment's part of a move is what
    its own distribution moved, times its mean share of the rows, and what its share of the rows moved, times how far its mean distribution is from the
    whole's: a segment that only grows carries as much as it is unlike the others (Kitagawa, 1955, "Components of a difference between two rates").
    A part is negative where a segment works against the shift of the whole.

    Args:
        reference: Profile of the reference, with segments.
        current: On the same edges.
        column: Which.
        missing: Of the share of missing values in place of the bins.

    Returns:
        By segment, `name=value`; empty where nothing moved or a side has no rows.
    """
    bins = None if missing else declared_bins(reference[column], current[column])
    whole = [_counts(side, column, None, bins) for side in (reference, current)]
    rows = [int(counts.sum()) for counts in whole]
    if not all(rows):
        return {}
    first, last = (counts / total for counts, total in zip(whole, rows, strict=True))
    distance, sign = float(np.abs(last - first).sum()), np.sign(last - first)
    if not distance:
        return {}
    parts = {}
    for segment in sorted({*reference.segments, *current.segments}):
        counts = [_counts(side, column, segment, bins) for side in (reference, current)]
        before, after = (int(part.sum()) for part in counts)
        weights = before / rows[0], after / rows[1]
        # Where a segment is new or gone, its distribution on the other side is taken to be the same.
        own = [part / total if total else None for part, total in zip(counts, (before, after), strict=True)]
        old, new = (mine if mine is not None else other for mine, other in (own, own[::-1]))
        if old is None or new is None:
            continue
        within, between = sum(weights) / 2 * (new - old), (weights[1] - weights[0]) * ((old + new) / 2 - (first + last) / 2)
        parts[segment] = float(sign @ (within + between)) / distance
    return parts


def _counts(side: Profile, column: str, segment: str | None, bins: Bins | None) -> Integers:
    """Rows of a segment by bin; without bins those without and with a value."""
    part = side.column(column, segment)
    return np.array([part.tally.missing, part.tally.values]) if bins is None else counts_in(bins, part)
