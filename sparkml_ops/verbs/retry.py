"""`runs retry`: the work of a run once more, under the next generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from sparkml_ops import clock
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.records import ModelVersion, TrainingResult, TrainingSet
from sparkml_ops.retraining.lease import leases
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import drift, monitor, register, reproduce, retrain, score, train, training_set, tune
from sparkml_ops.verbs.newest import find_run
from sparkml_ops.verbs.outcome import Outcome, Plan, generation
from sparkml_ops.verbs.work import Work

__all__ = ["Retry", "find_work"]


@dataclass(frozen=True)
class Retry:
    """Work that is to be done once more.

    Args:
        key: What will be entered in the ledger.
        previous: The finished run that it repeats; None where there is none, and the same work is done.
        as_of: Its clock: of the run that it repeats, unless another was given.
    """

    key: RunKey
    previous: FinishedRun | None
    as_of: datetime
    _options: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What it will do, in one sentence."""
        since = "no run of it has finished" if self.previous is None else f"after run {self.previous.run_id[:8]}, generation {self._generation}"
        return f"{self.key.text} as of {self.as_of.isoformat(timespec='seconds')} ({since})"

    @property
    def _generation(self) -> int:
        return 0 if self.previous is None else self.previous.key.generation

    def perform(self, work: Work) -> Outcome[Any]:
        """Run the verb and say how it ended."""
        call: Callable[..., Outcome[Any]] = _VERBS[self.key.verb][0]
        return call(work, as_of=self.as_of, **self._options)

    def plan(self, work: Work) -> Plan:
        """What the verb would read and write."""
        call: Callable[..., Plan] = _VERBS[self.key.verb][1]
        return call(work, as_of=self.as_of, **self._options)


def find_work(work: Work, text: str, *, as_of: datetime | str | None = None) -> Retry:
    """The work to do once more.

    Finished work gets the next generation and the clock of its run; work that failed or was killed has no entry in the
    ledger and is named by its key, as the log and `--plan` show it.

    Args:
        text: Run id, its beginning, or a key: `score/flights/flight_scores/2013-07/champion/0`.
        as_of: Another clock.

    Raises:
        ContractError: No such run, or a verb that has no generations.
    """
    previous = work.ledger.find(_parse(work, text)) if "/" in text else find_run(work, text)
    key = _parse(work, text) if previous is None else generation(work, previous.key, "next")
    if key.verb not in _VERBS:
        raise ContractError(
            f"{key.verb}, which has no generations",
            expected=f"one of {', '.join(_VERBS)}",
            mend=f"run `sparkml-ops {key.verb} --project {key.project}`: it looks each time at what there is now",
        )
    options = _VERBS[key.verb][2](work, key, previous)
    return Retry(key, previous, _clock(work, key, previous, as_of), options)


def _clock(work: Work, key: RunKey, previous: FinishedRun | None, as_of: datetime | str | None) -> datetime:
    if as_of is None and previous is not None:
        return previous.as_of
    if as_of is None and key.verb == "retrain":
        # A retraining that was cut off goes on by the decision that it had taken, at its clock.
        begun = [lease for lease in leases(work.tables, work.config.project) if lease.key == key.text]
        return begun[-1].as_of if begun else clock.resolve(None)
    return clock.resolve(as_of)


def _parse(work: Work, text: str) -> RunKey:
    parts = text.split("/")
    if len(parts) != 6 or parts[1] != work.config.project or not parts[5].isdecimal():
        raise ContractError(
            f"the run key {text!r}",
            expected=f"verb/{work.config.project}/target/window/slot/generation, with - for what there is none of",
            mend="copy it from the log, or from `sparkml-ops runs show`",
        )
    verb, project, target, window, slot = ("" if part == "-" else part for part in parts[:5])
    return RunKey(verb, project, target, window, slot, int(parts[5]))


def _window(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    return {"window": key.window, "slot": key.slot, "generation": key.generation}


def _decision(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    asked = previous is not None and bool(previous.record["evidence"].get("on_demand"))
    return {"window": key.window, "on_demand": asked, "generation": key.generation}


def _rows(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    since, _, until = key.window.rpartition("..")
    replay = float(key.slot.removeprefix("replay-")) if key.slot else 0.0
    return {"until": until, "since": since or None, "replay": replay, "generation": key.generation}


def _training(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    made = _record(work, "training-set", "id", key.target)
    options = {"training_set": TypeAdapter(TrainingSet).validate_python(made), "generation": key.generation}
    return options | {"warm_start": _version(work, key.slot), "stateful": key.slot.startswith("stateful-")}


def _search(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    made = _record(work, "training-set", "id", key.target)
    return {"training_set": TypeAdapter(TrainingSet).validate_python(made), "generation": key.generation}


def _version(work: Work, slot: str) -> ModelVersion | None:
    """The version that a training went on from: its key has it as `warm-<model>-<version>`, or `stateful-…`."""
    if not slot:
        return None
    model, _, version = slot.partition("-")[2].rpartition("-")
    return work.tracking.resolve(model, int(version)).record


def _reproduction(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    return {"run": key.target, "generation": key.generation}


def _registration(work: Work, key: RunKey, previous: FinishedRun | None) -> dict[str, Any]:
    result = TypeAdapter(TrainingResult).validate_python(_record(work, "train", "run_id", key.window))
    return {"result": result, "generation": key.generation}


def _record(work: Work, verb: str, field: str, value: str) -> Mapping[str, Any]:
    """The record of an earlier verb that a key points to."""
    runs = work.ledger.runs({"verb": verb, "project": work.config.project})
    found = next((run.record for run in reversed(runs) if run.record[field] == value), None)
    if found is None:
        raise ContractError(f"no finished `{verb}` with {field} {value}", expected="what this work is about", mend=f"run `sparkml-ops {verb}` first")
    return found


_Options = Callable[[Work, RunKey, FinishedRun | None], dict[str, Any]]
_VERBS: dict[str, tuple[Callable[..., Outcome[Any]], Callable[..., Plan], _Options]] = {
    "training-set": (training_set.perform, training_set.plan, _rows),
    "train": (train.perform, train.plan, _training),
    "reproduce": (reproduce.perform, reproduce.plan, _reproduction),
    "tune": (tune.perform, tune.plan, _search),
    "register": (register.perform, register.plan, _registration),
    "score": (score.perform, score.plan, _window),
    "drift": (drift.perform, drift.plan, _window),
    "monitor": (monitor.perform, monitor.plan, _window),
    "retrain": (retrain.perform, retrain.plan, _decision),
}
