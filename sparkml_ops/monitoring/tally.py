"""What is counted of the rows of one window and segment: states that merge, from one distributed pass."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.summaries.values import group_labels

__all__ = ["COLUMNS", "EXAMPLES", "Counting", "Oddity", "Part", "Tally", "counted", "merged", "packed", "part_text", "tallies"]

# Columns of the rows that are counted; `segment_0`, ... follow.
COLUMNS = ("window", "score", "label", "lag", "odd", "key")
EXAMPLES = 3
_ROWS = 1 << 18
_STATE = "part string, scored binary, labelled binary, lag array<bigint>, odd string"
_ARROW = pa.schema([("part", pa.string()), ("scored", pa.binary()), ("labelled", pa.binary()), ("lag", pa.list_(pa.int64())), ("odd", pa.string())])
# A window, and a segment as `name=value` or None.
Part = tuple[str, str | None]


@dataclass(frozen=True)
class Oddity:
    """Rows with the same thing wrong: how many, and the first keys in order of their text."""

    count: int = 0
    keys: tuple[str, ...] = ()

    def merge(self, other: Oddity) -> Oddity:
        """Both parts of the rows together."""
        return Oddity(self.count + other.count, tuple(sorted((*self.keys, *other.keys))[:EXAMPLES]))


@dataclass(frozen=True)
class Tally:
    """Rows of one window and segment.

    Args:
        scored: All scored rows by score, whatever their label.
        labelled: Those whose truth is known, by score and label.
        lag: Labelled rows by the first of the curve's hours within which their truth was known; the last cell is beyond all.
        odd: What is wrong with rows, by kind.
    """

    scored: ScoreCounts
    labelled: ScoreCounts
    lag: npt.NDArray[np.int64]
    odd: Mapping[str, Oddity] = field(default_factory=dict)

    @classmethod
    def empty(cls, hours: Sequence[float]) -> Tally:
        """No rows."""
        return cls(ScoreCounts.empty(), ScoreCounts.empty(), np.zeros(len(hours) + 1, np.int64))

    @classmethod
    def of(cls, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.float64], lags: npt.NDArray[np.float64], hours: Sequence[float]) -> Tally:
        """Count scored rows.

        Args:
            scores: [rows] in [0, 1].
            labels: [rows] 0, 1, or NaN where it is not known.
            lags: [rows] hours from the spine time until the label was known; NaN where it is not.
            hours: Of the lag curve, rising.
        """
        known = ~np.isnan(labels)
        cells = np.searchsorted(np.asarray(hours, np.float64), lags[known & ~np.isnan(lags)])
        return cls(
            ScoreCounts.of(scores, np.zeros(len(scores), np.int64)),
            ScoreCounts.of(scores[known], labels[known].astype(np.int64)),
            np.bincount(cells, minlength=len(hours) + 1),
        )

    def merge(self, other: Tally) -> Tally:
        """Both parts of the rows together, in any order the same."""
        odd = {kind: self.odd.get(kind, Oddity()).merge(other.odd.get(kind, Oddity())) for kind in sorted({*self.odd, *other.odd})}
        return Tally(self.scored.merge(other.scored), self.labelled.merge(other.labelled), self.lag + other.lag, odd)


@dataclass(frozen=True)
class Counting:
    """What the pass counts.

    Args:
        segments: Names of the segment columns `segment_0`, ...
        hours: Of the lag curve, rising.
        most_segments: Most values of a segment column.
    """

    segments: tuple[str, ...] = ()
    hours: tuple[float, ...] = (24.0,)
    most_segments: int = 200


def tallies(rows: DataFrame, counting: Counting, finish: Callable[[Part, Tally], str] | None = None) -> dict[str, Any]:
    """Count rows by window and segment in one job, merge the states on the executors, and finish each there.

    Args:
        rows: Columns `COLUMNS` and `segment_0`, ...; `score` is null where a row is there only to say what is `odd` with it.
        counting: What is counted.
        finish: Makes what the driver gets of a state, as text; None: the driver gets the state itself.

    Returns:
        By the part's text. A part of an empty window and a segment column's name: it has too many values.
    """

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return packed(counted(batches, counting))

    def merge(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        states = merged(batches)
        if finish is None:
            return packed(states)
        return (pa.RecordBatch.from_pydict({"part": [part_text(part)], "made": [finish(part, tally)]}) for part, tally in states.items())

    # By part, so that a merging task holds one state of each part and not one of each counting task.
    made = rows.mapInArrow(count, _STATE).repartition("part").mapInArrow(merge, _STATE if finish is None else "part string, made string")
    found = made.collect()
    if finish is None:
        return {row["part"]: _tally(row.asDict()) for row in found}
    return {row["part"]: row["made"] for row in found}


def part_text(part: Part) -> str:
    """A part as text.

    >>> part_text(("2013-07", "origin=JFK"))
    '["2013-07", "origin=JFK"]'
    """
    return json.dumps(part)


def counted(batches: Iterable[pa.RecordBatch], counting: Counting) -> dict[Part, Tally]:
    """The states of the rows of one task."""
    running = _Running(counting)
    for table in _gathered(batches):
        running.add(table)
    return running.result()


def packed(states: Mapping[Part, Tally]) -> Iterator[pa.RecordBatch]:
    """States on their way between processes."""
    for part, tally in states.items():
        row = {
            "part": part_text(part),
            "scored": tally.scored.to_bytes(),
            "labelled": tally.labelled.to_bytes(),
            "lag": tally.lag.tolist(),
            "odd": json.dumps({kind: [oddity.count, list(oddity.keys)] for kind, oddity in tally.odd.items()}),
        }
        yield pa.RecordBatch.from_pylist([row], _ARROW)


def merged(batches: Iterable[pa.RecordBatch]) -> dict[Part, Tally]:
    """The states of all that `packed` sent, those of one part together."""
    states: dict[Part, Tally] = {}
    for row in chain.from_iterable(batch.to_pylist() for batch in batches):
        window, segment = json.loads(row["part"])
        known, tally = states.get((window, segment)), _tally(row)
        states[window, segment] = tally if known is None else known.merge(tally)
    return states


class _Running:
    """The states of one task so far."""

    def __init__(self, counting: Counting) -> None:
        self.counting = counting
        self.states: dict[Part, Tally] = {}
        self.overflow: set[str] = set()

    def add(self, table: pa.Table) -> None:
        windows = _codes(table.column("window"))
        for window, rows in _groups(*windows):
            part = table.take(pa.array(rows))
            self._add((window, None), _tally_of(part, self.counting.hours))
            scored = part.filter(pc.is_valid(part.column("score")))
            for index, name in enumerate(self.counting.segments):
                self._add_segments(window, name, scored, f"segment_{index}")

    def _add_segments(self, window: str, name: str, scored: pa.Table, column: str) -> None:
        codes, labels = _codes(group_labels(scored.column(column).combine_chunks()))
        parts: list[Part] = [(window, f"{name}={label}") for label in labels]
        known = sum(part[0] == window and (part[1] or "").startswith(f"{name}=") for part in self.states)
        if known + sum(part not in self.states for part in parts) > self.counting.most_segments:
            self.overflow.add(name)
        if name in self.overflow:
            return
        for label, rows in _groups(codes, labels):
            self._add((window, f"{name}={label}"), _tally_of(scored.take(pa.array(rows)), self.counting.hours))

    def _add(self, part: Part, tally: Tally) -> None:
        known = self.states.get(part)
        self.states[part] = tally if known is None else known.merge(tally)

    def result(self) -> dict[Part, Tally]:
        return {**self.states, **{("", name): Tally.empty(self.counting.hours) for name in sorted(self.overflow)}}


def _tally_of(table: pa.Table, hours: Sequence[float]) -> Tally:
    scored = table.filter(pc.is_valid(table.column("score")))
    scores, labels, lags = (_floats(scored.column(name)) for name in ("score", "label", "lag"))
    counted = Tally.of(scores, labels, lags, hours)
    keys: dict[str, list[str]] = defaultdict(list)
    strange = table.filter(pc.is_valid(table.column("odd")))
    for kind, key in zip(strange.column("odd").to_pylist(), strange.column("key").to_pylist(), strict=True):
        keys[kind].append(key)
    odd = {kind: Oddity(len(found), tuple(sorted(found)[:EXAMPLES])) for kind, found in sorted(keys.items())}
    return Tally(counted.scored, counted.labelled, counted.lag, odd)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Larger tables: Arrow's batches are small, and each merge of counts costs as much as all counts so far."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(item.num_rows for item in waiting) >= _ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _codes(column: pa.ChunkedArray | pa.Array) -> tuple[npt.NDArray[np.int64], list[str]]:
    """A number for each row, and the label of each number."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array.dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _groups(codes: npt.NDArray[np.int64], labels: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Each label with the positions of its rows."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    for code, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        yield labels[code], rows


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(column, np.nan).to_numpy(), np.float64)


def _tally(row: Mapping[str, Any]) -> Tally:
    odd = {kind: Oddity(count, tuple(keys)) for kind, (count, keys) in json.loads(row["odd"]).items()}
    scored, labelled = (ScoreCounts.from_bytes(bytes(row[name])) for name in ("scored", "labelled"))
    return Tally(scored, labelled, np.asarray(row["lag"], np.int64), odd)
