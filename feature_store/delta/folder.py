"""All files of a table that are left in its folder, live or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import deltalake
import fsspec

from feature_store.delta.log import TableReader

__all__ = ["CHANGE", "CHECKPOINT", "DATA", "LOG", "OTHER", "LeftFile", "committed_since", "is_delta", "kind_of", "left_files"]

DATA, CHANGE, LOG, CHECKPOINT, OTHER = "data", "change", "log", "checkpoint", "other"
_LOG_FOLDER = "_delta_log/"


@dataclass(frozen=True)
class LeftFile:
    """One file below a table's folder.

    Args:
        path: Absolute path or address, as Python reads it.
        name: Below the table's folder.
        kind: `data` and `change` hold rows; `log` (commits, checksums, hints: lines of JSON) and `checkpoint` describe them; `other`
            is the rest, as deletion vectors.
        size: Bytes.
        modified: When it was last written.
    """

    path: str
    name: str
    kind: str
    size: int
    modified: datetime


def kind_of(name: str) -> str:
    """The kind of a file by its name below the table's folder."""
    base = name.rsplit("/", 1)[-1]
    if name.startswith(_LOG_FOLDER):
        if base.endswith(".parquet"):
            return CHECKPOINT
        # Hadoop's own sums of four bytes, `.<name>.crc`, are no text.
        return OTHER if base.startswith(".") else LOG
    if not base.endswith(".parquet"):
        return OTHER
    return CHANGE if name.startswith("_change_data/") else DATA


def left_files(place: str) -> tuple[LeftFile, ...]:
    """Every file below a table's folder, by name.

    Args:
        place: The table's location.
    """
    system, root = fsspec.core.url_to_fs(place)
    found = system.find(root, detail=True)
    files = (_left(place, path.removeprefix(root).lstrip("/"), entry) for path, entry in found.items() if entry["type"] == "file")
    return tuple(sorted(files, key=lambda file: file.name))


def committed_since(files: tuple[LeftFile, ...], since: datetime) -> frozenset[str]:
    """Names of the files that commits written since an instant speak of.

    A file that was written since then and that none of them speaks of belongs to a writer that has not committed, or never will.
    """
    names: set[str] = set()
    for file in files:
        if file.kind != LOG or file.modified < since or not re.fullmatch(r"_delta_log/\d{20}\.json", file.name):
            continue
        with fsspec.open(file.path, "rt", encoding="utf-8") as lines:
            actions = [json.loads(line) for line in lines if line.strip()]
        for action in actions:
            names |= {unquote(action[kind]["path"]) for kind in ("add", "remove", "cdc") if kind in action}
    return frozenset(names)


def recent(files: tuple[LeftFile, ...], length: timedelta) -> datetime:
    """The instant so long before the newest file was written: by the clock of the store, which is the one that dates its files."""
    return max((file.modified for file in files), default=datetime.now(UTC)) - length


def is_delta(tables: TableReader, name: str) -> bool:
    """Whether a table that is there has a Delta log; a catalog's schema may hold others."""
    return tables.warehouse.catalog is None or deltalake.DeltaTable.is_deltatable(tables.location(name))


def empty_folders(place: str) -> Iterator[Path]:
    """Folders below a table's that hold nothing, deepest first: a partition's name outlives its files in a local folder."""
    if "://" in place:
        return
    for folder in sorted((path for path in Path(place).rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
        if not any(folder.iterdir()):
            yield folder


def _left(place: str, name: str, entry: dict[str, object]) -> LeftFile:
    path = f"{place.rstrip('/')}/{name}"
    return LeftFile(path, name, kind_of(name), int(str(entry["size"])), _modified(entry))


def _modified(entry: dict[str, object]) -> datetime:
    """Object stores give an instant, folders give seconds."""
    for key in ("LastModified", "last_modified", "updated", "mtime"):
        value = entry.get(key)
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.now(UTC)
