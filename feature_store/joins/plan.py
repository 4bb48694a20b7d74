"""Which plan an entity's lookups get, why, and with how many shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feature_store.joins.source import Source
from feature_store.joins.statistics import EntityStatistics

__all__ = ["BUCKETS", "INTERVAL", "RUNNING", "SHORT", "EntityPlan", "JoinPlan", "choose"]

RUNNING, BUCKETS, INTERVAL = "running last row", "running last row in time buckets", "interval join"
# Rows of a key up to which comparing them one by one costs less than sorting them together with the spine.
SHORT = 16


@dataclass(frozen=True)
class EntityPlan:
    """How the lookups of one entity are joined.

    Args:
        keys: The spine's key columns.
        tables: What is looked up.
        method: "running last row", "running last row in time buckets" or "interval join".
        reason: Why this one.
        shuffles: Exchanges of all rows of a side; those of a few rows are not counted.
    """

    keys: tuple[str, ...]
    tables: tuple[str, ...]
    method: str
    reason: str
    shuffles: int


@dataclass(frozen=True)
class JoinPlan:
    """The plan of a point-in-time join; its text is what people read.

    Args:
        entities: One plan for each entity, in the order in which they are joined.
    """

    entities: tuple[EntityPlan, ...]

    @property
    def shuffles(self) -> int:
        """Exchanges of all rows of a side."""
        return sum(entity.shuffles for entity in self.entities)

    def __str__(self) -> str:
        lines = [f"{len(self.entities)} {'entity' if len(self.entities) == 1 else 'entities'}, {_shuffles(self.shuffles)}"]
        for entity in self.entities:
            tables = f"{len(entity.tables)} lookups" if len(entity.tables) > 3 else ", ".join(entity.tables)
            lines.append(f"({', '.join(entity.keys)}) ← {tables}: {entity.method}, {_shuffles(entity.shuffles)}; {entity.reason}")
        return "\n".join(lines)


def choose(keys: tuple[str, ...], group: Sequence[Source], known: EntityStatistics | None) -> EntityPlan:
    """The plan of an entity.

    Args:
        known: Its rows, counted; None gives the plan that is never far from the best one.
    """
    tables = tuple(source.title for source in group)
    if known is None:
        return EntityPlan(keys, tables, RUNNING, "rows of a key not counted: linear whatever they are, one task for each key", 1)
    if known.hot:
        share = known.most_rows / max(1, known.spine_rows + known.feature_rows)
        reason = f"{len(known.hot)} hot {'key' if len(known.hot) == 1 else 'keys'}, the first with {known.most_rows:,} rows ({share:.0%}), in {sum(map(len, known.bounds)) + len(known.bounds)} tasks"
        return EntityPlan(keys, tables, BUCKETS, reason, 1)
    if known.most_feature_rows <= SHORT and not group[0].audited:
        reason = f"at most {known.most_feature_rows} rows a key; a table that Spark can broadcast is not shuffled, nor is the spine then"
        return EntityPlan(keys, tables, INTERVAL, reason, 1 + len(group))
    audit = ", which an audit looks at in order" if group[0].audited and known.most_feature_rows <= SHORT else ""
    return EntityPlan(keys, tables, RUNNING, f"up to {known.most_feature_rows:,} rows a key{audit}, no hot key", 1)


def _shuffles(number: int) -> str:
    return "1 shuffle" if number == 1 else f"{number} shuffles"
