"""The total order of float64 as unsigned integers, so that a prefix of the bits is a range of values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST", "Floats", "Integers", "Keys", "from_keys", "to_keys"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

LARGEST = float(np.finfo(np.float64).max)
_SIGN = np.uint64(1 << 63)
_NEGATIVE_ZERO = np.uint64((1 << 63) - 1)


def to_keys(values: Floats) -> Keys:
    """Keys that sort as the values do; -0.0 counts as 0.0.

    >>> keys = to_keys(np.array([-1.5, -0.0, 0.0, 2.0]))
    >>> bool(keys[0] < keys[1] == keys[2] < keys[3])
    True
    """
    bits = (np.asarray(values, dtype=np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def from_keys(keys: Keys) -> Floats:
    """The values of keys, held within the finite range.

    No value has the key of -0.0, which equals 0.0 but sorts before it: it reads as the largest value below zero.

    >>> from_keys(to_keys(np.array([-1.5, 2.0]))).tolist()
    [-1.5, 2.0]
    """
    low, high = to_keys(np.array([-LARGEST, LARGEST]))
    held = np.clip(keys, low, high)
    held = np.where(held == _NEGATIVE_ZERO, held - np.uint64(1), held)
    return np.where(held & _SIGN, held ^ _SIGN, ~held).view(np.float64)
