"""Rows of a training set find their file and position from their hash alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.layout import ROW_GROUP, Layout


@settings(max_examples=100)
@given(st.dictionaries(st.integers(0, 16_383), st.integers(1, 400_000), max_size=40))
def test_offsets_count_the_rows_of_the_files_before(cells: dict[int, int]) -> None:
    """Files take contiguous cells, so positions follow the order of the hash."""
    layout = Layout(cells)
    file_of = {cell: cell * layout.files // 16_384 for cell in cells}

    expected = [sum(rows for cell, rows in cells.items() if file_of[cell] < file) for file in range(layout.files)]

    assert layout.offsets == tuple(expected)


@pytest.mark.parametrize("rows", [64_000, 199_999, 200_000, 1_000_000, 29_999_999])
def test_files_of_evenly_hashed_rows_are_one_row_group(rows: int) -> None:
    """64 to 256 thousand rows in each file, whatever the size of the whole."""
    counts = np.random.default_rng(0).multinomial(rows, np.full(16_384, 1 / 16_384))
    layout = Layout(dict(enumerate(counts.tolist())))

    sizes = np.diff([*layout.offsets, rows])

    assert sizes.sum() == rows
    assert sizes.min() >= 64_000
    assert sizes.max() <= ROW_GROUP
