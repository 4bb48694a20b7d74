"""Errors that a verb ends with, and the exit code of each."""

from __future__ import annotations

from feature_store.errors import ConflictError, ContractError, OpsError, RetryableError, TableNotFound

__all__ = ["ConfigurationError", "ConflictError", "ContractError", "GateRefused", "OpsError", "RetryableError", "TableNotFound"]


class ConfigurationError(OpsError, ValueError):
    """The configuration says something that cannot be meant (exit code 2)."""

    exit_code = 2


class GateRefused(OpsError):
    """A release gate did not pass, or had no evidence (exit code 3)."""

    exit_code = 3
