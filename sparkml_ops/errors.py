"""Errors that a verb ends with, and the exit code of each."""

from __future__ import annotations

import re

from feature_store.errors import ConflictError, ContractError, OpsError, RetryableError, TableNotFound, first_line

__all__ = [
    "ConfigurationError",
    "ConflictError",
    "ContractError",
    "GateRefused",
    "OpsError",
    "RetryableError",
    "TableNotFound",
    "first_line",
    "with_project",
]

_COMMAND = re.compile(r"`(sparkml-ops (?!init\b)[^`]*)`")


class ConfigurationError(OpsError, ValueError):
    """The configuration says something that cannot be meant (exit code 2)."""

    exit_code = 2


class GateRefused(OpsError):
    """A release gate did not pass, or had no evidence (exit code 3)."""

    exit_code = 3


def with_project(mend: str, project: str) -> str:
    """A mend whose commands name the project: most rooms that raise errors do not know it.

    >>> with_project("see `sparkml-ops runs list`, or run `sparkml-ops train --project shop`", "shop")
    'see `sparkml-ops runs list --project shop`, or run `sparkml-ops train --project shop`'
    """
    return _COMMAND.sub(lambda found: found[0] if "--project" in found[0] else f"`{found[1]} --project {project}`", mend)
