"""The known name that a mistyped one probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar known name, or None where none is similar.

    >>> nearest("dep_dely", ["dep_delay", "arr_delay"])
    'dep_delay'
    """
    folded = {item.lower(): item for item in known}
    found = get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for an error message, empty where no name is similar.

    >>> did_you_mean("orgin", ["origin", "dest"])
    ' (did you mean `origin`?)'
    """
    found = nearest(name, known)
    return f" (did you mean `{found}`?)" if found else ""
