"""What joins and windows must give, written the slow and plain way: one row at a time, in Python.

Nothing here is shared with the code that it checks, but for the declarations `Lookup` and `Aggregate`.
Frames are pandas; None, NaT and NA are null, while a float NaN is a value, as in Spark.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd

from feature_store.aggregate import Aggregate
from feature_store.duration import parse_duration
from feature_store.lookup import Lookup

__all__ = ["Predicates", "point_in_time_oracle", "records", "value_order", "window_oracle"]

Record = Mapping[str, Any]
Predicates = Mapping[str, Callable[[Record], bool | None]]

_TICK = timedelta(microseconds=1)


def point_in_time_oracle(spine: pd.DataFrame, lookups: Sequence[Lookup], *, spine_time: str, audit: bool = False) -> pd.DataFrame:
    """The point-in-time join by looking at every row of every table for every row of the spine.

    Args:
        spine: The rows to complete.
        lookups: As for `point_in_time_join`; their tables are pandas frames, and `features` are named.
        spine_time: The spine's time column.
        audit: Add the source times of each lookup, named by its prefix, else `lookup<i>`.

    Returns:
        The spine's columns, then the features, then the source times.
    """
    tables = [(lookup, records(lookup.table)) for lookup in lookups]
    rows = []
    for row in records(spine):
        best = [_match(row, lookup, table, spine_time) for lookup, table in tables]
        features = {
            lookup.prefix + name: found[name] if found else lookup.defaults.get(name)
            for lookup, found in zip(lookups, best, strict=True)
            for name in lookup.features or ()
        }
        times: dict[str, Any] = {}
        for index, (lookup, found) in enumerate(zip(lookups, best, strict=True)):
            name = lookup.prefix or f"lookup{index}"
            times[f"{name}__event_time"] = found and found[str(lookup.event_time)]
            times[f"{name}__known_time"] = found and _known(found, str(lookup.event_time), lookup.known_time)
        rows.append({**row, **features, **(times if audit else {})})
    columns = [*spine.columns, *(lookup.prefix + name for lookup in lookups for name in lookup.features or ())]
    if audit:
        columns += [f"{lookup.prefix or f'lookup{index}'}__{kind}_time" for index, lookup in enumerate(lookups) for kind in ("event", "known")]
    return _frame(rows, columns)


def window_oracle(
    events: pd.DataFrame,
    aggregates: Sequence[Aggregate],
    *,
    keys: Sequence[str],
    event_time: str,
    spine: pd.DataFrame | None = None,
    spine_time: str | None = None,
    slide: str | timedelta | None = None,
    known_time: str | timedelta | None = None,
    row_id: str | None = None,
    closed: str = "right",
    where: Predicates | None = None,
) -> pd.DataFrame:
    """Windowed aggregates by looking at every event at every instant.

    Args:
        events: The events.
        aggregates: As for `windows_at`; a `where` is replaced by the predicate in `where`.
        keys: Columns of the entity, named alike in the spine.
        event_time: The events' time column.
        spine: With `spine_time`: read the windows at its rows, as `windows_at` does.
        spine_time: The spine's time column.
        slide: Read them on this grid instead, as `windows_every` does.
        known_time: As for `windows_at`.
        row_id: As for `windows_at`.
        closed: As for `windows_at`.
        where: Name of the feature to a function of an event.
    """
    predicates = {item.output: (where or {}).get(item.output) for item in aggregates}
    used = [*keys, *(item.column for item in aggregates if item.column is not None)]
    versions = []
    for row in records(events):
        known = _known(row, event_time, known_time)
        if known is not None:
            versions.append((known, row[event_time], [value_order(row[name]) for name in used], row))

    def held(entity: Sequence[Any], instant: datetime) -> list[tuple[datetime, Record]]:
        """(known time, event) of an entity as known at an instant, whatever its age."""
        alive: dict[Any, Any] = {}
        for index, version in enumerate(versions):
            if version[0] > instant:
                continue
            identity = version[3][row_id] if row_id else None
            place = ("row", identity) if identity is not None else ("none", index)
            if place not in alive or _later(version) > _later(alive[place]):
                alive[place] = version
        rows = ((known, row) for known, event, _, row in alive.values() if event is not None)
        return [(known, row) for known, row in rows if [row[key] for key in keys] == list(entity)]

    def inside(length: timedelta, event: datetime, instant: datetime) -> bool:
        return instant - length < event <= instant if closed == "right" else instant - length <= event < instant

    def read(entity: Sequence[Any], instant: datetime) -> dict[str, Any]:
        rows = held(entity, instant)
        found = {}
        for item in aggregates:
            predicate = predicates[item.output]
            taken = [(known, row) for known, row in rows if inside(item.length, row[event_time], instant) and (predicate is None or predicate(row))]
            found[item.output] = _aggregate(item, taken, event_time)
        return found

    outputs = [item.output for item in aggregates]
    if spine is not None:
        assert spine_time is not None
        rows = []
        for row in records(spine):
            entity, instant = [row[key] for key in keys], row[spine_time]
            readable = None not in entity and instant is not None
            rows.append({**row, **(read(entity, instant) if readable else {item.output: _aggregate(item, [], event_time) for item in aggregates})})
        return _frame(rows, [*spine.columns, *outputs])
    assert slide is not None
    longest, rows = max(item.length for item in aggregates), []
    entities = {tuple(row[key] for key in keys) for _, event, _, row in versions if event is not None and None not in [row[key] for key in keys]}
    for key in sorted(entities, key=lambda item: [value_order(part) for part in item]):
        entity = list(key)
        before = False
        for instant in _grid([max(known, event) for known, event, _, row in versions if event is not None], longest, parse_duration(slide)):
            holds = any(inside(longest, row[event_time], instant) for _, row in held(entity, instant))
            if holds or before:
                rows.append({**dict(zip(keys, entity, strict=True)), event_time: instant, **read(entity, instant)})
            before = holds
    return _frame(rows, [*keys, event_time, *outputs])


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame, its nulls as None and its times as UTC datetimes."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.astype(object).to_dict("records")]


def value_order(value: Any) -> tuple[Any, ...]:
    """What Spark sorts a value by: nulls first, NaN after all numbers, text by its bytes, maps by their JSON."""
    if value is None:
        return (0,)
    if isinstance(value, float) and math.isnan(value):
        return (2,)
    if isinstance(value, str):
        return (1, value.encode())
    if isinstance(value, list | tuple):
        return (1, [value_order(item) for item in value])
    if isinstance(value, Mapping):
        return (1, json.dumps(value))
    return (1, value)


def _match(row: Record, lookup: Lookup, table: Iterable[Record], spine_time: str) -> Record | None:
    instant, best, best_rank = row[spine_time], None, None
    if instant is None or any(row[left] is None for left, _ in lookup.pairs):
        return None
    for candidate in table:
        event, known = candidate[str(lookup.event_time)], _known(candidate, str(lookup.event_time), lookup.known_time)
        if event is None or known is None or any(candidate[right] != row[left] for left, right in lookup.pairs):
            continue
        early = event <= instant if lookup.exact_match else event < instant
        if not early or known > instant or (lookup.ttl is not None and event < instant - lookup.ttl):
            continue
        rank = (
            event,
            known,
            [value_order(candidate[name]) for name in lookup.tie_break],
            [value_order(candidate[name]) for name in lookup.features or ()],
        )
        if best_rank is None or rank > best_rank:
            best, best_rank = candidate, rank
    return best


def _known(row: Record, event_time: str, known_time: str | timedelta | None) -> Any:
    if isinstance(known_time, str):
        return row[known_time]
    event = row[event_time]
    return event if event is None or known_time is None else event + known_time


def _later(version: tuple[Any, ...]) -> tuple[Any, ...]:
    known, event, values, _ = version
    return (known, value_order(event), values)


def _aggregate(item: Aggregate, taken: Sequence[tuple[datetime, Record]], event_time: str) -> Any:
    if item.column is None:
        return len(taken)
    column = item.column
    ordered = sorted(taken, key=lambda pair: (pair[1][event_time], pair[0], value_order(pair[1][column])))
    everything = [row[column] for _, row in ordered]
    values = sorted((value for value in everything if value is not None), key=value_order)
    plain: dict[str, Callable[[], Any]] = {
        "last_k": lambda: everything[::-1][: item.k],
        "first": lambda: everything[0] if everything else None,
        "last": lambda: everything[-1] if everything else None,
        "count": lambda: len(values),
        "distinct": lambda: len({value_order(value) for value in values}),
        "min": lambda: values[0] if values else None,
        "max": lambda: values[-1] if values else None,
    }
    if item.function in plain:
        return plain[item.function]()
    return _number(item, values) if values else None


def _number(item: Aggregate, values: Sequence[Any]) -> Any:
    numbers = [float(value) for value in values]
    if item.function == "quantile":
        position = (len(numbers) - 1) * (item.q or 0.0)
        below, above = numbers[math.floor(position)], numbers[math.ceil(position)]
        return below if below == above else below + (above - below) * (position - math.floor(position))
    if item.function == "std":
        if len(numbers) < 2:
            return None
        return statistics.stdev(numbers) if all(map(math.isfinite, numbers)) else math.nan
    exact = not all(isinstance(value, float) for value in values)
    total = sum(values, start=Decimal(0) if isinstance(values[0], Decimal) else 0) if exact else _float_sum(numbers)
    return total if item.function == "sum" else (_float_sum(numbers) / len(numbers))


def _float_sum(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)


def _grid(starts: Sequence[datetime], longest: timedelta, slide: timedelta) -> list[datetime]:
    if not starts:
        return []
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first, last = (min(starts) - epoch) // slide, (max(starts) + longest - epoch) // slide + 2
    return [epoch + index * slide for index in range(first, last + 1)]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, datetime):
        moment = value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
        return moment.astimezone(UTC)
    if hasattr(value, "item") and not isinstance(value, list | dict | str | bytes):
        return value.item()
    return value


def _frame(rows: Sequence[Record], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in columns})
