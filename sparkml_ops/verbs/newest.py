"""The newest record of an earlier verb, for a verb that was not told which one."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter

from sparkml_ops.errors import ContractError
from sparkml_ops.verbs.work import Work

__all__ = ["newest"]

R = TypeVar("R")


def newest(work: Work, verb: str, kind: type[R]) -> R:
    """The record of the verb's run that finished last in this project.

    Raises:
        ContractError: The verb has not run yet.
    """
    finished = work.ledger.newest(verb, work.config.project)
    if finished is None:
        raise ContractError(
            f"no finished `{verb}` of project {work.config.project}",
            expected="one in the ledger",
            mend=f"run `sparkml-ops {verb} --project {work.config.project}`",
        )
    return TypeAdapter(kind).validate_python(finished.record)
