"""The choice among families, and the times that it rests on."""

from __future__ import annotations

from itertools import count
from typing import cast

import pyarrow as pa
import pytest

from sparkml_ops.model.predictor import Predictor
from sparkml_ops.training.tuning.families import Candidate, best_of_families, choose, speeds
from sparkml_ops.training.tuning.trial import Trial


@pytest.mark.parametrize(
    ("direction", "margin", "expected"),
    [
        ("minimize", 0.0, "b"),
        ("minimize", 0.01, "b"),
        ("minimize", 0.05, "c"),
        ("minimize", 1.0, "a"),
        ("maximize", 0.0, "a"),
        ("maximize", 0.25, "a"),
    ],
)
def test_the_fastest_of_the_near_ones_wins(direction: str, margin: float, expected: str) -> None:
    """Near is a distance of the metric from the best one, in the direction of the search."""
    found = [Candidate("a", 0, 0.75, 1.0), Candidate("b", 1, 0.5, 8.0), Candidate("c", None, 0.53125, 2.0)]

    assert choose(found, direction, margin).family == expected


def test_equally_fast_ones_are_told_apart_by_the_metric() -> None:
    """Not by their order."""
    found = [Candidate("a", 0, 0.52, 1.0), Candidate("b", 1, 0.5, 1.0)]

    assert choose(found, "minimize", 0.1).family == choose(found[::-1], "minimize", 0.1).family == "b"


def test_each_family_sends_its_best_complete_trial() -> None:
    """Pruned and failed trials have no model."""

    def trial(number: int, family: str, value: float | None) -> Trial:
        return Trial(number, {"training.model.kind": family}, "pruned" if value is None else "complete", value, (), 1.0, 1.0)

    found = best_of_families([trial(0, "mlp", 0.5), trial(1, "linear", None), trial(2, "mlp", 0.4), trial(3, "linear", 0.6)], "minimize")

    assert {family: best.number for family, best in found.items()} == {"mlp": 2, "linear": 3}


def test_a_time_is_the_median_of_rounds_without_the_first() -> None:
    """By a clock whose steps grow: what takes turns is measured in turns, a row at a time."""
    calls: list[str] = []

    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def predict(self, rows: pa.RecordBatch) -> None:
            calls.append(self.name)

    ticks = (float(number * number) for number in count())
    models = {name: cast("Predictor", Model(name)) for name in ("a", "b")}
    found = speeds(models, pa.record_batch({"x": [1.0, 2.0]}), clock=lambda: next(ticks))

    assert calls == ["a", "b"] * 8
    # Call k runs from tick 2k to 2k + 1: 4k + 1 seconds. Of rounds 1 to 7 the middle one is the fourth, with calls 8 and 9.
    assert found == {"a": 33e6 / 2, "b": 37e6 / 2}
