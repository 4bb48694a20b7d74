"""The picture of a search, and the importances that it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from sparkml_ops.config.tuning import TuningSection
from sparkml_ops.training.tuning.pictures import draw_search
from sparkml_ops.training.tuning.sampling import Sampling
from sparkml_ops.training.tuning.trial import Trial

TUNING = TuningSection(
    sampler="random",
    space={
        "training.optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True},
        "training.model.hidden": {"choices": [[16], [64, 32]]},
        "training.model.dropout": {"low": 0, "high": 0.5, "step": 0.1},
        "training.epochs": {"low": 2, "high": 8},
    },
)


def searched(count: int) -> tuple[list[Trial], Sampling]:
    """Trials whose loss follows the rate alone, but for a little of the dropout; one in five is stopped early."""
    sampling, trials = Sampling(TUNING, epochs=8, finished=(), name="s"), []
    for number in range(count):
        params = sampling.begin(number)
        loss = 0.4 + 0.05 * (np.log10(params["training.optimizer.lr"]) + 2) ** 2 + 0.002 * params["training.model.dropout"]
        pruned = number % 5 == 4
        trials.append(
            Trial(number, params, "pruned" if pruned else "complete", None if pruned else loss, (loss + 0.1, loss)[: 1 + (not pruned)], 1.0, 1.0)
        )
        sampling.end(trials[-1])
    return trials, sampling


def test_what_matters_is_found(tmp_path: Path) -> None:
    """Losses made from the rate: it has nearly all of the importance; shares sum to one, and the picture has a place for each key."""
    trials, sampling = searched(30)
    shares = sampling.importances()
    draw_search(trials, TUNING, shares, tmp_path / "search.png")
    image = imread(tmp_path / "search.png")

    assert set(shares) == TUNING.space.keys()
    assert shares["training.optimizer.lr"] > 0.8
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert image.shape[0] < image.shape[1]
    assert image.std() > 0.05


def test_too_few_trials_tell_nothing(tmp_path: Path) -> None:
    """One complete trial: no importances, and a picture all the same."""
    trials, sampling = searched(1)
    draw_search(trials, TUNING, sampling.importances(), tmp_path / "search.png")

    assert sampling.importances() == {}
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
