"""Rows of a target as Parquet files that a task writes itself, one for scored and one for quarantined rows."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparkml_ops.scoring.batch import Scored
from sparkml_ops.scoring.reason import Reason

__all__ = ["Destination", "RowFiles", "WrittenFile"]

# Rows that wait for their row group; they are narrow.
_GROUP = 1 << 18
# Different reasons of a task that go to the driver, for a message.
_EXAMPLES = 20
# Delta cuts longer text; a bound that is left out is as true.
_LONGEST = 32


@dataclass(frozen=True)
class WrittenFile:
    """A file of a task, as data for the driver.

    Args:
        path: Below the table's folder.
        outcome: Value of that partition column.
        size: Bytes.
        rows: How many rows it holds.
        statistics: For the log.
        kinds: Rows by kind of reason.
        examples: The most frequent reasons with their counts.
    """

    path: str
    outcome: str
    size: int
    rows: int
    statistics: str
    kinds: Mapping[str, int]
    examples: Mapping[str, int]


@dataclass
class _Open:
    """A file that is being written."""

    path: Path
    writer: pq.ParquetWriter
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    bounds: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    nulls: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Destination:
    """Where the rows of all tasks go, and what they carry; small and picklable.

    Args:
        root: The table's folder.
        folders: Below it, by outcome: of scored rows, and of quarantined ones.
        mark: Begins the files' names.
        identity: Names of key and time columns.
        outputs: Names of the model's outputs.
        prediction: Column of the outputs.
        reason: Column of the reason.
        carried: What each row carries besides, by column: Arrow scalars.
        stated: Columns of whose values the log may keep the least and greatest.
    """

    root: str
    folders: tuple[tuple[str, str], tuple[str, str]]
    mark: str
    identity: tuple[str, ...]
    outputs: tuple[str, ...]
    prediction: str
    reason: str
    carried: Mapping[str, pa.Scalar]
    stated: tuple[str, ...]


class RowFiles:
    """Writes the rows of one task.

    Args:
        to: Where they go.
    """

    def __init__(self, to: Destination) -> None:
        self._to = to
        self._open: dict[str, _Open] = {}
        self._constants = [_constant(value, 0) for value in to.carried.values()]

    def write(self, identity: Sequence[pa.Array], scored: Scored) -> None:
        """Add rows: key and time columns, outputs and reasons."""
        values = pa.StructArray.from_arrays(list(scored.outputs), names=list(self._to.outputs))
        reasons = scored.reasons
        (kept, _), (apart, _) = self._to.folders
        if reasons.null_count == len(reasons):
            self._add(kept, identity, values, reasons)
            return
        fine = reasons.is_null()
        bad = pc.invert(fine)
        self._add(kept, [column.filter(fine) for column in identity], values.filter(fine), reasons.filter(fine))
        texts = reasons.filter(bad)
        self._add(apart, [column.filter(bad) for column in identity], pa.nulls(len(texts), values.type), texts)

    def close(self) -> Iterator[WrittenFile]:
        """Finish the files."""
        for outcome, folder in self._to.folders:
            if (file := self._open.get(outcome)) is None:
                continue
            _flush(file)
            file.writer.close()
            kinds = {kind.value: count for kind in Reason if (count := sum(n for text, n in file.reasons.items() if text.startswith(kind.value)))}
            size, examples = file.path.stat().st_size, dict(file.reasons.most_common(_EXAMPLES))
            yield WrittenFile(f"{folder}/{file.path.name}", outcome, size, file.rows, self._statistics(file), kinds, examples)

    def drop(self) -> None:
        """Take the files away that a failed task has begun."""
        for file in self._open.values():
            with suppress(Exception):
                file.writer.close()
            file.path.unlink(missing_ok=True)

    def _add(self, outcome: str, identity: Sequence[pa.Array], values: pa.Array, reasons: pa.Array) -> None:
        count = len(values)
        if not count:
            return
        if len(self._constants[0]) < count:
            self._constants = [_constant(value, count) for value in self._to.carried.values()]
        constants = [column.slice(0, count) for column in self._constants]
        names = [*self._to.identity, self._to.prediction, self._to.reason, *self._to.carried]
        batch = pa.RecordBatch.from_arrays([*identity, values, reasons, *constants], names=names)
        file = self._open.get(outcome) or self._begin(outcome, batch.schema)
        file.waiting.append(batch)
        file.rows += count
        if reasons.null_count < count:
            found = reasons.value_counts().to_pylist()
            file.reasons.update({item["values"]: item["counts"] for item in found})
        for name, column in zip(self._to.identity, identity, strict=True):
            file.nulls[name] += column.null_count
            if name in self._to.stated:
                _widen(file.bounds, name, column)
        if sum(item.num_rows for item in file.waiting) >= _GROUP:
            _flush(file)

    def _begin(self, outcome: str, schema: pa.Schema) -> _Open:
        folder = Path(self._to.root) / dict(self._to.folders)[outcome]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self._to.mark}{uuid.uuid4().hex}.snappy.parquet"
        # Other numbers hardly repeat, and a dictionary of them is given up after it has been made.
        repeated = [*self._to.carried, self._to.reason, *(item.name for item in schema if pa.types.is_string(item.type))]
        named = [name for name in self._to.stated if schema.field(name).type != pa.string()]
        writer = pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=repeated, write_statistics=named, store_schema=False)
        self._open[outcome] = _Open(path, writer)
        return self._open[outcome]

    def _statistics(self, file: _Open) -> str:
        found: dict[str, Any] = {"numRecords": file.rows}
        shown = {name: ends for name, ends in file.bounds.items() if None not in ends}
        found["minValues"] = {name: _stated(ends[0]) for name, ends in shown.items()}
        found["maxValues"] = {name: _stated(ends[1]) for name, ends in shown.items()}
        found["nullCount"] = {name: file.nulls[name] for name in self._to.stated}
        return json.dumps(found)


def _flush(file: _Open) -> None:
    if file.waiting:
        file.writer.write_table(pa.Table.from_batches(file.waiting))
        file.waiting.clear()


def _constant(value: pa.Scalar, count: int) -> pa.Array:
    if not pa.types.is_string(value.type):
        return pa.repeat(value, count)
    # As Parquet keeps it: one text, and places.
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), count), pa.array([value.as_py()]))


def _widen(bounds: dict[str, tuple[Any, Any]], name: str, column: pa.Array) -> None:
    """The least and greatest value so far; None once one of them cannot be stated."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind) or pa.types.is_string(kind)):
        return
    if column.null_count == len(column):
        return
    ends = pc.min_max(column).as_py()
    found = (ends["min"], ends["max"])
    if name in bounds:
        before = bounds[name]
        found = (None, None) if None in before else (min(before[0], found[0]), max(before[1], found[1]))
    if any(isinstance(end, str) and len(end) > _LONGEST for end in found):
        found = (None, None)
    bounds[name] = found


def _stated(value: object) -> object:
    """As Delta keeps a bound: an instant to the millisecond below."""
    if isinstance(value, datetime):
        instant = value if value.tzinfo is None else value.astimezone(UTC)
        return instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + ("" if value.tzinfo is None else "Z")
    return value.isoformat() if isinstance(value, date) else value
