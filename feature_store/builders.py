"""A team's own functions, found by the name of a standard entry point of its wheel."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["GROUP", "find_builder", "known_builders"]

GROUP = "feature_store.builders"


def known_builders() -> tuple[str, ...]:
    """Names of all installed builders, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def find_builder(name: str) -> Callable[..., Any]:
    """The function behind an installed entry point.

    Only what an installed distribution declares is imported, never a path from configuration.

    Args:
        name: Name of an entry point of the group `feature_store.builders`.

    Raises:
        ContractError: No such entry point, two of one name, or it is no function.
    """
    points = {_place(point): point for point in entry_points(group=GROUP) if point.name == name}
    known = known_builders()
    if not points:
        listed = ", ".join(f"`{item}`" for item in known) or "none is installed"
        raise ContractError(
            f"the builder `{name}`{did_you_mean(name, known)}",
            expected=f"an entry point of group {GROUP}: {listed}",
            mend="install the wheel that declares it, or correct the name",
        )
    if len(points) > 1:
        raise ContractError(f"the builder `{name}` in {sorted(points)}", expected="one distribution that declares it", mend="rename one of them")
    builder = next(iter(points.values())).load()
    if not callable(builder):
        raise ContractError(f"the builder `{name}`, a {type(builder).__name__}", expected="a function", mend="correct the entry point")
    return builder  # type: ignore[no-any-return]


def _place(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'unknown'}: {point.value}"
