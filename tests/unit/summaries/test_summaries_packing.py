"""Bytes of states: the same fields again, in few bytes, and nothing else is taken for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.packing import pack, unpack

SIGNED = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda values: np.array(values, dtype=np.int64))
KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=5).map(lambda values: np.array(values, dtype=np.uint64))
FLOATS = st.lists(st.floats(), max_size=5).map(np.array)


@settings(max_examples=200, deadline=None)
@given(SIGNED, KEYS, FLOATS, st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.floats(allow_nan=False), st.integers(-(2**62), 2**62))
def test_fields_come_back_as_they_were(signed: np.ndarray, keys: np.ndarray, floats: np.ndarray, text: list[str], number: float, whole: int) -> None:
    """Whole numbers of any size, floats to the last bit with infinities, text of any kind, empty arrays."""
    fields = {"signed": signed, "keys": keys, "floats": floats.astype(np.float64), "text": text, "number": number, "whole": whole}
    kind, found = unpack(pack("odd", fields))

    assert kind == "odd"
    assert (found["text"], found["number"], found["whole"]) == (text, number, whole)
    for name in ("signed", "keys", "floats"):
        assert found[name].dtype == fields[name].dtype
        assert found[name].tobytes() == fields[name].tobytes()


def test_small_numbers_take_few_bytes() -> None:
    """A thousand counts below 256 are a thousand bytes, sums of 40 bits five bytes each."""
    counts, sums = np.arange(1000) % 200, np.arange(1000) << 30
    assert len(pack("small", {"counts": counts})) < 1000 + 100
    assert len(pack("small", {"sums": sums})) < 5000 + 100


def test_other_bytes_are_refused() -> None:
    """A state of another form names what to do."""
    with pytest.raises(ContractError, match="edges renew"):
        unpack(b"\xff\xff\xff\xff0000")
