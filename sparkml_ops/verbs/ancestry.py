"""Which trainings a model comes from, by the ledger: its own, and those that it went on from."""

from __future__ import annotations

from pydantic import TypeAdapter

from sparkml_ops.records import TrainingResult
from sparkml_ops.verbs.work import Work

__all__ = ["Ancestry"]


class Ancestry:
    """The trainings that the ledger knows, and which of them made which version.

    Args:
        work: Whose ledger.
        also: A training that may not stand there yet.
    """

    def __init__(self, work: Work, *also: TrainingResult) -> None:
        finished = [TypeAdapter(TrainingResult).validate_python(run.record) for run in work.ledger.runs({"verb": "train"})]
        self._results = {result.run_id: result for result in (*finished, *also)}
        registered = work.ledger.runs({"verb": "register"})
        self._made = {(run.record["name"], int(run.record["version"])): run.key.window for run in registered}

    def of(self, run_id: str) -> tuple[TrainingResult, ...] | None:
        """The training of a run and those before it, the newest first; None where one of them is not in the ledger."""
        found: list[TrainingResult] = []
        while result := self._results.get(run_id):
            found.append(result)
            if result.warm_start is None:
                return tuple(found)
            run_id = self._made.get((result.warm_start.name, result.warm_start.version), "")
        return None
