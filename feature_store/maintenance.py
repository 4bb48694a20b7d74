"""Upkeep of a warehouse: small files merged, feature tables clustered, old files taken away that nobody needs any more.

A plan is made from logs and folders alone. What runs is the plan made at that moment for each table: what a killed run has done
is not due any more, and a second run finds nothing to do. Versions that training sets pin as inputs stay readable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Literal

from feature_store.delta import TableFiles, Tables, Upkeep, table_names
from feature_store.duration import duration_text
from feature_store.errors import ContractError, OpsError, TableNotFound, first_line
from feature_store.names import parse_table
from feature_store.registry import Registry
from feature_store.training_set import TrainingSets

__all__ = ["Maintenance", "Policy", "Step", "TableUpkeep"]

# Physical table to version to the ids of the training sets that read it.
_Pins = Mapping[str, Mapping[int, tuple[str, ...]]]
_MIB = 1024**2
_SHORTEST = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When something is due.

    Args:
        small: Bytes below which a file is small.
        few: Small files of one partition from which on they are merged: fewer cost a reader less than their rewriting.
        target: Bytes of a merged file, at most.
        cluster_from: Bytes from which a feature table is clustered by key and time; below, its few files are read whole anyway.
        unclustered: Share of such a table's bytes, added since it was clustered, from which on it is clustered again, all of it.
        retain: Age from which files of no version are taken away; a table that asks for more (`delta.deletedFileRetentionDuration`) gets it.
        short: Whether `retain` may be below seven days: then a reader that began before may fail.
        release: Ids of training sets whose inputs need not stay readable; "all" releases all.
        leave: Tables that are left alone, beside those of training sets.

    Raises:
        ContractError: A retention below seven days without `short`, or sizes that cannot be meant.

    >>> Policy(retain=timedelta(days=30)).few
    8
    """

    small: int = 32 * _MIB
    few: int = 8
    target: int = 256 * _MIB
    cluster_from: int = 1024 * _MIB
    unclustered: float = 0.2
    retain: timedelta = _SHORTEST
    short: bool = False
    release: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.retain < timedelta(0) or (self.retain < _SHORTEST and not self.short):
            raise ContractError(
                f"a retention of {self.retain}",
                expected="7 days or more, so that no running reader loses a file",
                mend="raise it; or allow a short one, where nothing reads or writes the tables",
            )
        if not (0 < self.small <= self.target and self.few >= 2 and 0 < self.unclustered <= 1):
            raise ContractError(
                f"small={self.small}, target={self.target}, few={self.few}, unclustered={self.unclustered}",
                expected="0 < small <= target, few of 2 or more, unclustered above 0 up to 1",
                mend="correct them",
            )


@dataclass(frozen=True)
class Step:
    """One thing that is due, or was done.

    Args:
        kind: What.
        why: The reason, in figures.
        files: Files that it concerns.
        bytes: Their bytes.
    """

    kind: Literal["cluster", "compact", "vacuum"]
    why: str
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class TableUpkeep:
    """What is due in one table, or was done.

    Args:
        table: Its name.
        steps: In this order; empty where nothing is due.
        held: Training sets for whose pinned versions old files were kept, each with how many.
        note: Why the table is left alone; empty where it is not.
        failed: What ended the upkeep of this table early; empty where it went well.
    """

    table: str
    steps: tuple[Step, ...] = ()
    held: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    failed: str = ""


