"""Forgetting of an entity: delete, purge, vacuum, and the proof that nothing is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from typing import Self

from pyspark.sql import DataFrame

from feature_store.consumers import Consumer, Consumers
from feature_store.content import measure
from feature_store.delta import Purge, Tables
from feature_store.delta.folder import CHANGE, DATA, OTHER
from feature_store.erasure.entity import Entity
from feature_store.erasure.forgotten import Forgotten, Tombstone
from feature_store.erasure.prove import Evidence, proof_of, search
from feature_store.erasure.report import ErasureReport, HoldingTable
from feature_store.erasure.walk import SOURCE, TRAINING, Place, Walk
from feature_store.errors import RetryableError
from feature_store.registry import Registry
from feature_store.training_set import TrainingSets

__all__ = ["Erasure"]

# Longer than a task takes to commit what it has written.
_IDLE = timedelta(days=1)


@dataclass(frozen=True)
class Erasure:
    """The erasure of one entity from one warehouse.

    Every step asks the tables and files themselves what is left to do: killed between any two, it is run again and goes on.

    Args:
        walk: What is known of the warehouse.
        training_sets: Its training sets.
        entity: Who is forgotten.
        include_sources: Whether tables that are not the store's own are erased from too.
        idle: A file that no commit speaks of is a writer's at work while it is younger.
    """

    walk: Walk
    training_sets: TrainingSets
    entity: Entity
    include_sources: bool
    idle: timedelta

    @classmethod
    def of(
        cls,
        tables: Tables,
        registry: Registry,
        training_sets: TrainingSets,
        entity: Entity,
        *,
        roles: Mapping[str, Sequence[str]],
        include_sources: bool,
        writers_idle: bool,
    ) -> Self:
        """The erasure of an entity; options as in `FeatureStore.forget`."""
        walk = Walk(Purge.of(tables), registry.all(), training_sets.defined(), Consumers(tables).all(), roles)
        return cls(walk, training_sets, entity, include_sources, timedelta(0) if writers_idle else _IDLE)

    @property
    def purge(self) -> Purge:
        """The warehouse."""
        return self.walk.purge

    def plan(self) -> ErasureReport:
        """What would be touched; nothing is written."""
        places, notes = self.walk.places(self.entity)
        return self._report("", self._counted(places), notes, None, ())

    def run(self) -> ErasureReport:
        """Forget the entity.

        Raises:
            ContractError: No table has the key columns; nothing was written.
            RetryableError: A file still tells of the entity, as one of a writer at work.
        """
        places, notes = self.walk.places(self.entity)
        # From here on no refresh or training set takes rows of the entity: what is deleted below does not come back.
        erasure = Forgotten(self.purge).begin(self.entity)
        counted = self._counted(places)
        touched = [place for place in counted if self._touches(place)]
        Forgotten(self.purge).touch(erasure, (place.table for place in touched if place.rows))
        for place in touched:
            self._delete(place, erasure)
        stones = tuple(stone for place in touched if (stone := self._bury(place, erasure)))
        evidence = self._clean(touched)
        if left := [item for item in evidence if item.found]:
            raise RetryableError(
                f"{sum(item.found for item in left)} files of `{left[0].table}` that still hold the entity, as {', '.join(left[0].examples)}",
                expected="none",
                mend="a writer is at work or was killed: run it again when none is, and say so with writers_idle (--writers-idle)",
            )
        Forgotten(self.purge).finish(erasure)
        return self._report(erasure, counted, notes, evidence, stones)

    def _touches(self, place: Place) -> bool:
        return place.kind != SOURCE or self.include_sources

    def _counted(self, places: Sequence[Place]) -> list[Place]:
        """The places with the rows of the entity in their newest versions, counted in one job."""
        if not places:
            return []
        frames = [self.purge.held(place.table, *place.row(self.purge, self.entity)) for place in places]
        rows = reduce(DataFrame.unionAll, frames).groupBy("table").count().collect()
        counts = {row["table"]: row["count"] for row in rows}
        return [replace(place, rows=counts.get(place.table, 0)) for place in places]

    def _delete(self, place: Place, erasure: str) -> None:
        if not place.rows:
            return
        # What the table's last writer recorded stays findable: a refresh compares itself with it.
        details = {**self.purge.details(place.table).details, "erasure": erasure}
        self.purge.delete(place.table, *place.row(self.purge, self.entity), details=details)

    def _bury(self, place: Place, erasure: str) -> Tombstone | None:
        """The tombstone of a training set of which this erasure, perhaps a killed run of it, deleted rows."""
        if place.kind != TRAINING or place.training_set is None:
            return None
        last = Forgotten(self.purge).tombstone(place.training_set)
        if place.table not in Forgotten(self.purge).touched(erasure):
            return None
        self.purge.mark_erased(place.table, erasure)
        left = measure(self.purge.read(place.table))
        recorded = self.training_sets.find(place.training_set)
        assert recorded is not None
        if recorded.content_hash == left.digest:
            return last
        Forgotten(self.purge).bury(Tombstone(place.training_set, erasure, recorded.content_hash, left.digest, left.rows))
        return Forgotten(self.purge).tombstone(place.training_set)

    def _clean(self, places: Sequence[Place]) -> list[Evidence]:
        """Remove what still tells of the entity; returns what the last search of each table found."""
        for place in places:
            self.purge.restore_properties(place.table)
            if place.rows:
                self._remove_files(place)
        evidence = search(self.purge, places, self.entity)
        again = [place for place in places if any(item.found for item in evidence if item.table == place.table)]
        for place in again:
            found = {item.kind for item in evidence if item.table == place.table and item.found}
            if found & {DATA, CHANGE, OTHER}:
                self._remove_files(place)
            if found - {DATA, CHANGE}:
                self.purge.shorten_log(place.table)
        names = {place.table for place in again}
        return [item for item in evidence if item.table not in names] + (search(self.purge, again, self.entity) if again else [])

    def _remove_files(self, place: Place) -> None:
        self.purge.drop_vectors(place.table)
        self.purge.vacuum(place.table, idle=self.idle)

    def _report(
        self, erasure: str, places: Sequence[Place], notes: Sequence[str], evidence: Sequence[Evidence] | None, stones: tuple[Tombstone, ...]
    ) -> ErasureReport:
        held = {place.table for place in places if place.rows} | (Forgotten(self.purge).touched(erasure) if erasure else set())
        return ErasureReport(
            erasure=erasure,
            keys=self.entity.columns,
            dry_run=evidence is None,
            tables=tuple(_holding(place) for place in places if self._touches(place)),
            sources=tuple(_holding(place) for place in places if not self._touches(place)),
            tombstones=stones,
            consumers=_affected(self.walk.consumers, held),
            proof=None if evidence is None else proof_of(evidence),
            notes=tuple(notes),
        )


def _holding(place: Place) -> HoldingTable:
    return HoldingTable(place.table, place.kind, tuple("+".join(role) for role in place.roles), place.rows)


def _affected(consumers: Sequence[Consumer], tables: set[str]) -> tuple[Consumer, ...]:
    return tuple(consumer for consumer in consumers if tables & {name.replace("@", "_") for name in consumer.inputs})
