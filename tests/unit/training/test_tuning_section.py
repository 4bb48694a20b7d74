from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from tiny_project import Place

from sparkml_ops.config.load import load
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import TuningSection, check_space, with_values
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.training.checkpoint import Epoch

LR = {"low": 1e-4, "high": 0.1, "log": True}


def space(**domains: Any) -> TuningSection:
    return TuningSection(space={f"training.{key.replace('__', '.')}": domain for key, domain in domains.items()})


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ({}, "neither choices nor both"),
        ({"low": 1.0}, "neither choices nor both"),
        ({"low": 2.0, "high": 1.0}, "not below"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low above 0"),
        ({"low": 1.0, "high": 9.0, "log": True, "step": 1.0}, "no step"),
        ({"choices": [1, 2], "low": 1}, "not both"),
        ({"choices": [[32], [32]]}, "twice"),
        ({"choices": []}, "at least 1"),
        ({"lows": 1.0, "high": 2.0}, "Extra inputs"),
    ],
)
def test_a_domain_is_a_range_or_a_list(domain: dict[str, Any], found: str) -> None:
    """Nothing between, nothing empty."""
    with pytest.raises(ValidationError, match=found):
        space(optimizer__lr=domain)


@pytest.mark.parametrize(
    ("domains", "found"),
    [
        ({"optimiser__lr": LR}, r"training.optimiser.lr: no key of training \(did you mean `training.optimizer.lr`"),
        ({"model__dropout": {"low": 0.0, "high": 1.0}}, "training.model.dropout=1.0 is no valid training: Input should be less than 1"),
        ({"optimizer__momentum": {"low": 0.1, "high": 0.9}}, "momentum has no meaning with kind adamw"),
        ({"optimizer__kind": {"choices": ["adamw", "adam"]}}, "training.optimizer.kind='adam' is no valid training"),
        ({"model__hidden": {"low": 16, "high": 64}}, "takes no single number"),
        ({"model__embedding": {"low": 1.5, "high": 4}}, "integers"),
        ({"workers": {"choices": [1, 2]}}, "training.workers: it changes how a training runs"),
        ({"device": {"choices": ["cpu", "gpu"]}}, "training.device: it changes how a training runs"),
        ({"seed": {"low": 1, "high": 9}}, "training.seed: trials that differ in it cannot be compared"),
        # Each end is valid alone, both together are not.
        (
            {"optimizer__schedule": {"choices": ["step", "cosine"]}, "optimizer__factor": {"choices": [0.1, 0.5]}},
            "training.optimizer.factor=0.1 is no valid training",
        ),
    ],
)
def test_a_space_with_an_invalid_corner_is_refused_with_its_key(domains: dict[str, Any], found: str) -> None:
    """Every end of every key is tried on the closed section, alone and together with the others'."""
    with pytest.raises(ValueError, match=found):
        check_space(TrainingSection(), space(**domains).space)


def test_two_keys_that_exclude_each_other_are_found_in_a_large_space() -> None:
    """Too many corners to try all: each pair is tried."""
    training = with_values(TrainingSection(), {"training.optimizer.schedule": "step"})
    numbers = {f"optimizer__{name}": {"choices": [0.1, 0.2, 0.3, 0.4, 0.5]} for name in ("lr", "weight_decay", "clip_norm", "factor")}
    large = space(**numbers, model__dropout={"choices": [0.0, 0.1]}, optimizer__schedule={"choices": ["step", "constant"]})

    with pytest.raises(ValueError, match=r"factor=0.1, training.optimizer.schedule='constant' is no valid training"):
        check_space(training, large.space)


def test_values_lie_over_what_was_set_and_not_over_defaults() -> None:
    """What nobody set stays unset: sgd with a momentum is valid over a section that never named one."""
    found = with_values(TrainingSection(optimizer={"kind": "sgd"}), {"training.optimizer.momentum": 0.5, "training.model.hidden": [8]})

    assert (found.optimizer.kind, found.optimizer.momentum, found.model.hidden) == ("sgd", 0.5, (8,))


def test_a_project_says_where_the_fault_stands(tmp_path: Path) -> None:
    """A file, or the option: a path of maps is the dotted key, with a did-you-mean for a key of the section."""
    conf = Place(tmp_path / "p").folder / "conf"
    overrides = ["tuning.space.training.optimizer.lr.low=0.001", "tuning.space.training.optimizer.lr.high=0.1", "tuning.trials=3"]

    assert load(conf, "tiny", overrides=overrides).sections.tuning.space["training.optimizer.lr"].high == 0.1
    with pytest.raises(ConfigurationError, match=r"unknown key --set tuning.trails: tuning.trails \(did you mean `trials`"):
        load(conf, "tiny", overrides=["tuning.trails=3"])
    with pytest.raises(ConfigurationError, match=r"automl with training\.task regression"):
        load(conf, "tiny", overrides=["tuning.automl=true", "training.task=regression"])
    sites = ["training.sites=true", "training.collectives.local_steps=2", "training_set.site=origin"]
    assert load(conf, "tiny", overrides=sites).sections.training.sites
    with pytest.raises(ConfigurationError, match=r"training\.sites without training_set\.site"):
        load(conf, "tiny", overrides=sites[:2])
    for tuned, found in (("automl=true", "automl"), ("parallel=2", "parallel=2")):
        with pytest.raises(ConfigurationError, match=f"{found} with training.sites: rows of all sites would be read in one place"):
            load(conf, "tiny", overrides=[*sites, f"tuning.{tuned}"])
    with pytest.raises(ConfigurationError, match=r"tuning.*training.epochs=0.0 is no valid training"):
        load(conf, "tiny", overrides=["tuning.space.training.epochs.low=0", "tuning.space.training.epochs.high=3"])
    with pytest.raises(ConfigurationError, match=r"sampler grid with a range of training\.optimizer\.lr"):
        load(conf, "tiny", overrides=[*overrides, "tuning.sampler=grid"])


def test_the_metrics_are_those_that_training_measures() -> None:
    """The configuration knows no torch: its list is kept equal here."""
    assert set(get_args(TuningSection.model_fields["metric"].annotation)) == {
        item.name for item in fields(Epoch) if item.name.startswith("validation_")
    }


def test_automl_searches_the_family_first() -> None:
    """Before the keys of the space, each family with a trial of its own; a family that training does not know is refused."""
    searching = TuningSection(automl=True, space={"training.optimizer.lr": LR})

    assert list(searching.searched) == ["training.model.kind", "training.optimizer.lr"]
    assert list(TuningSection(automl=True).searched) == ["training.model.kind"]
    with pytest.raises(ValidationError, match="1 trials of 2 families"):
        TuningSection(automl=True, trials=1)
    with pytest.raises(ValidationError, match="name them in families"):
        TuningSection(automl=True, space={"training.model.kind": {"choices": ["mlp"]}})
    with pytest.raises(ValueError, match=r"training.model.kind='forest' is no valid training"):
        check_space(TrainingSection(), TuningSection(automl=True, families=("linear", "forest")).searched)
