"""Counts by the leading bits of the values: as many bits as the limit allows.

A prefix of a value's bits is a range of values, narrow near zero and wide far out. The number of
bits adapts: with few distinct values all 64 are kept and the counts are exact value counts. The
result is the longest prefix with at most `limit` distinct ones, whatever the parts were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sparkml_ops.summaries.order import Integers, Keys, to_keys
from sparkml_ops.summaries.packing import pack
from sparkml_ops.summaries.values import Tally, numbers

__all__ = ["PrefixCounts", "PrefixMaker"]


@dataclass(frozen=True, eq=False)
class PrefixCounts:
    """A histogram by bit prefix.

    Args:
        tally: Rows by what they hold.
        prefixes: Keys of the values without their last `shift` bits, ascending, distinct.
        counts: Values with each prefix.
        shift: Bits that were left out.
        limit: Most prefixes that are kept.
    """

    tally: Tally
    prefixes: Keys
    counts: Integers
    shift: int
    limit: int

    @classmethod
    def of(cls, tally: Tally, keys: Keys, limit: int) -> PrefixCounts:
        """The histogram of sorted keys."""
        return cls(tally, *_fit(keys, np.ones(len(keys), dtype=np.int64), 0, limit), limit)

    def merge(self, other: PrefixCounts) -> PrefixCounts:
        """Both together."""
        shift = max(self.shift, other.shift)
        keys = np.concatenate([side.prefixes >> np.uint64(shift - side.shift) for side in (self, other)])
        order = np.argsort(keys, kind="stable")
        counts = np.concatenate([self.counts, other.counts])[order]
        return PrefixCounts(self.tally.merge(other.tally), *_fit(keys[order], counts, shift, self.limit), self.limit)

    @property
    def lower(self) -> Keys:
        """Smallest key of each prefix."""
        return self.prefixes << np.uint64(self.shift)

    @property
    def upper(self) -> Keys:
        """Largest key of each prefix."""
        return self.lower | np.uint64((1 << self.shift) - 1)

    def pack(self) -> bytes:
        """As bytes."""
        return pack("prefixes", {"prefixes": self.prefixes, "counts": self.counts, "shift": self.shift, "limit": self.limit, **self.tally.fields()})

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> PrefixCounts:
        """From unpacked fields."""
        return cls(Tally.of(fields), fields["prefixes"], fields["counts"], fields["shift"], fields["limit"])


@dataclass(frozen=True, eq=False)
class PrefixMaker:
    """Makes `PrefixCounts` from Arrow values.

    Args:
        limit: Most prefixes that are kept.
        lower: Smallest keys of the ranges to look at, ascending and disjoint; None is all values.
        upper: Largest keys of these ranges.
    """

    limit: int
    lower: Keys | None = None
    upper: Keys | None = None

    def __call__(self, array: pa.Array) -> PrefixCounts:
        """Summarise one array."""
        tally, values = numbers(array)
        keys = to_keys(values)
        if self.lower is not None and self.upper is not None:
            starts, stops = np.searchsorted(keys, self.lower, side="left"), np.searchsorted(keys, self.upper, side="right")
            index = np.repeat(stops - np.cumsum(stops - starts), stops - starts) + np.arange((stops - starts).sum())
            keys = keys[index]
        return PrefixCounts.of(tally, keys, self.limit)


def _fit(keys: Keys, counts: Integers, shift: int, limit: int) -> tuple[Keys, Integers, int]:
    """Add up equal keys, after dropping the fewest bits that leave at most `limit` distinct ones."""
    differing = keys[1:] ^ keys[:-1]
    low, high = 0, 63 - shift
    while low < high:
        middle = (low + high) // 2
        if 1 + np.count_nonzero(differing >> np.uint64(middle)) <= limit:
            high = middle
        else:
            low = middle + 1
    keys = keys >> np.uint64(low)
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), dtype=bool), keys[1:] != keys[:-1]]))
    totals = np.add.reduceat(counts, starts) if len(starts) else counts
    return keys[starts], totals, shift + low