class Maintenance:
    """Upkeep of the tables of one warehouse.

    Args:
        tables: Where they lie.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables, self._upkeep = tables, Upkeep(tables)
        self._training_sets, self._registry = TrainingSets(tables), Registry(tables)

    def plan(self, names: Sequence[str] = (), policy: Policy | None = None) -> tuple[TableUpkeep, ...]:
        """What is due; nothing is written.

        Args:
            names: Tables to look at; none: all of the warehouse.

        Raises:
            TableNotFound: One of them is not there.
            ContractError: A training set that is released is not there.
        """
        return tuple(self._each(names, policy or Policy(), self._due))

    def run(self, names: Sequence[str] = (), policy: Policy | None = None) -> Iterator[TableUpkeep]:
        """Do what is due, table by table; each is told when it is done.

        A table whose upkeep fails is told with the reason, and the others go on.
        """
        return self._each(names, policy or Policy(), self._maintain)

    def _each(self, names: Sequence[str], policy: Policy, call: Callable[[str, Policy, _Pins], TableUpkeep]) -> Iterator[TableUpkeep]:
        pins = self._pins(policy.release)
        for name in self._names(names):
            try:
                yield call(name, policy, pins)
            except TableNotFound as error:  # dropped since it was listed
                yield TableUpkeep(name, note=error.found)
            except OpsError as error:
                yield TableUpkeep(name, failed=str(error))

    def _names(self, names: Sequence[str]) -> list[str]:
        if not names:
            return list(table_names(self._tables))
        found = [table.table_name if (table := self._registry.find(name)) else name for name in names]
        for name in found:
            self._tables.location(name)
        return [parse_table(name) for name in found]

    def _maintain(self, name: str, policy: Policy, pins: _Pins) -> TableUpkeep:
        due = self._due(name, policy, pins)
        for number, step in enumerate(due.steps):
            try:
                self._do(name, step, policy)
            except Exception as error:
                text = error.found if isinstance(error, OpsError) else f"{type(error).__name__}: {first_line(error)}"
                return TableUpkeep(name, due.steps[:number], due.held, failed=f"{step.kind}: {text}")
        return due

    def _do(self, name: str, step: Step, policy: Policy) -> None:
        if step.kind != "vacuum":
            stated = TableFiles(self._tables, name).stated if step.kind == "cluster" else frozenset()
            by = tuple(column for column in self._clustering.get(name, ()) if column in stated)
            self._upkeep.compact(name, small=policy.small, target=policy.target, by=by)
        else:
            # Asked again: a training set may have pinned a version since the plan was made.
            files = TableFiles(self._tables, name)
            held = self._held(files, policy, self._pins(policy.release))
            self._upkeep.vacuum(name, max(policy.retain, files.retention), hold=held)

    def _due(self, name: str, policy: Policy, pins: _Pins) -> TableUpkeep:
        if name.startswith("training_set_"):
            return TableUpkeep(name, note="a training set's own table: written once, in the order of its rows")
        if name in {parse_table(table) for table in policy.leave}:
            return TableUpkeep(name, note="left alone, as asked")
        files = TableFiles(self._tables, name)
        held, retain = self._held(files, policy, pins), max(policy.retain, files.retention)
        free = files.sizes(files.removable(retain) - held.keys())
        steps = [*self._rewriting(name, files, policy)]
        if free:
            steps.append(Step("vacuum", f"of no version for {duration_text(retain)}", len(free), sum(size for size, _ in free.values())))
        return TableUpkeep(name, tuple(steps), dict(Counter(identity for ids in held.values() for identity in ids)))

    def _rewriting(self, name: str, files: TableFiles, policy: Policy) -> Iterator[Step]:
        # Where a file's statistics leave a column out, as they do personal data, no file is skipped by it.
        columns = tuple(column for column in self._clustering.get(name, ()) if column in files.stated)
        size = sum(file.bytes for file in files.live)
        if columns and size >= policy.cluster_from and not files.partitioned:
            added = files.added_since_clustered(columns)
            loose = [file.bytes for file in files.live if file.path in added]
            if sum(loose) >= policy.unclustered * size:
                # Rewrites every file, the small ones as well.
                yield Step("cluster", f"{sum(loose):,} of {size:,} bytes not by {', '.join(columns)}", len(files.live), size)
                return
        small = Counter(file.partition for file in files.live if file.bytes < policy.small)
        crowded = {partition for partition, count in small.items() if count >= policy.few}
        if crowded:
            merged = [file.bytes for file in files.live if file.partition in crowded and file.bytes < policy.small]
            yield Step("compact", f"{len(merged)} files below {policy.small:,} bytes", len(merged), sum(merged))

    def _held(self, files: TableFiles, policy: Policy, pins: _Pins) -> dict[str, tuple[str, ...]]:
        """Files that a vacuum would take and a pinned version needs, with the training sets that pin it."""
        removable, held = files.removable(max(policy.retain, files.retention)), dict[str, tuple[str, ...]]()
        for version, ids in pins.get(parse_table(files.name), {}).items() if removable else ():
            try:
                needed = removable & files.paths(version)
            except TableNotFound:
                continue  # gone before: `training_sets` tells of it
            for path in needed:
                held[path] = (*held.get(path, ()), *ids)
        return held

    def _pins(self, release: Collection[str]) -> _Pins:
        """What training sets pin, without those that are released."""
        recorded = self._training_sets.all()
        known = {made.id for made in recorded}
        if unknown := sorted(set(release) - known - {"all"}):
            raise ContractError(f"the released training sets {unknown[:5]}", expected=f"all, or some of {sorted(known)[-5:]}", mend="correct the ids")
        pins: dict[str, dict[int, tuple[str, ...]]] = {}
        for made in recorded if "all" not in release else ():
            for table, version in made.inputs.items() if made.id not in release else ():
                versions = pins.setdefault(parse_table(table), {})
                versions[version] = (*versions.get(version, ()), made.id)
        return pins

    @cached_property
    def _clustering(self) -> dict[str, tuple[str, ...]]:
        """Physical name of each feature table to the columns that its rows are asked for by."""
        return {parse_table(table.table_name): (*table.keys, table.event_time)[:4] for table in self._registry.all()}
