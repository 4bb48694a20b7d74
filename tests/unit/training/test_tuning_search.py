"""Studies that train for real, in this process: pruned, killed, run out of time, broken down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from training_rows import Killed, ThreadGroup, table, task, write

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import TuningSection
from sparkml_ops.errors import ContractError
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Epoch, Progress
from sparkml_ops.training.launch import RankFailed
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.tuning.runners import Launched
from sparkml_ops.training.tuning.sampling import Sampling
from sparkml_ops.training.tuning.search import Search
from sparkml_ops.training.tuning.trial import StudyFolder, Trial, best_trial
from sparkml_ops.training.tuning.verdict import Asking, answering

TRAINING = TrainingSection(backend="local", epochs=2, batch_size=200, shards=2, model={"hidden": (8, 4)})
SPACE = {"training.optimizer.lr": {"low": 1e-3, "high": 0.1, "log": True}, "training.optimizer.weight_decay": {"low": 0.0, "high": 0.1}}
#: A rate that learns beside one that does not: with the second the loss stays where chance puts it.
GRID = {"training.optimizer.lr": {"choices": [0.02, 1e-9]}, "training.optimizer.weight_decay": {"choices": [0.0, 1e-4]}}


@dataclass
class Notes:
    """The logs of trials in memory."""

    params: dict[str, Any] = field(default_factory=dict)
    steps: dict[tuple[str, int], float] = field(default_factory=dict)
    status: str = "RUNNING"

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params |= params

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.steps |= {(name, step): value for name, value in metrics.items()}

    def log_figure(self, name: str, path: Path | str) -> None:
        raise AssertionError(name)

    def finish(self, status: str = "FINISHED") -> None:
        self.status = status


@dataclass(frozen=True)
class Mortal(Storage):
    """A storage whose process ends before the n-th object of a kind, or after it."""

    kind: str = ""
    count: int = 1
    after: bool = True
    seen: list[str] = field(default_factory=list)

    def publish(self, name: str, data: bytes, *, kind: str) -> str:
        self.seen.append(kind)
        ends = self.seen.count(self.kind) == self.count and kind == self.kind
        if ends and not self.after:
            raise Killed(kind)
        address = super().publish(name, data, kind=kind)
        if ends:
            raise Killed(kind)
        return address


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    return write(tmp_path_factory.mktemp("rows") / "t", table(1001), [400], group=150)


@dataclass
class Studies:
    """Searches over the same rows in one folder."""

    scan: Scan
    root: Path
    notes: dict[int, Notes] = field(default_factory=dict)

    def search(
        self, storage: Storage | None = None, training: TrainingSection = TRAINING, clock: Callable[[], float] | None = None, **tuning: Any
    ) -> Search:
        where = storage or Storage(str(self.root))

        def prepare(settings: TrainingSection, folder: str, stop: Asking | None) -> TrainingTask:
            made = task(self.scan, where, settings)
            return TrainingTask(made.spec, made.plans, settings, where, folder, None, None, stop)

        def note(number: int) -> Notes:
            return self.notes.setdefault(number, Notes())

        section = TuningSection(**{"space": SPACE, "trials": 4, **tuning})
        given = {} if clock is None else {"clock": clock}
        return Search(StudyFolder(where, "tuning/s"), training, section, prepare, Launched(None, where), note, **given)


@pytest.fixture
def studies(scan: Scan, tmp_path: Path) -> Studies:
    return Studies(scan, tmp_path)


def shown(trials: tuple[Trial, ...]) -> list[tuple[Any, ...]]:
    """All that does not depend on the clock."""
    return [(trial.number, dict(trial.params), trial.state, trial.value, trial.epochs) for trial in trials]


def test_a_study_is_what_plain_trainings_would_be(studies: Studies, scan: Scan) -> None:
    """The value of a trial is the validation loss of its best epoch, trained with its values; its log has each epoch; nothing else is left."""
    trials = studies.search().run()

    for trial in trials:
        lr, decay = trial.params["training.optimizer.lr"], trial.params["training.optimizer.weight_decay"]
        plain = TrainingSection(**{**TRAINING.model_dump(exclude_unset=True), "optimizer": {"lr": lr, "weight_decay": decay}})
        history = Progress.from_json(ThreadGroup(1).run(task(scan, Storage(str(studies.root / f"p{trial.number}")), plain))[0]).history
        assert trial.epochs == tuple(epoch.validation_loss for epoch in history)
        assert trial.value == min(trial.epochs)
        assert studies.notes[trial.number].params == trial.params
        assert [studies.notes[trial.number].steps["validation_loss", step] for step in range(2)] == list(trial.epochs)
    assert best_trial(trials, "minimize").value == min(trial.value for trial in trials)
    assert best_trial(trials, "maximize").value == max(trial.value for trial in trials)
    left = [name for name in Storage(str(studies.root)).list("tuning") if not name.endswith(("begun.json", "finished.json"))]
    assert (left, Storage(str(studies.root)).list("training/tuning-s-00000")) == ([], [])


def test_a_pruned_trial_really_stops(studies: Studies) -> None:
    """Two that learn, two that do not: each of the latter has fewer epochs than configured, in its record, in its log and in its reports."""
    training = TRAINING.model_copy(update={"epochs": 3})
    trials = studies.search(training=training, space=GRID, sampler="grid", pruner="median", spared_trials=1, seed=4, trials=9).run()

    states = {trial.number: (trial.state, len(trial.epochs)) for trial in trials}
    idle = [trial.number for trial in trials if trial.params["training.optimizer.lr"] < 1e-6]
    assert len(trials) == 4  # the grid ends before the budget
    assert [states[number] for number in range(4) if number not in idle] == [("complete", 3)] * 2
    later = [number for number in idle if number > 0]
    assert later
    assert [states[number] for number in later] == [("pruned", 1)] * len(later)
    for number in later:
        assert ("validation_loss", 0) in studies.notes[number].steps
        assert ("validation_loss", 1) not in studies.notes[number].steps
        assert studies.notes[number].status == "KILLED"


def test_ranks_stop_in_the_same_step(scan: Scan, tmp_path: Path) -> None:
    """Rank 0 asks once an epoch, and both end; a trial started again after its answer hears the same and trains no further step."""
    storage, asked = Storage(str(tmp_path)), []
    asking = Asking(storage, "tuning/s/trials/00000", 60.0)
    made = task(scan, storage, TRAINING.model_copy(update={"epochs": 5}))
    stopping = TrainingTask(made.spec, made.plans, made.settings, storage, "tuning/s/trials/00000/checkpoints", None, None, asking)

    def decide(history: tuple[Epoch, ...]) -> bool:
        asked.append(len(history))
        return len(history) == 2

    with answering(asking, decide):
        results = ThreadGroup(2).run(stopping)
    again = ThreadGroup(2).run(stopping)

    assert asked == [1, 2]
    assert len(Progress.from_json(results[0]).history) == 2
    assert again == results
    assert (asking.ended_at(1), asking.ended_at(2), asking.ended_at(3)) == (False, True, False)


def test_a_trial_without_an_answer_goes_on(scan: Scan, tmp_path: Path) -> None:
    """Nobody answers: after its patience it trains all its epochs."""
    made, storage = task(scan, Storage(str(tmp_path)), TRAINING), Storage(str(tmp_path))
    alone = TrainingTask(made.spec, made.plans, TRAINING, storage, "f/checkpoints", None, None, Asking(storage, "f", 0.0))

    assert len(Progress.from_json(ThreadGroup(1).run(alone)[0]).history) == 2


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_killed_study_goes_on_and_repeats_nothing(studies: Studies, sampler: str) -> None:
    """Killed after a trial's beginning, inside one, before and after its end: the same trials as in one go, each finished once."""
    options: dict[str, Any] = {"sampler": sampler, "trials": 4, "pruner": "median", "spared_trials": 2, "space": GRID if sampler == "grid" else SPACE}
    unbroken = Studies(studies.scan, studies.root / "unbroken").search(**options).run()
    kills = (("trial_begun", 1, True), ("checkpoint_manifest", 1, True), ("trial_finished", 1, False), ("trial_finished", 2, True))
    broken = [Mortal(str(studies.root), kind, count, after) for kind, count, after in kills]
    for storage in broken:
        with pytest.raises((Killed, RankFailed), match=storage.kind):
            studies.search(storage, **options).run()
    last = Mortal(str(studies.root))
    trials = studies.search(last, **options).run()

    assert shown(trials) == shown(unbroken)
    assert last.seen.count("trial_finished") == 4 - 2
    assert [storage.seen.count("checkpoint_manifest") for storage in broken[:3]] == [0, 1, 1]
    again = Mortal(str(studies.root))
    assert shown(studies.search(again, **options).run()) == shown(trials)
    assert again.seen == []


