"""Errors of this project: each says what was found, what was expected and what to do."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["ConflictError", "ContractError", "ErasedError", "OpsError", "RetryableError", "TableNotFound", "first_line"]


class OpsError(Exception):
    """Base of all errors that a user can meet.

    Args:
        found: What is there, with names (at most five examples).
        expected: What should have been there.
        mend: The next thing to do.

    >>> print(OpsError("column `dep_dely`", expected="`dep_delay`", mend="rename it in sources.yaml"))
    found column `dep_dely`; expected `dep_delay`; rename it in sources.yaml
    """

    exit_code: ClassVar[int] = 5

    def __init__(self, found: str, *, expected: str = "", mend: str = "") -> None:
        self.found, self.expected, self.mend = found, expected, mend
        parts = [f"found {found}", f"expected {expected}" if expected else "", mend]
        super().__init__("; ".join(part for part in parts if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way from a worker process, keyword arguments included."""
        return (_restore, (type(self), self.found, self.expected, self.mend))


def _restore(kind: type[OpsError], found: str, expected: str, mend: str) -> OpsError:
    return kind(found, expected=expected, mend=mend)


class ContractError(OpsError, ValueError):
    """Input or a request that breaks a promise; nothing was written (exit code 2)."""

    exit_code = 2


class TableNotFound(ContractError, LookupError):
    """A table or a version of it that is not there (exit code 2)."""


class ErasedError(ContractError):
    """Something of which rows were erased on purpose, and that is no longer what it was (exit code 2)."""


class RetryableError(OpsError):
    """The same call may succeed later: too few free slots, a store that is away (exit code 4)."""

    exit_code = 4


class ConflictError(OpsError):
    """Another writer was first; the same call may succeed when run again (exit code 4)."""

    exit_code = 4


def first_line(error: BaseException) -> str:
    r"""What a library's error says, without the stacks that some carry in their message.

    >>> first_line(ValueError("no such file\n  at line 3")), first_line(KeyError())
    ('no such file', 'no message')
    """
    return next(iter(str(error).strip().splitlines()), "no message").strip()
