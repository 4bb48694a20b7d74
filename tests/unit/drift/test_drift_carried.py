"""What segments carry of a shift: by pandas the same, and together the whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sparkml_ops.drift import Profile
from sparkml_ops.drift.bins import declared_bins
from sparkml_ops.drift.carried import carried


def rows(seed: int, n: int, *, shift: float, more: float) -> pd.DataFrame:
    """Two segment columns; in `a` the numbers and words move, of `b` there are more, and `c` is as it was."""
    random = np.random.default_rng(seed)
    shop = random.choice(["a", "b", "c"], n, p=[0.3, 0.2 + more, 0.5 - more])
    x = random.normal(0, 1, n) + np.where(shop == "a", shift, 0.0) + (shop == "b") * 2
    word = np.where((shop == "a") & (random.random(n) < shift / 4), "new", random.choice(["u", "v"], n))
    x[(shop == "c") & (random.random(n) < shift / 5)] = np.nan
    return pd.DataFrame({"x": x, "word": word, "shop": shop, "day": random.choice(["mo", "tu"], n)})


@pytest.fixture(scope="module")
def both(profiled: Callable[..., Profile]) -> tuple[Profile, Profile, pd.DataFrame, pd.DataFrame]:
    first, second = rows(1, 4000, shift=0.0, more=0.0), rows(2, 3000, shift=1.0, more=0.2)
    base = profiled(first, segments=("shop", "day"))
    return base, profiled(second, base.edges, segments=("shop", "day")), first, second


@pytest.mark.parametrize("column", ["x", "word"])
def test_parts_are_their_definition_and_add_up(both: tuple[Profile, Profile, pd.DataFrame, pd.DataFrame], column: str) -> None:
    """Shares of rows times moves of distributions, and moves of shares times how unlike the whole a segment is: 1 in all."""
    reference, current, *frames = both
    found, bins = carried(reference, current, column), declared_bins(reference[column], current[column])

    def counts(frame: pd.DataFrame, segment: str | None) -> np.ndarray:
        name, _, value = (segment or "").partition("=")
        part = frame if segment is None else frame[frame[name] == value]
        if column == "word":
            return np.array([(part.word == label).sum() for label in bins.labels])
        return pd.cut(part.x, np.asarray(bins.edges, dtype=float)).value_counts(sort=False).to_numpy()

    whole = [counts(frame, None) for frame in frames]
    old, new = (total / total.sum() for total in whole)
    expected = {}
    for segment in ("shop=a", "shop=b", "shop=c", "day=mo", "day=tu"):
        part = [counts(frame, segment) for frame in frames]
        weight = [mine.sum() / total.sum() for mine, total in zip(part, whole, strict=True)]
        own = [mine / mine.sum() for mine in part]
        moved = np.mean(weight) * (own[1] - own[0]) + (weight[1] - weight[0]) * (np.mean(own, axis=0) - (old + new) / 2)
        expected[segment] = float(np.sign(new - old) @ moved / np.abs(new - old).sum())
    assert found == pytest.approx(expected, abs=1e-12)
    assert sum(value for name, value in found.items() if name.startswith("shop=")) == pytest.approx(1.0)
    assert sum(value for name, value in found.items() if name.startswith("day=")) == pytest.approx(1.0)


def test_lost_values_and_a_segment_that_is_the_cause(both: tuple[Profile, Profile, pd.DataFrame, pd.DataFrame]) -> None:
    """New words come from one shop, gaps from another; where nothing moved nobody carries anything."""
    reference, current, *_ = both

    words, gaps = carried(reference, current, "word"), carried(reference, current, "x", missing=True)

    assert max(words, key=lambda name: words[name]) == "shop=a"
    assert gaps["shop=c"] > 0.9
    assert carried(reference, reference, "x") == {}
