"""How far the rows of a batch come from one another, beside what a random sample of the same size shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ShuffleQuality", "shuffle_quality"]


@dataclass(frozen=True)
class ShuffleQuality:
    """Means over batches.

    Args:
        distance: Kolmogorov distance between the places of a batch's rows and the uniform distribution: near 1 where all are from one place.
        random_distance: Of batches drawn at random with replacement: sqrt(pi / 2) ln 2 / sqrt(rows) (mean of the Kolmogorov distribution).
        neighbours: Share of a batch's rows whose predecessor in the batch is the one before them in the data.
        random_neighbours: The same of a random order: 1 / rows of the data.
        run: Mean number of rows that follow each other in the batch as they do in the data; 1 where none do.
    """

    distance: float
    random_distance: float
    neighbours: float
    random_neighbours: float
    run: float


def shuffle_quality(batches: Sequence[npt.NDArray[np.int64]], rows: int) -> ShuffleQuality:
    """Measure an order.

    Args:
        batches: [rows of the batch] places of its rows in the data, from 0, in the order of the batch.
        rows: Rows of the data.

    Returns:
        Means over the batches, each as heavy as the other.

    >>> sequential = [np.arange(start, start + 10) for start in range(0, 1000, 10)]
    >>> found = shuffle_quality(sequential, 1000)
    >>> round(found.distance, 2), round(found.neighbours, 2), found.run
    (0.75, 0.9, 10.0)
    """
    distances = [_distance(batch, rows) for batch in batches]
    following = [int((np.diff(batch) == 1).sum()) for batch in batches]
    sizes = [len(batch) for batch in batches]
    expected = [math.sqrt(math.pi / 2) * math.log(2) / math.sqrt(size) for size in sizes]
    return ShuffleQuality(
        float(np.mean(distances)),
        float(np.mean(expected)),
        float(np.mean([count / size for count, size in zip(following, sizes, strict=True)])),
        1 / rows,
        float(np.mean([size / (size - count) for count, size in zip(following, sizes, strict=True)])),
    )


def _distance(batch: npt.NDArray[np.int64], rows: int) -> float:
    """Largest difference of the two distribution functions."""
    places = (np.sort(batch) + 0.5) / rows
    steps = np.arange(len(places) + 1) / len(places)
    return float(max((steps[1:] - places).max(), (places - steps[:-1]).max()))
