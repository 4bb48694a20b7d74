"""The one rule of merging: maps merge, lists replace, explicit null clears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Merged"]


@dataclass
class Merged:
    """Layers merged so far, and which layer each leaf came from.

    >>> merged = Merged()
    >>> merged.add({"spark": {"conf": {"a": "1"}}, "drift": {"columns": ["x", "y"]}}, "base.yaml")
    >>> merged.add({"spark": {"conf": {"b": "2"}}, "drift": {"columns": ["z"]}}, "local.yaml")
    >>> merged.values["spark"]["conf"], merged.values["drift"]["columns"], merged.origins["drift.columns"]
    ({'a': '1', 'b': '2'}, ['z'], 'local.yaml')
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Mapping[str, Any], origin: str) -> None:
        """Lay one more layer over the others."""
        self._merge(self.values, layer, origin, ())

    def origin(self, path: tuple[str, ...]) -> str:
        """The layer that last touched a key, or the nearest key above it."""
        for length in range(len(path), 0, -1):
            if found := self.origins.get(".".join(path[:length])):
                return found
        below = ".".join(path) + "."
        return next((origin for key, origin in self.origins.items() if key.startswith(below)), "default")

    def _merge(self, target: dict[str, Any], layer: Mapping[str, Any], origin: str, path: tuple[str, ...]) -> None:
        for key, value in layer.items():
            here = (*path, str(key))
            if isinstance(value, Mapping) and value:
                if not isinstance(target.get(key), dict):
                    self._forget(here)
                    target[key] = {}
                self._merge(target[key], value, origin, here)
            elif isinstance(value, Mapping) and isinstance(target.get(key), dict):
                continue  # an empty map merges nothing into the one that is there
            else:
                self._forget(here)
                target[key] = value
                self.origins[".".join(here)] = origin

    def _forget(self, path: tuple[str, ...]) -> None:
        name = ".".join(path)
        for key in [key for key in self.origins if key == name or key.startswith(f"{name}.")]:
            del self.origins[key]


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each leaf of a nested mapping with its path, in order."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, values
