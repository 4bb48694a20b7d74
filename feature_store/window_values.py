"""Values of window aggregates, from the places at which each event counts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.exact_sum import (
    ExactSums,
    Floats,
    Ints,
    decimal_terms,
    float_terms,
    int_terms,
    interval_sums,
    sample_std,
    sample_variance,
    square_terms,
)
from feature_store.intervals import interval_count, interval_greatest, interval_nth, merged

__all__ = ["Events", "Measure", "Places"]

Flags = npt.NDArray[np.bool_]

_CUT = 45  # of a double's 52 bits of fraction 7 stay, and the one that is always there


@dataclass(frozen=True)
class Measure:
    """An aggregate in terms of the stream's columns.

    Args:
        name: Output column.
        function: As in `Aggregate`.
        value: Column of values; None counts rows.
        order: Column that sorts the values, where they have no order of their own.
        where: Column of flags; None takes every row.
        window: Index of the window.
        kind: Type of the output; None is the value's own.
        q: Quantile.
        k: Number of values.
    """

    name: str
    function: str
    value: str | None
    order: str | None
    where: str | None
    window: int
    kind: pa.DataType | None
    q: float = 0.0
    k: int = 0


class Events:
    """Columns of events, made ready once for all places.

    Args:
        table: The columns that the measures read.
        group: Number of each row's entity.
        event: Its event time in microseconds.
        known: When it became known.
    """

    def __init__(self, table: pa.Table, group: Ints, event: Ints, known: Ints) -> None:
        self.table, self.group, self.event, self.known = table, group, event, known
        self._made: dict[Hashable, Any] = {}

    def column(self, name: str) -> pa.Array:
        """A column as one array."""
        return self._once(("column", name), lambda: one_array(self.table[name]))

    def taking(self, measure: Measure) -> Flags:
        """Rows that the measure may count: its predicate holds, and its value is there, where it leaves nulls out."""
        flags = np.ones(len(self.group), dtype=bool)
        if measure.where is not None:
            flags &= np.asarray(pc.fill_null(self.column(measure.where), False))
        if measure.value is not None and measure.function not in {"first", "last", "last_k"}:
            flags &= np.asarray(self.column(measure.value).is_valid())
        return flags

    def floats(self, name: str) -> Floats:
        """A column of doubles; nulls are zero."""
        return cast("Floats", self._once(("floats", name), lambda: np.asarray(pc.fill_null(self.column(name), 0.0), dtype=np.float64)))

    def code(self, name: str) -> Ints:
        """A number for each value, equal for equal ones, in the order of values: nulls first, NaN last."""
        return cast("Ints", self._once(("code", name), lambda: _dense(self.column(name))))

    def rounded(self, name: str) -> tuple[Floats, Ints]:
        """A column of doubles at eight significant bits, and a number for each in their order."""
        return cast("tuple[Floats, Ints]", self._once(("rounded", name), lambda: _rounded(self.floats(name))))

    def turn(self, name: str) -> Ints:
        """A number of its own for each row, by (event time, known time, value)."""

        def make() -> Ints:
            turn = np.empty(len(self.group), dtype=np.int64)
            turn[np.lexsort((self.code(name), self.known, self.event))] = np.arange(len(self.group))
            return turn

        return cast("Ints", self._once(("turn", name), make))

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


@dataclass(frozen=True)
class Places:
    """Instants at which windows are read, and where each event counts.

    Args:
        events: The events.
        group: Entity of each place.
        starts: First place at which an event counts.
        ends: For each window, the place after the last one.
    """

    events: Events
    group: Ints
    starts: Ints
    ends: tuple[Ints, ...]

    def values(self, measure: Measure) -> pa.Array:
        """The measure at every place."""
        rows = np.flatnonzero(self.events.taking(measure) & (self.starts < self.ends[measure.window]))
        counts = interval_count(self.starts[rows], self.ends[measure.window][rows], len(self.group))
        found = _FUNCTIONS[measure.function](self, measure, rows, counts)
        return found if measure.kind is None else found.cast(measure.kind)

    def spans(self, measure: Measure, rows: Ints) -> tuple[Ints, Ints, int]:
        """Starts, ends and number of places, for some rows."""
        return self.starts[rows], self.ends[measure.window][rows], len(self.group)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def numbers(column: pa.ChunkedArray) -> Ints:
    """Whole numbers; null is the least."""
    return np.asarray(pc.fill_null(one_array(column), np.iinfo(np.int64).min), dtype=np.int64)


def _dense(values: pa.Array) -> Ints:
    # Arrow ranks values, then NaN, then nulls; Spark sorts nulls first.
    rank = np.asarray(pc.rank(values, sort_keys="ascending", tiebreaker="dense")).astype(np.int64)
    return np.where(np.asarray(values.is_valid()), rank, 0)


def _rounded(values: Floats) -> tuple[Floats, Ints]:
    """Doubles at eight significant bits, off by at most 2**-8 (from 2.3e-308 to 1.7e308), and numbers from 0 that sort them.

    Infinities stay and NaN comes last, as in Spark. The numbers are the bits that stay, so that nothing has to be sorted.
    """
    bits = values.view(np.int64)
    near = (bits + (1 << _CUT - 1)) >> _CUT  # a double's bits are sign and magnitude: this rounds the magnitude
    near = np.where(np.isinf((near << _CUT).view(np.float64)), bits >> _CUT, near)  # what is finite stays so
    near = np.where(np.isnan(values), np.array(np.nan).view(np.int64) >> _CUT, near)
    signs = 1 << 63 - _CUT
    return (near << _CUT).view(np.float64), np.where(near < 0, -near - 1, near + signs)


def _count(_places: Places, _measure: Measure, _rows: Ints, counts: Ints) -> pa.Array:
    return pa.array(counts)


def _distinct(places: Places, measure: Measure, rows: Ints, _counts: Ints) -> pa.Array:
    starts, ends, size = places.spans(measure, rows)
    # Places of two entities never overlap, so values need no entity beside them.
    return pa.array(interval_count(*merged(places.events.code(_name(measure))[rows], starts, ends), size))


def _sum(places: Places, measure: Measure, rows: Ints, counts: Ints) -> pa.Array:
    values = places.events.column(_name(measure))
    if pa.types.is_floating(values.type):
        return pa.array(_total(places, measure, rows), mask=counts == 0)
    if pa.types.is_decimal(values.type):
        return interval_sums(decimal_terms, values.take(pa.array(rows)), *places.spans(measure, rows)).to_decimal(measure.kind, counts > 0)
    return pa.array(interval_sums(int_terms, numbers(pa.chunked_array([values]))[rows], *places.spans(measure, rows)).to_int64(), mask=counts == 0)


def _mean(places: Places, measure: Measure, rows: Ints, counts: Ints) -> pa.Array:
    return pa.array(_total(places, measure, rows) / np.maximum(counts, 1), mask=counts == 0)


def _spread(places: Places, measure: Measure, rows: Ints, counts: Ints) -> pa.Array:
    values = places.events.floats(_name(measure))
    finite = rows[np.isfinite(values[rows])]
    first, second = (_sums(places, measure, finite, make) for make in (float_terms, square_terms))
    of_sums = sample_std if measure.function == "std" else sample_variance
    spread = of_sums(interval_count(*places.spans(measure, finite)), first, second)
    broken = interval_count(*places.spans(measure, rows[~np.isfinite(values[rows])]))
    return pa.array(np.where(broken > 0, np.nan, spread), mask=counts < 2)


def _extreme(places: Places, measure: Measure, rows: Ints, _counts: Ints) -> pa.Array:
    rank = places.events.code(_name(measure))
    return _best(places, measure, rows, rank.max(initial=0) - rank if measure.function == "min" else rank)


def _end(places: Places, measure: Measure, rows: Ints, _counts: Ints) -> pa.Array:
    rank = places.events.turn(measure.order or _name(measure))
    return _best(places, measure, rows, rank.max(initial=0) - rank if measure.function == "first" else rank)


def _last_k(places: Places, measure: Measure, rows: Ints, counts: Ints) -> pa.Array:
    taken = np.minimum(counts, measure.k)
    offsets = np.concatenate([[0], np.cumsum(taken)])
    place = np.repeat(np.arange(len(counts)), taken)
    back = np.arange(offsets[-1]) - offsets[place]
    found = _nth(places, measure, rows, places.events.turn(measure.order or _name(measure)), place=place, nth=counts[place] - 1 - back)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), places.events.column(_name(measure)).take(pa.array(found)))


def _quantile(places: Places, measure: Measure, rows: Ints, counts: Ints) -> pa.Array:
    events, name = places.events, _name(measure)
    values, code = events.rounded(name) if measure.function == "approx_quantile" else (events.floats(name), events.code(name))
    place = np.flatnonzero(counts)
    position = (counts[place] - 1) * measure.q
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, counts[place] - 1)
    found = values[_nth(places, measure, rows, code, place=np.tile(place, 2), nth=np.concatenate([below, above]))].reshape(2, -1)
    result = np.zeros(len(counts))
    with np.errstate(invalid="ignore"):
        # Only between different values: inf - inf, and inf * 0, are no numbers.
        between = np.where(position > below, found[0] + (found[1] - found[0]) * (position - below), found[0])
        result[place] = np.where(found[0] == found[1], found[0], between)
    return pa.array(result, mask=counts == 0)


def _best(places: Places, measure: Measure, rows: Ints, rank: Ints) -> pa.Array:
    """The value of the row with the greatest rank."""
    starts, ends, size = places.spans(measure, rows)
    best = interval_greatest(rank[rows], starts, ends, size)
    owner = np.zeros(int(rank.max(initial=0)) + 1, dtype=np.int64)
    owner[rank[rows]] = rows
    return places.events.column(_name(measure)).take(pa.array(owner[best], mask=best < 0))


def _nth(places: Places, measure: Measure, rows: Ints, order: Ints, *, place: Ints, nth: Ints) -> Ints:
    """Rows of the n-th smallest order at some places."""
    starts, ends, _ = places.spans(measure, rows)
    if not len(place):
        return place
    return rows[interval_nth(places.events.group[rows], order[rows], starts, ends, places=place, place_groups=places.group[place], nth=nth)]


def _sums(places: Places, measure: Measure, rows: Ints, make: Callable[[Floats], Any]) -> ExactSums:
    return interval_sums(make, places.events.floats(_name(measure))[rows], *places.spans(measure, rows))


def _total(places: Places, measure: Measure, rows: Ints) -> Floats:
    """Sums of doubles; NaN and infinities count only as long as they are inside."""
    values = places.events.floats(_name(measure))[rows]
    finite = np.isfinite(values)
    total = _sums(places, measure, rows[finite], float_terms).to_float()
    if finite.all():
        return total
    up, down, no = (interval_count(*places.spans(measure, rows[flags])) > 0 for flags in (values == np.inf, values == -np.inf, np.isnan(values)))
    return np.where(no | (up & down), np.nan, np.where(up, np.inf, np.where(down, -np.inf, total)))


def _name(measure: Measure) -> str:
    assert measure.value is not None
    return measure.value


_FUNCTIONS: dict[str, Callable[[Places, Measure, Ints, Ints], pa.Array]] = {
    "count": _count,
    "distinct": _distinct,
    "approx_distinct": _distinct,
    "sum": _sum,
    "mean": _mean,
    "std": _spread,
    "variance": _spread,
    "min": _extreme,
    "max": _extreme,
    "first": _end,
    "last": _end,
    "last_k": _last_k,
    "quantile": _quantile,
    "approx_quantile": _quantile,
}
