from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

from sparkml_ops.performance.decisions import Bin, Confusion
from sparkml_ops.training.checkpoint import Epoch
from sparkml_ops.training.pictures import draw_confusion, draw_curve, draw_reliability


@pytest.mark.parametrize("losses", [(0.5, 0.4, 0.45), (None, None, None)])
def test_the_curve_is_a_picture(tmp_path: Path, losses: tuple[float | None, ...]) -> None:
    """With validation rows and without."""
    history = tuple(Epoch(index, 0.5 - index / 10, loss, loss, 1.0, 0.0, 0.0, 0.0) for index, loss in enumerate(losses))
    draw_curve(history, history[1], tmp_path / "curve.png")
    picture = imread(tmp_path / "curve.png")

    assert picture.shape[:2] == (400, 700)
    assert picture.std() > 0.05


def test_decisions_and_probabilities_are_pictures(tmp_path: Path) -> None:
    """A field without rows, and one bin alone, are drawn as well."""
    for number, found in enumerate((Confusion(50, 10, 5, 20), Confusion(3, 0, 0, 0))):
        draw_confusion(found, tmp_path / f"{number}.png")
        draw_reliability({"model": (Bin(0.1 * number, 0.2, 3),), "logistic": (Bin(0.1, 0.15, 2), Bin(0.4, 0.3, 1))}, tmp_path / f"r{number}.png")

        assert imread(tmp_path / f"{number}.png").shape[:2] == (400, 400)
        assert imread(tmp_path / f"{number}.png").std() > 0.05
        assert imread(tmp_path / f"r{number}.png").std() > 0.05