def test_a_study_gets_more_trials(studies: Studies) -> None:
    """The first ones stay, and the further ones are those that a longer study would have had."""
    few = studies.search(trials=2).run()
    more = studies.search(trials=4).run()
    longer = Studies(studies.scan, studies.root / "longer").search(trials=4).run()

    assert shown(more)[:2] == shown(few)
    assert shown(more) == shown(longer)


def test_the_time_budget_counts_earlier_starts(studies: Studies) -> None:
    """A trial takes ten seconds by this clock: of one minute six fit, four in the first start, two in the second, none in the third."""
    ticks = iter(np.arange(0, 10_000, 2.5))
    clock = lambda: float(next(ticks))  # noqa: E731 - a clock in a line
    spent = [
        len(studies.search(training=TRAINING.model_copy(update={"epochs": 1}), minutes=minutes, trials=50, clock=clock).run())
        for minutes in (0.5, 1.0, 1.0)
    ]

    assert 1 < spent[0] < spent[1] < 12
    assert spent[2] == spent[1]


@dataclass
class Clock:
    """Seconds set by the test."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Late(Notes):
    """A log during whose first epoch the time runs out."""

    clock: Clock = field(default_factory=Clock)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        super().log_metrics(metrics, step)
        self.clock.now = 61.0


@pytest.mark.parametrize("late", [0, 1])
def test_minutes_end_a_running_trial(studies: Studies, late: int) -> None:
    """After its epoch, with the reason, and no further one begins; but never the one without which the study would have nothing."""
    clock = Clock()
    studies.notes[late] = Late(clock=clock)
    trials = studies.search(clock=clock, minutes=1.0, trials=9, pruner="none", training=TRAINING.model_copy(update={"epochs": 3})).run()

    assert [(trial.state, len(trial.epochs), trial.reason) for trial in trials] == [
        ("complete", 3, ""),
        ("pruned", 1, "the study's minutes were over after 1 of 3 epochs"),
    ][: late + 1]
    assert studies.notes[late].status == ("KILLED" if late else "FINISHED")
    assert best_trial(trials, "minimize").number == 0


def test_a_trial_whose_ranks_keep_dying_fails_alone(studies: Studies) -> None:
    """A model too large for its memory: the launcher's last word is its reason, and the study goes on."""
    search = studies.search(trials=3)
    runner = search.runner

    class Smothering:
        def __call__(self, task: TrainingTask, run: str) -> tuple[Epoch, ...]:
            if run.endswith("-00001"):
                raise RankFailed("3 attempts that failed", kind="died", type="SIGKILL", message="the process ended with SIGKILL")
            return runner(task, run)

        def interrupt(self) -> None:
            raise AssertionError

    search.runner = Smothering()
    trials = search.run()

    assert [(trial.state, trial.reason) for trial in trials] == [("complete", ""), ("failed", "the process ended with SIGKILL"), ("complete", "")]
    assert studies.notes[1].status == "FAILED"
    assert shown(studies.search(trials=3).run()) == shown(trials)


