"""One pass over rows for all columns: by segment and block, in whatever process holds the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sparkml_ops.summaries.order import Integers
from sparkml_ops.summaries.state import Maker, Summary, TableMaker, merge_packed
from sparkml_ops.summaries.values import group_labels

__all__ = ["SCHEMA", "Group", "Survey", "merge_states"]

Group = tuple[str | None, str | None]
_Codes = tuple[Integers | None, list[str | None]]

SCHEMA = "side string, segment string, block string, column string, state binary"
_ARROW = pa.schema([(name, pa.string()) for name in ("side", "segment", "block", "column")] + [("state", pa.binary())])
# Spark's batches have 10,000 rows; the cost of a batch is spread over more, as far as memory allows where columns are many.
_ROWS, _BYTES = 1 << 17, 1 << 27


@dataclass(frozen=True)
class Survey:
    """What one pass computes.

    Args:
        side: Names the rows in the result: two sides can share a job.
        makers: For each column how its values become a state; what looks at several columns together says which.
        segments: Columns each of whose values is a group beside the whole.
        blocks: Column whose rows stay together in inference; each group is split by it. Instants and
            dates give a block a UTC day; other values fall into 256 key buckets.
        most_groups: Most groups of one segment column; beyond it a row without column says so.
    """

    side: str
    makers: Mapping[str, Maker | TableMaker]
    segments: tuple[str, ...] = ()
    blocks: str | None = None
    most_groups: int = 200

    @property
    def columns(self) -> list[str]:
        """The columns that the pass reads."""
        read = [name for column, maker in self.makers.items() for name in getattr(maker, "columns", (column,))]
        return list(dict.fromkeys([*read, *self.segments, *([self.blocks] if self.blocks else [])]))

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The states of all groups and columns over some batches, as one batch of `SCHEMA`."""
        running = _Running(self)
        for table in _gathered(batches):
            running.add(table)
        yield running.result()


def merge_states(states: pa.Table) -> pa.Table:
    """Merge all rows of one group and column: for `groupBy(...).applyInArrow`."""
    first = states.slice(0, 1)
    parts = [part for part in states.column("state").to_pylist() if part]
    return first.set_column(states.schema.get_field_index("state"), "state", pa.array([merge_packed(parts) if parts else b""], pa.binary()))


@dataclass
class _Running:
    survey: Survey
    states: dict[tuple[str | None, str | None, str], Summary] = field(default_factory=dict)
    overflow: set[str] = field(default_factory=set)
    groups: dict[str, set[str | None]] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        """One pass over each segment column; the whole is the sum of the first one's groups."""
        survey = self.survey
        blocks = _block_labels(table.column(survey.blocks).combine_chunks()) if survey.blocks else None
        for number, name in enumerate(dict.fromkeys(survey.segments) or (None,)):
            segments = _codes(None if name is None else table.column(name).combine_chunks(), f"{name}=")
            if name is not None and self._too_many(name, segments[1]):
                continue
            for (segment, block), rows in _groups(segments, _codes(blocks, "")):
                part = table if rows is None else table.take(pa.array(rows))
                for column, maker in survey.makers.items():
                    state = maker(_whole(part.column(column))) if callable(maker) else maker.of_table(part)
                    if name is not None:
                        self._merge((segment, block, column), state)
                    if number == 0:
                        self._merge((None, block, column), state)

    def _too_many(self, name: str, found: list[str | None]) -> bool:
        """Whether a segment column has more values than allowed by now; their states are dropped at once."""
        known = self.groups.setdefault(name, set())
        if name not in self.overflow:
            known |= set(found)
            if len(known) > self.survey.most_groups:
                self.overflow.add(name)
                self.states = {key: state for key, state in self.states.items() if key[0] not in known}
                known.clear()
        return name in self.overflow

    def _merge(self, key: tuple[str | None, str | None, str], state: Summary) -> None:
        known = self.states.get(key)
        self.states[key] = state if known is None else known.merge(state)

    def result(self) -> pa.RecordBatch:
        rows = [(segment, block, column, state.pack()) for (segment, block, column), state in self.states.items()]
        rows += [(name, None, "", b"") for name in sorted(self.overflow)]
        columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
        arrays = [
            pa.array([self.survey.side] * len(rows), pa.string()),
            *(pa.array(values, kind.type) for values, kind in zip(columns, list(_ARROW)[1:], strict=True)),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=_ARROW)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _ROWS or size >= _BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(waiting)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array; it is copied only where it lies in pieces."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _codes(array: pa.Array | None, prefix: str) -> _Codes:
    """A number for each row and the label of each number; None for one group of all rows."""
    if array is None:
        return None, [None]
    encoded = group_labels(array).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), [prefix + label for label in encoded.dictionary.to_pylist()]


def _groups(segments: _Codes, blocks: _Codes) -> Iterator[tuple[Group, Integers | None]]:
    """Each combination that occurs, with the positions of its rows; None is all rows."""
    width = len(blocks[1])
    parts = [codes * factor for codes, factor in ((segments[0], width), (blocks[0], 1)) if codes is not None]
    if not parts:
        yield (None, None), None
        return
    codes = sum(parts[1:], parts[0])
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    for code, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        yield (segments[1][code // width], blocks[1][code % width]), rows


def _block_labels(array: pa.Array) -> pa.Array:
    labels = group_labels(array)
    if pa.types.is_temporal(array.type):
        return labels
    encoded = labels.dictionary_encode()
    buckets = pa.array([f"bucket-{_bucket(label):03d}" for label in encoded.dictionary.to_pylist()], pa.string())
    return buckets.take(encoded.indices)


def _bucket(label: str) -> int:
    return hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0]
