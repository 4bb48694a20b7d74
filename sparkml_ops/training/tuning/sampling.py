"""Which values the next trial tries, and whether a running one goes on: Optuna on a study that lives in memory only.

At each start the study lives through the finished trials again. What is random is drawn for each trial from (seed, number of the trial) and not
from a stream, so a study that was killed draws what it would have drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from sparkml_ops.config.tuning import FAMILY, Domain, TuningSection, encode, number_type
from sparkml_ops.training.tuning.trial import Trial

__all__ = ["Sampling"]

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Sampling:
    """The study of a search.

    Args:
        tuning: Space, sampler, pruner.
        epochs: Most epochs of a trial.
        finished: Trials of earlier starts, in order.
        name: Of the study; decides its brackets of hyperband.
    """

    def __init__(self, tuning: TuningSection, *, epochs: int, finished: Sequence[Trial], name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._tuning = tuning
        self._distributions = {key: _distribution(key, domain) for key, domain in tuning.searched.items()}
        # This sampler is only there while known values are handed in: `begin` sets one for each trial that is drawn.
        idle, pruner = optuna.samplers.RandomSampler(seed=0), _pruner(tuning, epochs)
        self._study = optuna.create_study(study_name=name, direction=tuning.direction, sampler=idle, pruner=pruner)
        self._open: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}
        self._pruned: dict[int, bool] = {}
        for trial in finished:
            # Lived through again: a pruner keeps notes of its own on trials, which the values alone do not bring back.
            self.begin(trial.number, trial.params)
            self.end(trial)

    @property
    def most(self) -> int:
        """Most trials: a grid has an end of its own."""
        return min(self._tuning.trials, len(self._grid())) if self._tuning.sampler == "grid" else self._tuning.trials

    def begin(self, number: int, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a trial tries; `known` where it was drawn at an earlier start."""
        if known is None and self._tuning.sampler == "grid":
            grid = self._grid()
            known = grid[int(np.random.default_rng(self._tuning.seed).permutation(len(grid))[number])]
        if known is None:
            self._study.sampler = self._sampler(number)
            if self._tuning.automl and number < len(self._tuning.families):
                known = {FAMILY: self._tuning.families[number]}  # each has a trial; its other values are drawn
        if known is not None:
            self._study.enqueue_trial(self._encoded(known))
        trial = self._study.ask(self._distributions)
        self._open[number], self._reported[number], self._pruned[number] = trial, 0, False
        return {key: json.loads(value) if self._tuning.searched[key].choices is not None else value for key, value in trial.params.items()}

    def prunes(self, number: int, values: Sequence[float | None]) -> bool:
        """Whether a trial ends after these values of its epochs."""
        trial, first = self._open[number], self._reported[number]
        self._reported[number] = len(values)
        for step, value in enumerate(values[first:], first):
            if value is not None:
                trial.report(value, step)
                self._pruned[number] = bool(trial.should_prune())
        return self._pruned[number]

    def end(self, trial: Trial) -> None:
        """Take in how a trial ended."""
        self.prunes(trial.number, trial.epochs)
        running = self._open.pop(trial.number)
        if trial.state == "complete":
            self._study.tell(running, trial.value)
        else:
            self._study.tell(running, state=_STATES[trial.state])

    def importances(self) -> dict[str, float]:
        """Share of each key in how much the metric varies, by functional ANOVA on a forest; empty where there is too little to tell."""
        complete = [trial for trial in self._study.trials if trial.state == TrialState.COMPLETE]
        varied = [key for key in self._distributions if len({trial.params[key] for trial in complete}) > 1]
        if len({trial.value for trial in complete}) < 2 or not varied:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._tuning.seed)
        return {key: float(share) for key, share in optuna.importance.get_param_importances(self._study, evaluator=evaluator, params=varied).items()}

    def _encoded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: encode(value) if self._tuning.searched[key].choices is not None else value for key, value in params.items()}

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence((self._tuning.seed, number)).generate_state(1)[0])
        if self._tuning.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)

    def _grid(self) -> list[dict[str, Any]]:
        choices = {key: domain.choices or () for key, domain in self._tuning.searched.items()}
        return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def _distribution(key: str, domain: Domain) -> BaseDistribution:
    if domain.choices is not None:
        return CategoricalDistribution([encode(value) for value in domain.choices])
    assert domain.low is not None and domain.high is not None  # noqa: PT018 - the section checks both
    if number_type(key) is int:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _pruner(tuning: TuningSection, epochs: int) -> optuna.pruners.BasePruner:
    if tuning.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=tuning.spared_trials, n_warmup_steps=tuning.spared_epochs)
    if tuning.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=epochs)
    return optuna.pruners.NopPruner()
