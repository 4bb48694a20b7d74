"""The search: trials begun, judged after each epoch, and finished, until there are enough or the time is over."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import TuningSection, with_values
from sparkml_ops.training.checkpoint import Checkpoints, Epoch, Progress, best_epoch
from sparkml_ops.training.launch import RankFailed
from sparkml_ops.training.loop import NotFiniteError, TrainingTask
from sparkml_ops.training.run import RunLog, measures
from sparkml_ops.training.tuning.runners import Runner
from sparkml_ops.training.tuning.sampling import Sampling
from sparkml_ops.training.tuning.trial import StudyFolder, Trial, figure
from sparkml_ops.training.tuning.verdict import Asking, answering

__all__ = ["Search", "TrialLog"]

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 60.0
#: A model too large for its memory: the kernel ends its rank, or it does nothing but swap.
_OF_SIZE = {"died", "hung"}


class TrialLog(RunLog, Protocol):
    """Where the numbers of one trial go."""

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """End it."""


@dataclass
class Search:
    """A study under way; made anew at each start.

    Args:
        study: Its objects.
        training: What a trial starts from.
        tuning: Space, sampler, pruner, budget.
        prepare: Makes the task of a trial from its settings, the folder of its checkpoints and what it asks after an epoch.
        runner: Trains a trial.
        open_log: Gives the log of a trial by its number.
        say: Called with all finished trials after each.
        clock: Seconds; for the budget.
    """

    study: StudyFolder
    training: TrainingSection
    tuning: TuningSection
    prepare: Callable[[TrainingSection, str, Asking | None], TrainingTask]
    runner: Runner
    open_log: Callable[[int], TrialLog]
    say: Callable[[tuple[Trial, ...]], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _broken: threading.Event = field(default_factory=threading.Event, init=False)
    _cut: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        finished, begun = self.study.read()
        self.finished = {trial.number: trial for trial in finished}
        self._begun = deque(begun.items())
        self._next = max((*self.finished, *begun), default=-1) + 1
        self._before = max((trial.elapsed for trial in finished), default=0.0)
        self._started = self.clock()
        epochs = max(_most_epochs(self.training, self.tuning))
        self.sampling = Sampling(self.tuning, epochs=epochs, finished=finished, name=self.study.folder)

    def run(self) -> tuple[Trial, ...]:
        """Go on until the budget is used; all finished trials, in order.

        Raises:
            OpsError: A training ended by something that its values do not explain; started again, the study goes on there.
        """
        if self.tuning.parallel == 1:
            self._work()
        else:
            self._work_side_by_side()
        return tuple(trial for _, trial in sorted(self.finished.items()))

    def _work(self) -> None:
        while (begun := self._begin()) is not None:
            self._finish(self._train(*begun))

    def _work_side_by_side(self) -> None:
        with ThreadPoolExecutor(self.tuning.parallel, thread_name_prefix="trial") as pool:
            workers = [pool.submit(self._work) for _ in range(self.tuning.parallel)]
            try:
                # Of several faults the first is the cause: the others come of its interruption.
                for worker in as_completed(workers):
                    worker.result()
            except BaseException:
                self._broken.set()
                self.runner.interrupt()
                raise

    def _begin(self) -> tuple[int, dict[str, Any]] | None:
        """The next trial; one that was cut off comes first."""
        with self._lock:
            if self._broken.is_set() or self._is_over():
                return None
            if self._begun:
                number, known = self._begun.popleft()
                return number, self.sampling.begin(number, known)
            if self._next >= self.sampling.most:
                return None
            number, self._next = self._next, self._next + 1
            params = self.sampling.begin(number)
            self.study.begin(number, params)
            return number, params

    def _train(self, number: int, params: Mapping[str, Any]) -> tuple[Trial, TrialLog]:
        started, folder = self.clock(), self.study.of(number)
        settings = with_values(self.training, params)
        with self._lock:
            log = self.open_log(number)
            log.log_params(params)
        asking = Asking(self.study.storage, folder, _PATIENCE_SECONDS) if self._asks() else None
        task = self.prepare(settings, f"{folder}/checkpoints", asking)
        reason = ""
        history: tuple[Epoch, ...] = ()
        try:
            with nullcontext() if asking is None else answering(asking, lambda history: self._judge(number, history, log)):
                history = self.runner(task, f"{self.study.folder.replace('/', '-')}-{number:05d}")
        except RankFailed as error:
            # Values can break a training by numbers, and ranks by their size; what they raise otherwise, the next trial would meet too.
            if self._broken.is_set() or (error.type != NotFiniteError.__name__ and error.kind not in _OF_SIZE):
                raise
            reason = error.message
        with self._lock:
            self._log_epochs(history, log)
        values = tuple(figure(epoch, self.tuning.metric) for epoch in history)
        pruned = asking is not None and 0 < len(history) < settings.epochs and asking.ended_at(len(history))
        value = None if reason or pruned else figure(best_epoch(history, settings.keep), self.tuning.metric)
        if not reason and not pruned and value is None:
            reason = f"no {self.tuning.metric} in the epoch that would be kept"
        state: Literal["complete", "pruned", "failed"] = "failed" if reason else "pruned" if pruned else "complete"
        if pruned and number in self._cut:
            reason = f"the study's minutes were over after {len(history)} of {settings.epochs} epochs"
        if value is not None and self.tuning.automl:
            weights = Checkpoints(self.study.storage, task.folder).weights(Progress(best_epoch(history, settings.keep).epoch + 1))
            self.study.keep_model(number, task.spec, weights)
        return Trial(number, params, state, value, values, self.clock() - started, self._elapsed(), reason), log

    def _judge(self, number: int, history: tuple[Epoch, ...], log: TrialLog) -> bool:
        with self._lock:
            self._log_epochs(history, log)
            if self._is_over() and any(trial.state == "complete" for trial in self.finished.values()):
                self._cut.add(number)
                return True
            return self.sampling.prunes(number, [figure(epoch, self.tuning.metric) for epoch in history])

    def _finish(self, ended: tuple[Trial, TrialLog]) -> None:
        trial, log = ended
        with self._lock:
            self.study.finish(trial)
            self.sampling.end(trial)
            self.finished[trial.number] = trial
            log.log_metrics({"seconds": trial.seconds} | ({} if trial.value is None else {"value": trial.value}))
            log.finish("FAILED" if trial.state == "failed" else "KILLED" if trial.state == "pruned" else "FINISHED")
            _log.info("trial %d %s: %s with %s", trial.number, trial.state, trial.reason or trial.value, json.dumps(trial.params))
            self.say(tuple(self.finished.values()))

    def _log_epochs(self, history: tuple[Epoch, ...], log: TrialLog) -> None:
        for epoch in history:
            log.log_metrics(measures(asdict(epoch)), step=epoch.epoch)

    def _asks(self) -> bool:
        """Whether a trial may be stopped early: by the pruner, or since the minutes are over."""
        return self.tuning.pruner != "none" or self.tuning.minutes is not None

    def _is_over(self) -> bool:
        return self.tuning.minutes is not None and self._elapsed() >= 60 * self.tuning.minutes

    def _elapsed(self) -> float:
        """Seconds of the study, those of earlier starts included."""
        return self._before + self.clock() - self._started


def _most_epochs(training: TrainingSection, tuning: TuningSection) -> tuple[int, ...]:
    domain = tuning.space.get("training.epochs")
    if domain is None:
        return (training.epochs,)
    return tuple(int(value) for value in domain.choices or (domain.high or 1,))
