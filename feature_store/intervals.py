"""Questions about many intervals at once: which of those that hold a place is counted, greatest, n-th.

Places are 0..size-1; interval i holds starts[i] <= place < ends[i]. Every answer takes time that
grows as n log n with the number of intervals and places, never as their product, and uses no
subtraction that could leave something behind.
"""

from __future__ import annotations

import numpy as np

from feature_store.exact_sum import Ints

__all__ = ["interval_count", "interval_greatest", "interval_nth", "merged"]


def interval_count(starts: Ints, ends: Ints, size: int) -> Ints:
    """How many intervals hold each place.

    >>> interval_count(np.array([0, 1]), np.array([2, 3]), 4).tolist()
    [1, 2, 1, 0]
    """
    change = np.bincount(starts, minlength=size + 1) - np.bincount(ends, minlength=size + 1)
    return np.cumsum(change)[:size].astype(np.int64)


def interval_greatest(rank: Ints, starts: Ints, ends: Ints, size: int) -> Ints:
    """The greatest rank (0 or more) among the intervals that hold each place, -1 for none.

    Each interval goes to the few nodes of a segment tree that make it up; a place sees the nodes above it.

    >>> interval_greatest(np.array([5, 7]), np.array([0, 1]), np.array([2, 3]), 4).tolist()
    [5, 7, 7, -1]
    """
    leaves = 1 << max(size - 1, 0).bit_length()
    tree = np.full(2 * leaves, -1, dtype=np.int64)
    left, right = starts + leaves, ends + leaves
    while (open_ := left < right).any():
        left, right, rank = left[open_], right[open_], rank[open_]
        odd = (left & 1).astype(bool)
        np.maximum.at(tree, left[odd], rank[odd])
        left = left + odd
        odd = (right & 1).astype(bool)
        right = right - odd
        np.maximum.at(tree, right[odd], rank[odd])
        left, right = left >> 1, right >> 1
    width = 1
    while width < leaves:
        below = tree[2 * width : 4 * width]
        np.maximum(below, np.repeat(tree[width : 2 * width], 2), out=below)
        width *= 2
    return tree[leaves : leaves + size]


def interval_nth(group: Ints, order: Ints, starts: Ints, ends: Ints, *, places: Ints, place_groups: Ints, nth: Ints) -> Ints:
    """Which interval is the n-th smallest among those of a group that hold a place.

    A wavelet tree walked for all questions at once: the different orders of each group are numbered inside a block of
    2**b numbers, and in b steps each question halves its block by counting who holds the place in the lower half.
    So few different orders, as of whole or rounded numbers, take few steps.

    Args:
        group: Group of each interval; an interval holds places of its own group only.
        order: What the intervals of a group are sorted by, 0 or more.
        starts: First place of each interval.
        ends: Place after the last one.
        places: The place of each question.
        place_groups: Its group.
        nth: From 0; below the number of the group's intervals that hold the place.

    Returns:
        For each question the index of an interval of that order; of several of one order any, which need not hold the place.
    """
    path, first, height = _numbered(group, order, int(place_groups.max(initial=-1)) + 1)
    owner = np.zeros(int(path.max(initial=-1)) + 1, dtype=np.int64)
    owner[path] = np.arange(len(path))
    low, nth, span = first[place_groups], nth.copy(), int(ends.max(initial=0)) + int(places.max(initial=0)) + 1
    question_height, interval_height = height[place_groups], height[group]
    for level in reversed(range(int(height.max(initial=0)))):
        inside, asked = interval_height > level, np.flatnonzero(question_height > level)
        node = (path[inside] >> level) * span
        target = (low[asked] >> level) * span + places[asked]
        # Intervals of smaller nodes stand in both lists and cancel.
        entered = np.searchsorted(np.sort(node + starts[inside]), target, side="right")
        lower = entered - np.searchsorted(np.sort(node + ends[inside]), target, side="right")
        above = nth[asked] >= lower
        nth[asked] -= np.where(above, lower, 0)
        low[asked] += above.astype(np.int64) << level
    return owner[low]


def merged(code: Ints, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Intervals in which at least one of equal code holds: overlapping ones become one.

    >>> [part.tolist() for part in merged(np.array([1, 1, 2]), np.array([0, 1, 1]), np.array([2, 4, 2]))]
    [[0, 1], [4, 2]]
    """
    if not len(code):
        return starts, ends
    rows = np.lexsort((starts, code))
    code, starts, ends = code[rows], starts[rows], ends[rows]
    reach = np.maximum.accumulate(code * (int(ends.max()) + 1) + ends) - code * (int(ends.max()) + 1)
    new = np.ones(len(code), dtype=bool)
    new[1:] = (code[1:] != code[:-1]) | (starts[1:] > reach[:-1])
    heads = np.flatnonzero(new)
    return starts[heads], np.maximum.reduceat(ends, heads)


def _numbered(group: Ints, order: Ints, groups: int) -> tuple[Ints, Ints, Ints]:
    """A number for each interval, by order inside its group's block; and each block's first number and height.

    Equal orders have one number. Blocks of falling size are aligned by themselves.
    """
    width = int(order.max(initial=0)) + 1
    known, member = np.unique(group * width + order, return_inverse=True)
    owner = known // width
    counts = np.bincount(owner, minlength=max(groups, int(group.max(initial=-1)) + 1))
    height = np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    falling = np.argsort(-height, kind="stable")
    first = np.zeros(len(counts), dtype=np.int64)
    first[falling] = np.cumsum(1 << height[falling]) - (1 << height[falling])
    within = np.arange(len(known)) - (np.cumsum(counts) - counts)[owner]
    return (first[owner] + within)[member], first, height
