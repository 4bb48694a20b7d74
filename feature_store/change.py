"""How two declarations of one table and version differ: what is added, what is taken away, and what gets another meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from feature_store.expressions import columns_of
from feature_store.table import FeatureTable, meaning_of
from feature_store.transform import Derived

__all__ = ["Change", "change_of"]

# What is compared piece by piece below; every other field has a meaning as a whole.
_IN_PIECES = frozenset({"features", "aggregates", "transform", "keys"})


@dataclass(frozen=True)
class Change:
    """What a new declaration does to a table.

    Args:
        added: Features that were not there.
        removed: Features that are no longer there.
        retyped: Features of another type, in words.
        keys: The change of the entity's keys, in words; empty where there is none.
        meaning: Fields that give values another meaning, in words.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retyped: tuple[tuple[str, str], ...] = ()
    keys: str = ""
    meaning: tuple[str, ...] = ()

    @property
    def takes_away(self) -> bool:
        """Whether somebody who reads the table may miss something."""
        return bool(self.removed or self.retyped or self.keys)

    @property
    def touched(self) -> frozenset[str] | None:
        """Columns that readers may miss; None: every row is another one."""
        return None if self.keys else frozenset((*self.removed, *(name for name, _ in self.retyped)))

    @property
    def words(self) -> tuple[str, ...]:
        """What it does, a sentence each, for messages and for the record."""
        return (
            *(f"feature `{name}` added" for name in self.added),
            *(f"feature `{name}` removed" for name in self.removed),
            *(f"feature `{name}` {text}" for name, text in self.retyped),
            *((self.keys,) if self.keys else ()),
        )


def change_of(old: FeatureTable, new: FeatureTable) -> Change:
    """What a declaration changes in another of the same name and version.

    Added features bring aggregates and derived columns of their own. A derived column that something else
    reads, and every other difference, is a change of meaning: it cannot be told that values stay what they were.
    """
    before, after = meaning_of(old.definition), meaning_of(new.definition)
    whole = {name for name in (*before, *after) if name not in _IN_PIECES}
    meaning = [_differs(name, before.get(name), after.get(name)) for name in sorted(whole) if before.get(name) != after.get(name)]
    ours, theirs = ({item["name"]: item for item in document["features"]} for document in (before, after))
    common = [name for name in ours if name in theirs]
    meaning += [
        _differs(f"unit of {name}", ours[name]["unit"], theirs[name]["unit"]) for name in common if ours[name]["unit"] != theirs[name]["unit"]
    ]
    meaning += _aggregates(old, new)
    if before["transform"] != after["transform"] and not _only_adds_or_drops(old, new, common):
        meaning.append(_differs("transform", before["transform"], after["transform"]))
    return Change(
        tuple(name for name in theirs if name not in ours),
        tuple(name for name in ours if name not in theirs),
        tuple((name, f"was {ours[name]['type']} and is {theirs[name]['type']}") for name in common if ours[name]["type"] != theirs[name]["type"]),
        _differs("keys", before["keys"], after["keys"]) if before["keys"] != after["keys"] else "",
        tuple(meaning),
    )


def _aggregates(old: FeatureTable, new: FeatureTable) -> list[str]:
    """Features that stay while their window does not."""
    before, after = ({item.output: item for item in table.aggregates} for table in (old, new))
    return [f"the aggregate of `{name}` was {before[name]} and is {item}" for name, item in after.items() if name in before and before[name] != item]


def _only_adds_or_drops(old: FeatureTable, new: FeatureTable, common: Sequence[str]) -> bool:
    """Whether derived columns came or went that nothing else reads."""
    before, after = _derived(old), _derived(new)
    if before is None or after is None or before.where != after.where:
        return False
    stay = [pair for pair in before.pairs if pair in after.pairs]
    if [pair for pair in after.pairs if pair in stay] != stay:
        return False
    differing = {name.lower() for name, _ in {*before.pairs, *after.pairs} - set(stay)}
    return not differing & {name.lower() for name in _read(old, new, stay, common)}


def _derived(table: FeatureTable) -> Derived | None:
    if table.transform is None:
        return Derived()
    return table.transform if isinstance(table.transform, Derived) else None


def _read(old: FeatureTable, new: FeatureTable, stay: Iterable[tuple[str, str]], common: Sequence[str]) -> set[str]:
    """Columns that something reads which is there before and after."""
    derived = _derived(old)
    read = {*old.keys, *new.keys, old.event_time, *(old.row_id or ()), *((old.known_time,) if isinstance(old.known_time, str) else ())}
    read |= {column for _, expression in stay for column in columns_of(expression)}
    read |= set(columns_of(derived.where)) if derived is not None and derived.where else set()
    if not old.aggregates:
        return read | set(common)
    for item in old.aggregates:
        if item in new.aggregates:
            read |= {item.column} if item.column else set()
            read |= set(columns_of(item.where)) if isinstance(item.where, str) else set()
    return read


def _differs(name: str, old: Any, new: Any) -> str:
    return f"{name} was {json.dumps(old)} and is {json.dumps(new)}"