def test_values_that_break_a_training_fail_that_trial_alone(studies: Studies) -> None:
    """A rate without measure ends in no number: the trial is failed with the reason, the others go on; if all fail, the reasons are told."""
    trials = studies.search(space={"training.optimizer.lr": {"choices": [1e36, 0.02]}}, sampler="grid", training=TRAINING).run()
    found = {trial.params["training.optimizer.lr"]: trial for trial in trials}

    assert found[0.02].state == "complete"
    assert found[1e36].state == "failed"
    assert found[1e36].value is None
    assert found[1e36].reason
    assert studies.notes[found[1e36].number].status == "FAILED"
    with pytest.raises(ContractError, match="of which none is complete"):
        best_trial([found[1e36]], "minimize")


def test_a_fault_ends_the_study_and_is_not_hidden(studies: Studies) -> None:
    """What a trial raises for another reason than its values is no failed trial; mended, the study goes on with that trial."""
    search = studies.search()
    prepare = search.prepare

    def broken(settings: TrainingSection, folder: str, stop: Asking | None) -> TrainingTask:
        made = prepare(settings, folder, stop)
        return TrainingTask(made.spec, {}, settings, made.storage, folder)

    search.prepare = broken
    with pytest.raises(RankFailed, match="KeyError"):
        search.run()

    assert search.finished == {}
    assert shown(studies.search().run()) == shown(Studies(studies.scan, studies.root / "whole").search().run())


