"""Interval questions and exact sums give what a plain loop over all intervals gives."""

from __future__ import annotations

import math
import statistics
from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.errors import ContractError
from feature_store.exact_sum import decimal_terms, float_terms, int_terms, interval_sums, sample_std, sample_variance, square_terms
from feature_store.intervals import interval_count, interval_greatest, interval_nth, merged

SIZE = 12
span = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted)
spans = st.lists(span, max_size=25)
finite = st.floats(allow_nan=False, allow_infinity=False)


def edges(intervals: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(intervals, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def holding(intervals: list[list[int]], place: int) -> list[int]:
    return [index for index, (start, end) in enumerate(intervals) if start <= place < end]


@given(spans)
def test_count(intervals: list[list[int]]) -> None:
    """A place is held by the intervals with start <= place < end."""
    assert interval_count(*edges(intervals), SIZE).tolist() == [len(holding(intervals, place)) for place in range(SIZE)]


@given(spans, st.data())
def test_greatest(intervals: list[list[int]], data: st.DataObject) -> None:
    """The greatest rank of the intervals that hold a place, -1 where none does; ranks may be equal."""
    rank = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(intervals), max_size=len(intervals))), dtype=np.int64)
    expected = [max((int(rank[index]) for index in holding(intervals, place)), default=-1) for place in range(SIZE)]

    assert interval_greatest(rank, *edges(intervals), SIZE).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 2), span, st.integers(0, 5)), max_size=30))
