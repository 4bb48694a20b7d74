"""A finished run of the ledger: the one that was named, or the newest of a verb where none was."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from pydantic import TypeAdapter

from sparkml_ops import clock
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.verbs.work import Work

__all__ = ["find_run", "newest"]

R = TypeVar("R")


def newest(work: Work, verb: str, kind: type[R], as_of: datetime | str | None = None) -> R:
    """The record of the verb's run that finished last in this project.

    Args:
        as_of: What ran as of a later time is not known yet; None: whatever there is.

    Raises:
        ContractError: The verb has not run yet.
    """
    known = None if as_of is None else clock.resolve(as_of)
    finished = work.ledger.newest(verb, work.config.project, known)
    if finished is None:
        raise ContractError(
            f"no finished `{verb}` of project {work.config.project}{'' if known is None else f' as of {known.isoformat()} or before'}",
            expected="one in the ledger",
            mend=f"run `sparkml-ops {verb} --project {work.config.project}`",
        )
    return TypeAdapter(kind).validate_python(finished.record)


def find_run(work: Work, text: str, *, verb: str | None = None) -> FinishedRun:
    """A finished run of the project, by its id, that of its MLflow run, the beginning of one of them, or its key.

    Args:
        verb: Whose runs; None: all verbs'.

    Raises:
        ContractError: None, or several.
    """
    runs = work.ledger.runs({"project": work.config.project, **({} if verb is None else {"verb": verb})})
    found = [run for run in runs if run.key.text == text or any(name.startswith(text) for name in (run.run_id, _mlflow_run(run, verb)) if name)]
    if len(found) != 1:
        near = ", ".join(run.run_id[:8] for run in runs[-5:])
        raise ContractError(
            f"{len(found)} runs{'' if verb is None else f' of {verb}'} whose id begins with {text!r}",
            expected="one",
            mend=f"the newest are {near}: see `sparkml-ops runs list`" if near else "run the verb first: the ledger has none of it yet",
        )
    return found[0]


def _mlflow_run(run: FinishedRun, verb: str | None) -> str:
    """Of a training: records of other verbs may name the MLflow run of one too, and would be found beside it."""
    return str(run.record["run_id"]) if verb == "train" else ""
