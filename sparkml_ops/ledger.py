"""The ledger `runs`: one append-only row for each finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql.types import IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from sparkml_ops.meter import Cost
from sparkml_ops.records import to_document
from sparkml_ops.runkey import RunKey
from sparkml_ops.window import instant

__all__ = ["WITHDRAW", "FinishedRun", "Ledger"]

TABLE = "runs"
_COST = "_cost"
# The verb that takes a scoring back; the generation of its key is one that no scoring has.
WITHDRAW = "withdraw"
_SCHEMA = StructType(
    [
        StructField("run_id", StringType(), nullable=False),
        *(StructField(name, StringType(), nullable=False) for name in ("verb", "project", "target", "window", "slot")),
        StructField("generation", IntegerType(), nullable=False),
        StructField("config_hash", StringType(), nullable=False),
        StructField("code_version", StringType(), nullable=False),
        *(StructField(name, TimestampType(), nullable=False) for name in ("as_of", "started_at", "finished_at")),
        StructField("record", StringType(), nullable=False),
    ]
)


@dataclass(frozen=True)
class FinishedRun:
    """One row of the ledger.

    Args:
        run_id: Identity of this run of the work, for logs and lineage.
        key: Identity of the work.
        record: What the verb handed on, as plain JSON types.
        config_hash: Digest of the configuration that the verb declares.
        code_version: Version of this package.
        as_of: The clock of the run.
        started_at: Wall clock, UTC.
        finished_at: Wall clock, UTC.
        cost: What it took of the driver's machine; None of runs before this was measured.
    """

    run_id: str
    key: RunKey
    record: Mapping[str, Any]
    config_hash: str
    code_version: str
    as_of: datetime
    started_at: datetime
    finished_at: datetime
    cost: Cost | None = None

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return (self.finished_at - self.started_at).total_seconds()


class Ledger:
    """Finished runs of one warehouse."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def find(self, key: RunKey) -> FinishedRun | None:
        """The finished run of a key, or None. Needs no Spark where the warehouse is a folder."""
        where = {"verb": key.verb, "project": key.project, "target": key.target}
        return next((run for run in self.runs(where) if run.key == key), None)

    def newest(self, verb: str, project: str, as_of: datetime | None = None) -> FinishedRun | None:
        """The run of a verb that finished last, of those as of then or before; None: of all."""
        runs = self.runs({"verb": verb, "project": project})
        return next((run for run in reversed(runs) if as_of is None or run.as_of <= as_of), None)

    def runs(self, where: Mapping[str, str] | None = None) -> list[FinishedRun]:
        """Finished runs in the order in which they finished; generations of one piece of work in theirs, whatever the wall clock showed."""
        if not self._tables.exists(TABLE):
            return []
        return _in_order([_run(row) for row in self._tables.rows(TABLE, where)])

    def standing(self, where: Mapping[str, str] | None = None) -> list[FinishedRun]:
        """As `runs`, without scorings whose rows were taken back."""
        runs = self.runs(where)
        gone = {replace(run.key, verb="score", generation=int(run.record["withdrawn"])) for run in self.runs({"verb": WITHDRAW})} if runs else set()
        return [run for run in runs if run.key not in gone]

    def append(self, run: FinishedRun) -> None:
        """Add a row; a second driver that finished the same work leaves the first one's row."""
        row = {
            **{name: getattr(run.key, name) for name in ("verb", "project", "target", "window", "slot", "generation")},
            **{name: getattr(run, name) for name in ("run_id", "config_hash", "code_version", "as_of", "started_at", "finished_at")},
            "record": json.dumps(_with_cost(to_document(run.record), run.cost), sort_keys=True, default=str),
        }
        self._tables.add(TABLE, _SCHEMA, [row], transaction=Transaction(f"{TABLE}/{run.key.text}/{run.run_id}"))


def _in_order(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    by_clock = sorted(runs, key=lambda run: (run.finished_at, run.run_id))
    works: dict[RunKey, list[FinishedRun]] = {}
    for run in sorted(by_clock, key=lambda run: run.key.generation):
        works.setdefault(replace(run.key, generation=0), []).append(run)
    next_of = {work: iter(generations) for work, generations in works.items()}
    return [next(next_of[replace(run.key, generation=0)]) for run in by_clock]


def _run(row: Mapping[str, Any]) -> FinishedRun:
    key = RunKey(row["verb"], row["project"], row["target"], row["window"], row["slot"], int(row["generation"]))
    times = {name: instant(row[name]) for name in ("as_of", "started_at", "finished_at")}
    record, cost = _without_cost(json.loads(row["record"]))
    return FinishedRun(row["run_id"], key, record, row["config_hash"], row["code_version"], **times, cost=cost)


def _with_cost(record: Any, cost: Cost | None) -> Any:
    """The record with the cost beside its fields: a column of its own would be a new format of every ledger that is there."""
    if cost is None:
        return record
    return [*record, {_COST: asdict(cost)}] if isinstance(record, list) else {**record, _COST: asdict(cost)}


def _without_cost(stored: Any) -> tuple[Any, Cost | None]:
    if isinstance(stored, list):
        held = stored[-1] if stored and isinstance(stored[-1], dict) and _COST in stored[-1] else None
        return (stored, None) if held is None else (stored[:-1], Cost.from_document(held[_COST]))
    held = stored.pop(_COST, None)
    return stored, None if held is None else Cost.from_document(held)