def test_nth(drawn: list[tuple[int, list[int], int]]) -> None:
    """Every rank at every place of every group is the one that sorting gives, equal ranks and few different ones too."""
    width = SIZE + 1
    group = np.array([item[0] for item in drawn], dtype=np.int64)
    order = np.array([item[2] for item in drawn], dtype=np.int64)
    starts, ends = (np.array([item[0] * width + item[1][side] for item in drawn], dtype=np.int64) for side in (0, 1))
    questions, expected = [], []
    for place in range(3 * width):
        held = sorted(int(order[index]) for index in range(len(drawn)) if starts[index] <= place < ends[index])
        questions += [(place, nth) for nth in range(len(held))]
        expected += held
    if not questions:
        return
    places, nth = np.array(questions, dtype=np.int64).T
    found = interval_nth(group, order, starts, ends, places=places, place_groups=places // width, nth=nth)

    assert order[found].tolist() == expected
    assert group[found].tolist() == [place // width for place in places]


@given(st.lists(st.tuples(span, st.integers(0, 3)), max_size=25))
def test_merged_counts_distinct_codes(drawn: list[tuple[list[int], int]]) -> None:
    """Merged intervals count each code once at every place."""
    drawn = [item for item in drawn if item[0][0] < item[0][1]]
    starts, ends = edges([item[0] for item in drawn])
    code = np.array([item[1] for item in drawn], dtype=np.int64)
    expected = [len({item[1] for item in drawn if item[0][0] <= place < item[0][1]}) for place in range(SIZE)]

    assert interval_count(*merged(code, starts, ends), SIZE).tolist() == expected


@given(st.lists(st.tuples(span, st.floats(-1e150, 1e150)), max_size=25))
def test_float_sums_are_the_true_ones(drawn: list[tuple[list[int], float]]) -> None:
    """Each sum lies within two units in the last place of the exact one, however many rows came and went."""
    sums = interval_sums(float_terms, np.array([item[1] for item in drawn]), *edges([item[0] for item in drawn]), SIZE).to_float()

    for place in range(SIZE):
        true = math.fsum(item[1] for item in drawn if item[0][0] <= place < item[0][1])
        assert abs(sums[place] - true) <= 2 * math.ulp(true)


@given(st.lists(finite, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_float_sums_depend_on_the_set_alone(values: list[float], random: object) -> None:
    """Another order, and neighbours that have left, change no bit."""
    shuffled = [*values, 1e300, -3.3]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ends = np.where(np.isin(shuffled, [1e300, -3.3]) & ~np.isin(shuffled, values), 1, 2)
    mixed = interval_sums(float_terms, np.array(shuffled), np.zeros(len(shuffled), dtype=np.int64), ends, 2).to_float()[1]
    alone = interval_sums(float_terms, np.array(values), np.zeros(len(values), dtype=np.int64), np.ones(len(values), dtype=np.int64), 1).to_float()[0]

    assert mixed == alone


@given(st.lists(st.tuples(span, finite), max_size=12), st.integers(1, 4))
def test_no_bit_depends_on_how_many_are_cut_at_once(drawn: list[tuple[list[int], float]], at_once: int) -> None:
    """Also where later values are much greater or smaller than all before them."""
    values, intervals = np.array([item[1] for item in drawn]), edges([item[0] for item in drawn])

    for make in (float_terms, square_terms):
        whole, cut = (interval_sums(make, values, *intervals, SIZE, at_once=rows).to_float() for rows in (1 << 18, at_once))
        assert whole.tobytes() == cut.tobytes()


def test_no_drift_after_a_million_expiries() -> None:
    """A sliding sum over a million doubles of very different size ends where a fresh sum of the last rows does."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=1_000_000) * 10.0 ** rng.integers(-8, 9, 1_000_000)
    starts = np.arange(1_000_000)
    sums = interval_sums(float_terms, values, starts, np.minimum(starts + 100, 1_000_000), 1_000_000).to_float()

    for place in (99, 500_000, 999_999):
        assert sums[place] == pytest.approx(math.fsum(values[place - 99 : place + 1]), rel=1e-15)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=8))
def test_whole_sums(values: list[int]) -> None:
    """Whole numbers add up exactly, and a sum beyond 64 bits is an error, never another number."""
    ones = np.ones(len(values), dtype=np.int64)
    sums = interval_sums(int_terms, np.array(values, dtype=np.int64), ones - 1, ones, 1)
    if abs(sum(values)) < 2**63:
        assert sums.to_int64().tolist() == [sum(values)]
    else:
        with pytest.raises(ContractError, match="beyond 64 bits"):
            sums.to_int64()


@given(st.lists(st.decimals(Decimal(-(10**27)), Decimal(10**27), places=2), min_size=1, max_size=8))
def test_decimal_sums(values: list[Decimal]) -> None:
    """Decimals add up exactly, negative ones and those beyond 64 bits too."""
    ones = np.ones(len(values), dtype=np.int64)
    sums = interval_sums(decimal_terms, pa.array(values, pa.decimal128(30, 2)), ones - 1, ones, 1)

    with localcontext(prec=50):
        assert sums.to_decimal(pa.decimal128(38, 2), np.array([True])).to_pylist() == [sum(values)]


def test_decimal_sum_of_too_many_digits() -> None:
    """A decimal sum that does not fit its type is an error."""
    values = pa.array([Decimal(10**37) * 9] * 2, pa.decimal128(38, 0))
    sums = interval_sums(decimal_terms, values, np.array([0, 0]), np.array([1, 1]), 1)

    with pytest.raises(ContractError, match="more than 38 digits"):
        sums.to_decimal(pa.decimal128(38, 0), np.array([True]))


@settings(max_examples=60)
@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=12), st.sampled_from([0.0, 1e9, 1e15]))
def test_sample_spread(values: list[float], shift: float) -> None:
    """Standard deviation and variance are those of exact arithmetic, also for small differences of large numbers."""
    shifted = np.array(values) + shift
    count = len(values)
    starts, ends = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    sums = interval_sums(float_terms, shifted, starts, ends, 1), interval_sums(square_terms, shifted, starts, ends, 1)

    assert sample_std(np.array([count]), *sums)[0] == pytest.approx(statistics.stdev(shifted.tolist()), rel=1e-14)
    assert sample_variance(np.array([count]), *sums)[0] == pytest.approx(statistics.variance(shifted.tolist()), rel=1e-14)


def test_spread_of_extremes() -> None:
    """Squares beyond the range of doubles do not break it; a variance beyond it is infinite."""
    values = np.array([1e200, -1e200, 3e-300])
    starts, ends = np.array([0, 0, 1]), np.array([1, 1, 2])
    sums = interval_sums(float_terms, values, starts, ends, 2), interval_sums(square_terms, values, starts, ends, 2)
    count = interval_count(starts, ends, 2)
    std, variance = sample_std(count, *sums), sample_variance(count, *sums)

    assert std[0] == pytest.approx(math.sqrt(2) * 1e200, rel=1e-15)
    assert variance[0] == math.inf
    assert np.isnan([std[1], variance[1]]).all()
