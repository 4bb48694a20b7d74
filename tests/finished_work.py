"""Rows of our own tables, written without Spark: what verbs of earlier nights left behind."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
from pyspark.sql.types import StructType
from tiny_project import Place

from sparkml_ops import ledger
from sparkml_ops.config.load import load
from sparkml_ops.release import ModelEvent, events
from sparkml_ops.retraining import lease
from sparkml_ops.retraining.lease import Lease
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import instant

__all__ = ["Night"]

WALL = datetime(2026, 1, 1, 3, tzinfo=UTC)
TRAINING_SET = {"id": "tiny_1a2b", "snapshot": {"table": "training_set_tiny_1a2b", "version": 0}, "inputs": {}, "content_hash": "c0ffee", "rows": 600}


class Night:
    """The tiny project after some nights.

    Args:
        folder: An empty one.
        overrides: As `--set`.

    Attributes:
        wall: What a wall clock shows: each run comes a minute after the one before.
    """

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.place = Place(folder)
        self.overrides = overrides
        self._written, self.wall = 0, WALL

    @property
    def work(self) -> Work:
        """As a command opens it; nothing here needs a session."""
        return Work(load(self.place.folder / "conf", "tiny", overrides=self.overrides))

    def enter(
        self, verb: str, record: Mapping[str, Any], *, as_of: str, target: str = "tiny_scores", window: str = "", slot: str = "", generation: int = 0
    ) -> str:
        """A finished run; returns its id."""
        self._written += 1
        run_id, started = uuid.uuid4().hex, self.wall + timedelta(minutes=self._written)
        key = RunKey(verb, "tiny", target, window, slot, generation)
        times = {"as_of": instant(as_of), "started_at": started, "finished_at": started + timedelta(seconds=12)}
        row = {**asdict(key), "run_id": run_id, "config_hash": "c0ffee", "code_version": "1", **times, "record": json.dumps(record)}
        self._add(ledger.TABLE, ledger._SCHEMA, row)
        return run_id

    def score(
        self, window: str, *, as_of: str = "2020-03-01", rows: int = 1000, quarantined: int = 0, slot: str = "champion", generation: int = 0
    ) -> str:
        """A scored window."""
        model = {"name": "tiny", "version": 1, "digest": "d", "training_set": TRAINING_SET}
        snapshot = {"table": "tiny_scores", "version": 1}
        record = {"model": model, "window": window, "slot": slot, "snapshot": snapshot, "rows": rows, "quarantined": quarantined}
        return self.enter("score", record, as_of=as_of, window=window, slot=slot, generation=generation)

    def drift(self, window: str, verdicts: Mapping[str, str], *, as_of: str = "2020-03-01") -> str:
        """A compared window."""
        columns = {name: {"verdict": verdict} for name, verdict in verdicts.items()}
        return self.enter("drift", {"columns": columns}, as_of=as_of, window=window, slot="champion")

    def monitor(self, window: str, auc: float | None, *, as_of: str = "2020-03-01", rows: int = 5000, generation: int = 0, final: bool = True) -> str:
        """A measured window."""
        figure = {"segment": None, "metric": "auc", "kind": "realised", "value": auc, "lower": None, "upper": None, "rows": rows}
        return self.enter("monitor", {"performance": [figure], "final": final}, as_of=as_of, window=window, slot="champion", generation=generation)

    def move(self, number: int, old: int | None, new: int | None, at: str, reason: str = "promote") -> None:
        """An event of the champion's alias."""
        event = ModelEvent(number, "tiny", "champion", old, new, instant(at), reason, None, "ada")  # type: ignore[arg-type]
        self._add(events.TABLE, events._SCHEMA, {**asdict(event), "event_id": event.id})

    def lend(self, held: Lease) -> None:
        """A lease of a retraining."""
        self._add(lease.TABLE, lease._SCHEMA, {**asdict(held), "decision": json.dumps(held.decision)})

    def spine(self) -> None:
        """The table of the project's rows, without one."""
        kinds = {"id": "long", "at": "timestamp", "customer": "string", "distance": "double", "amount": "double", "label": "double"}
        self.work.tables.ensure(
            "events",
            StructType.fromJson({"fields": [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in kinds.items()]}),
        )

    def _add(self, name: str, schema: StructType, row: Mapping[str, Any]) -> None:
        tables = self.work.tables
        tables.ensure(name, schema)
        table = deltalake.DeltaTable(tables.location(name))
        deltalake.write_deltalake(table, pa.Table.from_pylist([dict(row)], pa.schema(table.schema().to_arrow())), mode="append")
