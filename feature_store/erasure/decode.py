"""What a file tells about an entity: run on the executors, with pyarrow, one file at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.delta.folder import CHANGE, CHECKPOINT, DATA, LOG

__all__ = ["Sought", "inspect", "mentions"]

# Delta cuts text to this length in statistics; a greatest value gets a character or two more.
_CUT = 32
_BATCH = 65_536


@dataclass(frozen=True)
class Sought:
    """An entity as one table may name it.

    Args:
        roles: Ways in which the table may hold it: for each key column, the names that the column has in files.
        values: For each key column its value as text; not shown by `repr`.
    """

    roles: tuple[tuple[tuple[str, ...], ...], ...]
    values: tuple[str, ...] = field(repr=False)


def inspect(path: str, name: str, kind: str, sought: Sought) -> tuple[int, int]:
    """Rows decoded, or entries read, of a file, and how many of them tell of the entity.

    Args:
        path: Absolute, as fsspec reads it.
        name: Below the table's folder.
        kind: One of `feature_store.delta.folder`.
        sought: What to look for.
    """
    named = int(_in_text(unquote(name), sought))
    if kind in (DATA, CHANGE):
        rows, hits = _in_rows(path, name, sought)
    elif kind == CHECKPOINT:
        rows, hits = _in_entries(_checkpoint(path), sought)
    elif kind == LOG:
        rows, hits = _in_entries(_lines(path), sought)
    else:
        rows, hits = 0, _in_bytes(path, sought)
    return rows, hits + named


def mentions(document: Any, sought: Sought) -> bool:
    """Whether an entry of a log tells of the entity: in statistics, partition values, paths, conditions or notes.

    Statistics of several key columns tell of an entity only where least and greatest agree: else they are of different rows.

    >>> sought = Sought(((("customer",),),), ("17",))
    >>> mentions({"add": {"path": "a", "stats": '{"minValues":{"customer":17}}'}}, sought), mentions({"size": 17}, sought)
    (True, False)
    """
    if isinstance(document, str):
        inner = _parsed(document)
        return _in_text(document, sought) if inner is None else mentions(inner, sought)
    if isinstance(document, list | tuple):
        return any(mentions(item, sought) for item in document)
    if not isinstance(document, Mapping):
        return False
    ends = [_mapping(document.get(name)) for name in ("minValues", "maxValues")]
    # Counts of nulls are numbers by column too, and no values.
    rest = [value for name, value in document.items() if name not in ("minValues", "maxValues", "nullCount")]
    found = (any if len(sought.values) == 1 else all)(_names(end, sought, cut=True) for end in ends)
    return found or _names(document, sought) or any(mentions(_mapping(item) or item, sought) for item in rest)


def _names(document: Mapping[str, Any], sought: Sought, *, cut: bool = False) -> bool:
    return any(
        all(any(_equal(document.get(name), value, cut=cut) for name in names) for names, value in zip(role, sought.values, strict=True))
        for role in sought.roles
    )


def _equal(found: Any, value: str, *, cut: bool) -> bool:
    if found is None or isinstance(found, Mapping | list | tuple | bool):
        return False
    text = str(found)
    return text == value or (cut and len(value) > _CUT and text[:_CUT] == value[:_CUT] and len(text) <= _CUT + 2)


def _in_text(text: str, sought: Sought) -> bool:
    """Whether a text has a key column's name followed by its value, or a value that is like nothing else."""
    texts = {text, unquote(text)}
    for role in sought.roles:
        if any(all(re.search(_beside(names, value), item) for names, value in zip(role, sought.values, strict=True)) for item in texts):
            return True
    return len(sought.values) == 1 and _distinctive(sought.values[0]) and any(re.search(_alone(sought.values[0]), item) for item in texts)


def _beside(names: tuple[str, ...], value: str) -> str:
    columns = "|".join(map(re.escape, names))
    # As `customer=17`, `"customer":"17"` or Spark's `(customer#12L = 17)`, whose own number is no value.
    return rf"(?<!\w)(?:{columns})(?:#\d+L?)?(?!#)\W{{1,8}}{re.escape(value)}(?!\w)"


def _alone(value: str) -> str:
    return rf"(?<!\w){re.escape(value)}(?!\w)"


def _distinctive(value: str) -> bool:
    """Whether a text can be searched without its column: a short one, a number or a plain word stands in many logs."""
    return len(value) >= 6 and any(item.isalpha() for item in value) and not value.isalpha()


def _in_entries(entries: Iterator[Any], sought: Sought) -> tuple[int, int]:
    read = hits = 0
    for entry in entries:
        read += 1
        hits += mentions(entry, sought)
    return read, hits


def _lines(path: str) -> Iterator[Any]:
    with fsspec.open(path, "rt", encoding="utf-8", errors="replace") as source:
        for line in source:
            document = _parsed(line)
            yield line if document is None else document


def _checkpoint(path: str) -> Iterator[Any]:
    with fsspec.open(path, "rb") as source:
        for batch in pq.ParquetFile(source).iter_batches(batch_size=1_000):
            yield from batch.to_pylist()


def _in_bytes(path: str, sought: Sought) -> int:
    with fsspec.open(path, "rb") as source:
        return int(_in_text(source.read().decode("utf-8", errors="replace"), sought))


def _in_rows(path: str, name: str, sought: Sought) -> tuple[int, int]:
    with fsspec.open(path, "rb") as source:
        file = pq.ParquetFile(source)
        there = file.schema_arrow.names
        folders = dict(part.split("=", 1) for part in name.split("/")[:-1] if "=" in part)
        roles = [found for role in sought.roles if (found := _located(role, sought.values, there, folders)) is not None]
        wanted = sorted({column for role in roles for column in role})
        rows = file.metadata.num_rows
        if any(not role for role in roles):
            return rows, rows
        hits = sum(_count(batch, roles) for batch in file.iter_batches(batch_size=_BATCH, columns=wanted)) if wanted else 0
    return rows, hits


def _located(role: tuple[tuple[str, ...], ...], values: tuple[str, ...], there: list[str], folders: Mapping[str, str]) -> dict[str, str] | None:
    """Columns of a file with the values to look for; None where the file cannot hold the entity in this role."""
    wanted: dict[str, str] = {}
    for names, value in zip(role, values, strict=True):
        column = next((item for item in names if item in there), None)
        if column is not None:
            wanted[column] = value
        elif not any(unquote(folders[item]) == value for item in names if item in folders):
            return None
    return wanted


def _count(batch: pa.RecordBatch, roles: list[dict[str, str]]) -> int:
    found = None
    for role in roles:
        held = None
        for column, value in role.items():
            equal = pc.fill_null(pc.equal(pc.cast(batch.column(column), pa.string()), value), fill_value=False)
            held = equal if held is None else pc.and_(held, equal)
        found = held if found is None else pc.or_(found, held)
    return int(pc.sum(found).as_py() or 0)


def _parsed(text: str) -> Any:
    """A JSON object or list; None for any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _mapping(value: Any) -> Any:
    """A mapping as pyarrow gives it, a list of pairs, as one; {} for nothing."""
    if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return dict(value)
    return value if isinstance(value, Mapping) else {}
