from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

from sparkml_ops.training.checkpoint import Epoch
from sparkml_ops.training.curve import draw_curve


@pytest.mark.parametrize("losses", [(0.5, 0.4, 0.45), (None, None, None)])
def test_the_curve_is_a_picture(tmp_path: Path, losses: tuple[float | None, ...]) -> None:
    """With validation rows and without."""
    history = tuple(Epoch(index, 0.5 - index / 10, loss, loss, 1.0, 0.0, 0.0, 0.0) for index, loss in enumerate(losses))
    draw_curve(history, history[1], tmp_path / "curve.png")
    picture = imread(tmp_path / "curve.png")

    assert picture.shape[:2] == (400, 700)
    assert picture.std() > 0.05
