"""Summaries of a categorical column: exact counts of declared categories, bounded counts of the rest."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.edges import CategoryEdges
from sparkml_ops.summaries.order import Integers
from sparkml_ops.summaries.packing import pack
from sparkml_ops.summaries.values import Tally, labels

__all__ = ["CategoryMaker", "CategorySummary", "FrequentMaker", "FrequentValues"]


@dataclass(frozen=True, eq=False)
class CategorySummary:
    """Counts of one column over some rows; merging parts gives the whole, exactly.

    Categories beyond the anchors are counted too, up to `limit`: those with the smallest hashes
    stay, so a category that is among them in the whole was among them in every part, and its
    count is exact. The rest is only known as their sum, `other`.

    Args:
        edges_id: Which anchors.
        tally: Rows by what they hold.
        anchored: Rows of each anchor.
        beyond: Rows of each further category.
        limit: Most further categories that are kept.
    """

    edges_id: str
    tally: Tally
    anchored: Integers
    beyond: Mapping[str, int]
    limit: int

    @classmethod
    def empty(cls, edges: CategoryEdges, limit: int) -> CategorySummary:
        """The summary of no rows."""
        return cls(edges.id, Tally(), np.zeros(len(edges.anchors), dtype=np.int64), {}, limit)

    @classmethod
    def of(cls, tally: Tally, values: pa.Array, edges: CategoryEdges, limit: int) -> CategorySummary:
        """The summary of text values."""
        found = pc.value_counts(values)
        names, counts = found.field("values"), found.field("counts").to_numpy()
        index = pc.index_in(names, edges.array).fill_null(-1).to_numpy(zero_copy_only=False)
        known = index >= 0
        anchored = np.zeros(len(edges.anchors), dtype=np.int64)
        anchored[index[known]] = counts[known]
        beyond = dict(zip(names.filter(pa.array(~known)).to_pylist(), counts[~known].tolist(), strict=True))
        return cls(edges.id, tally, anchored, _smallest_hashes(beyond, limit), limit)

    def merge(self, other: CategorySummary) -> CategorySummary:
        """Both together.

        Raises:
            ContractError: They have different anchors.
        """
        if self.edges_id != other.edges_id:
            raise ContractError(
                f"summaries on the edges {self.edges_id} and {other.edges_id}", expected="the same edges", mend="profile both with the same edges"
            )
        beyond = _smallest_hashes(Counter(self.beyond) + Counter(other.beyond), self.limit)
        return CategorySummary(self.edges_id, self.tally.merge(other.tally), self.anchored + other.anchored, beyond, self.limit)

    @cached_property
    def other(self) -> int:
        """Rows of categories that are counted only together."""
        return self.tally.values - int(self.anchored.sum()) - sum(self.beyond.values())

    def counts_alone(self, name: str) -> bool:
        """Whether a category beyond the anchors has a count of its own, be it 0: its hash is among the smallest."""
        return not self.other or _hash(name) <= self._last_hash

    @cached_property
    def _last_hash(self) -> int:
        return max(map(_hash, self.beyond), default=-1)

    @property
    def distinct(self) -> float:
        """Number of categories: exact where `other` is 0, else an estimate.

        The estimate for the categories beyond the anchors is (k - 1) / u, where u is the largest of
        the k smallest hashes as a share of the hash's range (Bar-Yossef et al., Counting distinct
        elements in a data stream, 2002); its relative error is about 1 / sqrt(k).
        """
        beyond = float(len(self.beyond))
        if self.other and self.beyond:
            beyond = (len(self.beyond) - 1) * 2.0**64 / self._last_hash
        return float(np.count_nonzero(self.anchored)) + beyond

    def counts(self, edges: CategoryEdges) -> dict[str, int]:
        """Rows of each category that occurs, anchors first."""
        anchored = {name: int(count) for name, count in zip(edges.anchors, self.anchored, strict=True) if count}
        return anchored | dict(sorted(self.beyond.items()))

    def pack(self) -> bytes:
        """As bytes."""
        names = sorted(self.beyond)
        rows = np.array([self.beyond[name] for name in names], dtype=np.int64)
        return pack(
            "categories",
            {"edges": [self.edges_id], "anchored": self.anchored, "names": names, "rows": rows, "limit": self.limit, **self.tally.fields()},
        )

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> CategorySummary:
        """From unpacked fields."""
        beyond = dict(zip(fields["names"], fields["rows"].tolist(), strict=True))
        return cls(fields["edges"][0], Tally.of(fields), fields["anchored"], beyond, fields["limit"])


@dataclass(frozen=True)
class CategoryMaker:
    """Makes `CategorySummary` from Arrow values."""

    edges: CategoryEdges
    limit: int

    def __call__(self, array: pa.Array) -> CategorySummary:
        """Summarise one array."""
        return CategorySummary.of(*labels(array), self.edges, self.limit)


@dataclass(frozen=True, eq=False)
class FrequentValues:
    """The frequent values of a column; exact while there are at most `capacity` distinct ones.

    Beyond that each count is too small by at most `error`, and every value with more than
    n / capacity rows is there (Misra and Gries 1982; merging: Agarwal et al., Mergeable summaries, 2012).
    """

    tally: Tally
    counts: Mapping[str, int]
    error: int
    capacity: int

    def merge(self, other: FrequentValues) -> FrequentValues:
        """Both together."""
        counts = Counter(self.counts) + Counter(other.counts)
        return self._cut(self.tally.merge(other.tally), counts, self.error + other.error, self.capacity)

    @classmethod
    def _cut(cls, tally: Tally, counts: Mapping[str, int], error: int, capacity: int) -> FrequentValues:
        if len(counts) > capacity:
            cut = heapq.nlargest(capacity + 1, counts.values())[-1]
            counts, error = {name: count - cut for name, count in counts.items() if count > cut}, error + cut
        return cls(tally, dict(counts), error, capacity)

    def top(self, k: int) -> tuple[str, ...]:
        """The k most frequent values, ties by value."""
        return tuple(sorted(self.counts, key=lambda name: (-self.counts[name], name))[:k])

    def pack(self) -> bytes:
        """As bytes."""
        names = sorted(self.counts)
        rows = np.array([self.counts[name] for name in names], dtype=np.int64)
        return pack("frequent", {"names": names, "rows": rows, "error": self.error, "capacity": self.capacity, **self.tally.fields()})

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> FrequentValues:
        """From unpacked fields."""
        counts = dict(zip(fields["names"], fields["rows"].tolist(), strict=True))
        return cls(Tally.of(fields), counts, fields["error"], fields["capacity"])


@dataclass(frozen=True)
class FrequentMaker:
    """Makes `FrequentValues` from Arrow values."""

    capacity: int

    def __call__(self, array: pa.Array) -> FrequentValues:
        """Summarise one array."""
        tally, values = labels(array)
        found = pc.value_counts(values)
        counts = dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))
        return FrequentValues._cut(tally, counts, 0, self.capacity)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _smallest_hashes(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    if len(counts) <= limit:
        return dict(counts)
    return {name: counts[name] for name in heapq.nsmallest(limit, counts, key=_hash)}
