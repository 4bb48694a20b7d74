"""`tables`: how the warehouse's tables stand, their upkeep, and their formats.

Upkeep changes no row and hands no record on, so it has no run key and no entry in the ledger: its next run finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from feature_store.delta import FORMAT_VERSION, TableFiles, Upkeep, table_names
from feature_store.health import TableHealth, health
from feature_store.maintenance import Maintenance, Policy, TableUpkeep
from sparkml_ops import ledger, scoring
from sparkml_ops.drift.measure import METRICS_TABLE
from sparkml_ops.drift.states import STATE_TABLE
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring import PERFORMANCE_TABLE
from sparkml_ops.release import events, reports
from sparkml_ops.retraining import lease
from sparkml_ops.scoring import serving
from sparkml_ops.verbs.work import Work

__all__ = ["TableFormat", "healths", "maintain", "plan_maintain", "upgrade"]

_OWN = ("feature_tables", "training_sets", "consumers", ledger.TABLE, reports.TABLE, events.TABLE, lease.TABLE, serving.TABLE)
_MADE = (METRICS_TABLE, STATE_TABLE, PERFORMANCE_TABLE)


@dataclass(frozen=True)
class TableFormat:
    """The format of one of our own tables.

    Args:
        found: The mark that it has; 0 for none.
        wanted: The one that this version writes.
    """

    table: str
    found: int
    wanted: int


def healths(work: Work, names: Sequence[str] = ()) -> Iterator[TableHealth]:
    """How tables stand, by default all; needs no Spark where the warehouse is a folder.

    Raises:
        TableNotFound: One of them is not there.
    """
    work.check()
    for name in names or table_names(work.tables):
        yield health(work.tables, name)


def plan_maintain(work: Work, names: Sequence[str], policy: Policy) -> tuple[TableUpkeep, ...]:
    """What is due; writes nothing."""
    work.check()
    return Maintenance(work.tables).plan(names, _spared(work, policy))


def maintain(work: Work, names: Sequence[str], policy: Policy) -> Iterator[TableUpkeep]:
    """Do what is due, table by table."""
    work.check()
    yield from Maintenance(work.tables).run(names, _spared(work, policy))


def upgrade(work: Work, *, plan: bool) -> tuple[TableFormat, ...]:
    """Bring our own tables to the format that this version writes; returns those that were, or are, behind.

    Format 1 is the mark itself: a table of before it reads the same.

    Raises:
        ContractError: A table is ahead: a newer version of this package has written it.
    """
    work.check()
    target = work.sections.scoring.target
    names = [name for name in (*_OWN, *_MADE, target, scoring.scoring_set_table(target)) if work.tables.exists(name)]
    found = [TableFormat(name, TableFiles(work.tables, name).format, FORMAT_VERSION) for name in names]
    if ahead := [f"`{item.table}` in format {item.found}" for item in found if item.found > item.wanted]:
        raise ContractError(", ".join(ahead[:5]), expected=f"format {FORMAT_VERSION} or older", mend="upgrade sparkml-ops")
    behind = tuple(item for item in found if item.found < item.wanted)
    for item in () if plan else behind:
        Upkeep(work.tables).mark(item.table)
    return behind


def _spared(work: Work, policy: Policy) -> Policy:
    """Scoring sets stay as they were written: drift reads the very version that a window was scored from, however long ago."""
    return replace(policy, leave=(*policy.leave, scoring.scoring_set_table(work.sections.scoring.target)))
