"""What is counted of the rows of one window and segment: states that merge, from one distributed pass."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from sparkml_ops.monitoring.kind import Binary, Kind, floats
from sparkml_ops.monitoring.money import Money
from sparkml_ops.summaries.values import group_labels

__all__ = ["COLUMNS", "EXAMPLES", "Counting", "Oddity", "Part", "Tally", "counted", "merged", "packed", "part_text", "tallies"]

# Columns of the rows that are counted; `segment_0`, ... follow.
COLUMNS = ("window", "score", "label", "lag", "odd", "key", "amount", "reward")
EXAMPLES = 3
_ROWS = 1 << 18
_STATE = "part string, scored binary, labelled binary, lag array<bigint>, odd string, money string"
_ARROW = pa.schema(
    [
        ("part", pa.string()),
        ("scored", pa.binary()),
        ("labelled", pa.binary()),
        ("lag", pa.list_(pa.int64())),
        ("odd", pa.string()),
        ("money", pa.string()),
    ]
)
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
        scored: All scored rows, whatever their label; of a binary model by score.
        labelled: Those whose truth is known, likewise by label.
        lag: Labelled rows by the first of the curve's hours within which their truth was known; the last cell is beyond all.
        odd: What is wrong with rows, by kind.
        money: What labelled rows are about, and what they brought.
    """

    scored: Any
    labelled: Any
    lag: npt.NDArray[np.int64]
    odd: Mapping[str, Oddity] = field(default_factory=dict)
    money: Money = field(default_factory=Money)

    @classmethod
    def empty(cls, hours: Sequence[float], kind: Kind | None = None) -> Tally:
        """No rows."""
        return cls(*(kind or Binary()).empty(), np.zeros(len(hours) + 1, np.int64))

    @classmethod
    def of(cls, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.float64], lags: npt.NDArray[np.float64], hours: Sequence[float]) -> Tally:
        """Count scored rows of a binary model.

        Args:
            scores: [rows] in [0, 1].
            labels: [rows] 0, 1, or NaN where it is not known.
            lags: [rows] hours from the spine time until the label was known; NaN where it is not.
            hours: Of the lag curve, rising.
        """
        table = pa.table({"score": scores, "label": pa.array(labels, from_pandas=True), "lag": pa.array(lags, from_pandas=True)})
        return cls.of_table("", table, hours, Binary())

    @classmethod
    def of_table(cls, window: str, scored: pa.Table, hours: Sequence[float], kind: Kind) -> Tally:
        """Count scored rows.

        Args:
            window: Their window.
            scored: Columns `score`, `label` and `lag`, and what else the kind reads.
            hours: Of the lag curve, rising.
            kind: Of the predictions.
        """
        known = scored.filter(pc.is_valid(scored.column("label")))
        lags = floats(known.column("lag"))
        cells = np.searchsorted(np.asarray(hours, np.float64), lags[~np.isnan(lags)])
        lag = np.bincount(cells, minlength=len(hours) + 1)
        return cls(kind.scored(window, scored), kind.labelled(known), lag, money=kind.money(known))

    def merge(self, other: Tally) -> Tally:
        """Both parts of the rows together, in any order the same."""
        odd = {kind: self.odd.get(kind, Oddity()).merge(other.odd.get(kind, Oddity())) for kind in sorted({*self.odd, *other.odd})}
        counts = self.scored.merge(other.scored), self.labelled.merge(other.labelled), self.lag + other.lag
        return Tally(*counts, odd, self.money.merge(other.money))


@dataclass(frozen=True)
class Counting:
    """What the pass counts.

    Args:
        segments: Names of the segment columns `segment_0`, ...
        hours: Of the lag curve, rising.
        most_segments: Most values of a segment column.
        kind: Of the predictions.
    """

    segments: tuple[str, ...] = ()
    hours: tuple[float, ...] = (24.0,)
    most_segments: int = 200
    kind: Kind = field(default_factory=Binary)


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
        states = merged(batches, counting.kind)
        if finish is None:
            return packed(states)
        return (pa.RecordBatch.from_pydict({"part": [part_text(part)], "made": [finish(part, tally)]}) for part, tally in states.items())

    # By part, so that a merging task holds one state of each part and not one of each counting task.
    made = rows.mapInArrow(count, _STATE).repartition("part").mapInArrow(merge, _STATE if finish is None else "part string, made string")
    found = made.collect()
    if finish is None:
        return {row["part"]: _tally(row.asDict(), counting.kind) for row in found}
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
            "money": tally.money.to_text(),
        }
        yield pa.RecordBatch.from_pylist([row], _ARROW)


def merged(batches: Iterable[pa.RecordBatch], kind: Kind | None = None) -> dict[Part, Tally]:
    """The states of all that `packed` sent, those of one part together."""
    states: dict[Part, Tally] = {}
    for row in chain.from_iterable(batch.to_pylist() for batch in batches):
        window, segment = json.loads(row["part"])
        known, tally = states.get((window, segment)), _tally(row, kind or Binary())
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
            self._add((window, None), _tally_of(window, part, self.counting))
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
            self._add((window, f"{name}={label}"), _tally_of(window, scored.take(pa.array(rows)), self.counting))

    def _add(self, part: Part, tally: Tally) -> None:
        known = self.states.get(part)
        self.states[part] = tally if known is None else known.merge(tally)

    def result(self) -> dict[Part, Tally]:
        return {**self.states, **{("", name): Tally.empty(self.counting.hours, self.counting.kind) for name in sorted(self.overflow)}}


def _tally_of(window: str, table: pa.Table, counting: Counting) -> Tally:
    counted = Tally.of_table(window, table.filter(pc.is_valid(table.column("score"))), counting.hours, counting.kind)
    keys: dict[str, list[str]] = defaultdict(list)
    strange = table.filter(pc.is_valid(table.column("odd")))
    for kind, key in zip(strange.column("odd").to_pylist(), strange.column("key").to_pylist(), strict=True):
        keys[kind].append(key)
    odd = {kind: Oddity(len(found), tuple(sorted(found)[:EXAMPLES])) for kind, found in sorted(keys.items())}
    return replace(counted, odd=odd)


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


def _tally(row: Mapping[str, Any], kind: Kind) -> Tally:
    odd = {kind: Oddity(count, tuple(keys)) for kind, (count, keys) in json.loads(row["odd"]).items()}
    both = kind.read(bytes(row["scored"]), bytes(row["labelled"]))
    return Tally(*both, np.asarray(row["lag"], np.int64), odd, Money.from_text(row["money"]))
