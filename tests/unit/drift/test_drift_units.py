"""A change of unit is a fault that says which; a shift or a spread is drift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sparkml_ops.drift import DriftReport

Comparer = Callable[..., DriftReport]
RANDOM = np.random.default_rng(0)


def heights(rows: int) -> np.ndarray:
    return RANDOM.lognormal(3, 0.5, rows)


def degrees(rows: int) -> np.ndarray:
    return RANDOM.normal(15, 8, rows)


CHANGES = {
    "metres to feet": (heights(4000), heights(3000) / 0.3048),
    "inches to centimetres, backwards": (heights(4000), heights(3000) / 2.54),
    "Celsius to Fahrenheit": (degrees(4000), degrees(3000) * 1.8 + 32),
    "Celsius to Fahrenheit, backwards": (degrees(4000) * 1.8 + 32, degrees(3000)),
    "Celsius to Kelvin": (degrees(4000), degrees(3000) + 273.15),
    "minutes to seconds": (RANDOM.integers(1, 500, 4000), RANDOM.integers(1, 500, 3000) * 60),
    "metres to feet; heavy": (RANDOM.lognormal(0, 2, 4000), RANDOM.lognormal(0, 2, 4000) / 0.3048),
    "times 17": (heights(4000), heights(3000) * 17.3),
}
SHIFTS = {
    "moved": (RANDOM.normal(10, 1, 4000), RANDOM.normal(12, 1, 4000)),
    "spread": (RANDOM.normal(0, 1, 4000), RANDOM.normal(0, 3, 4000)),
    "grown": (heights(4000), heights(4000) * 1.3),
    "another form": (RANDOM.gamma(2, 1, 4000), RANDOM.gamma(2.5, 2, 4000)),
    "constant": (RANDOM.normal(0, 1, 4000), np.zeros(4000)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_unit_is_a_named_fault(compared: Comparer, name: str) -> None:
    """The verdict is fault, the conversion is named, and the factor is there to mend it."""
    reference, current = (pd.DataFrame({"x": side}) for side in CHANGES[name])
    column = compared(reference, current)["x"]

    assert column.verdict == "fault"
    assert name.partition(";")[0] in column.measures["unit"].method
    assert column.unit is not None


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_drift(compared: Comparer, name: str) -> None:
    """What no conversion explains stays drift."""
    reference, current = (pd.DataFrame({"x": side}) for side in SHIFTS[name])
    column = compared(reference, current)["x"]

    assert (column.verdict, column.unit) == ("drift", None)


def test_dates_have_no_unit(compared: Comparer) -> None:
    """A later month is no conversion."""
    days = pd.DataFrame({"x": pd.Timestamp("2013-01-01", tz="UTC") + pd.to_timedelta(RANDOM.integers(0, 30, 2000), unit="D")})

    assert compared(days, days + pd.Timedelta(days=31))["x"].unit is None