def test_the_pruner_is_optunas(studies: Studies) -> None:
    """Asked with the same values, a pruner of Optuna's own in one go says the same after each epoch as ours on a rebuilt study."""
    rng = np.random.default_rng(3)
    curves = rng.random((8, 4)).round(3)
    for kind, oracle in (("median", optuna.pruners.MedianPruner(n_startup_trials=2)), ("hyperband", optuna.pruners.HyperbandPruner(max_resource=4))):
        section = TuningSection(space=SPACE, pruner=kind, spared_trials=2)
        study = optuna.create_study(study_name="n", pruner=oracle, sampler=optuna.samplers.RandomSampler(0))
        done: list[Trial] = []
        for number, curve in enumerate(curves):
            theirs, ours = study.ask(), Sampling(section, epochs=4, finished=done, name="n")
            params = ours.begin(number)
            values: list[float] = []
            pruned = False
            for step, value in enumerate(curve):
                values.append(float(value))
                theirs.report(float(value), step)
                pruned = ours.prunes(number, values)
                assert pruned == theirs.should_prune()
                if pruned:
                    break
            study.tell(theirs, None if pruned else values[-1], optuna.trial.TrialState.PRUNED if pruned else None)
            done.append(Trial(number, params, "pruned" if pruned else "complete", None if pruned else values[-1], tuple(values), 1.0, 1.0))
        assert {trial.state for trial in done} == {"pruned", "complete"}


@dataclass
class Interruptible:
    """A runner of trials that wait to be interrupted, but for one that raises when the others wait."""

    others: int
    waiting: threading.Barrier = field(init=False)
    interrupted: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.waiting = threading.Barrier(self.others + 1, timeout=60)

    def __call__(self, task: TrainingTask, run: str) -> tuple[Epoch, ...]:
        self.waiting.wait()
        if run.endswith("-00001"):
            raise RankFailed("a disk that is full", type="OSError")
        assert self.interrupted.wait(60)
        raise KeyError("interrupted")

    def interrupt(self) -> None:
        self.interrupted.set()


def test_a_fault_in_one_of_several_interrupts_the_others(studies: Studies) -> None:
    """Its own error is the one that is raised, no further trial begins, and none of them counts as finished."""
    search = studies.search(parallel=3, trials=9)
    search.runner = runner = Interruptible(2)

    with pytest.raises(RankFailed, match="a disk that is full"):
        search.run()

    finished, begun = search.study.read()
    assert runner.interrupted.is_set()
    assert (finished, sorted(begun)) == ((), [0, 1, 2])
    assert search.finished == {}
