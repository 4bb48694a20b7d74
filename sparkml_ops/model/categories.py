"""Values of a category as positions: by a vocabulary, or by a hash where there are too many to keep."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["bucket", "by_hash", "by_vocabulary"]

Positions = npt.NDArray[np.int32]


def by_vocabulary(values: pa.Array, vocabulary: pa.Array, *, rare: bool) -> Positions:
    """Position in the vocabulary plus one; 0 for null.

    Args:
        values: Text.
        vocabulary: Known values.
        rare: Whether a value outside the vocabulary has a position of its own, the last; otherwise it is 0 as well.

    >>> by_vocabulary(pa.array(["b", None, "z"]), pa.array(["a", "b"]), rare=True).tolist()
    [2, 0, 3]
    """
    found = np.asarray(pc.fill_null(pc.index_in(values, value_set=vocabulary), -1).to_numpy(zero_copy_only=False) + 1, np.int32)
    if rare:
        found[(found == 0) & values.is_valid().to_numpy(zero_copy_only=False)] = len(vocabulary) + 1
    return found


def by_hash(values: pa.Array, buckets: int) -> Positions:
    """A bucket from 1 on by the value's hash, 0 for null; each distinct value of a batch is hashed once.

    Args:
        values: Text.
        buckets: Their number.
    """
    encoded = values.dictionary_encode()
    of_value = np.array([0, *(bucket(value, buckets) for value in encoded.dictionary.to_pylist())], np.int32)
    return np.asarray(of_value[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False) + 1], np.int32)


def bucket(value: str, buckets: int) -> int:
    """The bucket of a value, from 1: BLAKE2b of its UTF-8 bytes (RFC 7693), which no version of any library can change.

    >>> bucket("N14228", 1000)
    79
    """
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little") % buckets + 1
