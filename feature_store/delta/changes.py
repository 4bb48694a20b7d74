"""What changed in a table between two of its versions: what its log tells, and the rows of its change feed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import deltalake
import deltalake.exceptions
import fsspec
import pyarrow as pa
from pyspark.sql import DataFrame

from feature_store.delta.commits import history
from feature_store.delta.log import TableReader

__all__ = [
    "FEED",
    "KIND",
    "VERSION",
    "LastWrite",
    "Span",
    "added",
    "byte_count",
    "feed",
    "feed_stream",
    "files_between",
    "instant_micros",
    "is_lost",
    "last_write",
    "row_count",
    "row_stream",
    "span",
]

#: The property with which a table records its changes.
FEED = "delta.enableChangeDataFeed"
#: Columns of the feed beside the table's: what happened to a row, and in which version.
KIND, VERSION = "_change_type", "_commit_version"

_COMMITS = 500  # that are read one by one; a table that fell so far behind is better rebuilt
_LOOKED_AT = 256  # files of the feed whose presence is asked for; vacuum takes the oldest first
_HISTORY = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What leaves every row as it is, however it lies in files.
_UPKEEP = frozenset(
    (
        *("OPTIMIZE", "REORG", "CLUSTER BY", "VACUUM START", "VACUUM END", "FSCK", "ANALYZE", "COMPUTE STATS"),
        *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "SET TABLE METADATA", "ADD CONSTRAINT", "DROP CONSTRAINT"),
        *("UPGRADE PROTOCOL", "ADD FEATURE", "DROP FEATURE"),
    )
)
# A feed that the log calls whole and that is not, in Delta's and Spark's words.
_LOST = re.compile(
    r"FILE_NOT_EXIST|FileNotFound|PATH_NOT_FOUND|DELTA_FILE_NOT_FOUND|DELTA_MISSING_CHANGE_DATA|DELTA_CHANGE_DATA_FEED_INCOMPATIBLE|DELTA_CHANGE_TABLE_FEED_DISABLED"
)
# Rows of the feed for each row that an operation counts: an update is two.
_METRICS = {"numTargetRowsInserted": 1, "numTargetRowsUpdated": 2, "numTargetRowsDeleted": 1, "numDeletedRows": 1, "numUpdatedRows": 2}


@dataclass(frozen=True)
class LastWrite:
    """The newest write that a table's log explains, and whether another one touched its rows since.

    Args:
        version: The table's newest version.
        details: What the newest writer of ours recorded.
        stranger: The first other write that may have changed rows since that one was computed, as `DELETE at version 7`; empty: none.
    """

    version: int
    details: Mapping[str, Any] = field(default_factory=dict)
    stranger: str = ""


@dataclass(frozen=True)
class Span:
    """The commits after one version of a table, up to another.

    Args:
        refusal: Why their change feed cannot be read; empty: it can.
        rows: Rows of the feed, an update counted twice; None where the log does not say.
        size: Bytes of the feed's files.
        net: Whether no row of the feed can cancel another out.
    """

    refusal: str = ""
    rows: int | None = None
    size: int = 0
    net: bool = False


def last_write(tables: TableReader, name: str) -> LastWrite:
    """The newest noted write of a table, upkeep apart.

    A writer that computed its rows from an earlier version says so by `base` in its details: what landed in between counts as a stranger.

    Raises:
        TableNotFound: There is no such table.
    """
    log = tables._log(name)
    strangers: list[str] = []
    details: Mapping[str, Any] | None = None
    base = 0
    for entry in history(log, _HISTORY):
        version, operation = int(entry["version"]), str(entry.get("operation"))
        if details is not None and version <= base:
            break
        if operation in _UPKEEP:
            continue
        found = None if details is not None else _details(entry)
        if found is None:
            strangers.append(f"{operation} at version {version}")
        else:
            details, base = found, int(found.get("base", version))
    return LastWrite(log.version(), details or {}, strangers[-1] if strangers else "")


def span(tables: TableReader, name: str, first: int, last: int) -> Span:
    """What the log says of the commits in (first, last]; no row is read.

    Raises:
        TableNotFound: There is no such table.
    """
    if last - first > _COMMITS:
        return Span(f"{last - first} versions lie after {first}, more than {_COMMITS}")
    place = tables.location(name)
    commits = []
    for version in range(first + 1, last + 1):
        commit = _commit(place, version)
        if commit is None:
            return Span(f"version {version} is no longer in its log")
        commits.append((version, commit))
    if refusal := _refusal(place, first, last, commits):
        return Span(refusal)
    removed = list(dict.fromkeys(action["path"] for _, commit in commits for kind, action in _read(commit) if kind != "add"))
    if gone := _first_gone(place, removed[:_LOOKED_AT]):
        return Span(f"the file {gone} of its change feed is gone: it was vacuumed")
    counts = [_rows(commit) for _, commit in commits]
    known = None if None in counts else sum(count or 0 for count in counts)
    read = [(kind, int(action.get("size") or 0)) for _, commit in commits for kind, action in _read(commit)]
    return Span("", known, sum(size for _, size in read), all(kind != "remove" for kind, _ in read))


def added(tables: TableReader, name: str, first: int, last: int) -> frozenset[str] | None:
    """Paths of the files that came with the commits in (first, last], where these did nothing else to the table's rows and columns; else None."""
    place = tables.location(name)
    commits = [_commit(place, version) for version in range(first + 1, min(last, first + _COMMITS) + 1)]
    if last - first > _COMMITS or any(commit is None or any("metaData" in action for action in commit) for commit in commits):
        return None
    read = [entry for commit in commits for entry in _read(commit or ())]
    return frozenset(unquote(action["path"]) for _, action in read) if all(kind == "add" for kind, _ in read) else None


def row_count(tables: TableReader, name: str, version: int) -> int | None:
    """Rows of a version from the statistics of its files; None where a file has none."""
    counts = _live(tables, name, version)["num_records"].to_pylist()
    return None if None in counts else int(sum(counts))


def byte_count(tables: TableReader, name: str, version: int) -> int:
    """Bytes of a version's files."""
    return int(sum(_live(tables, name, version)["size_bytes"].to_pylist()))


def files_between(tables: TableReader, name: str, version: int, column: str, start: int, end: int) -> tuple[int, int] | None:
    """How many files of a version a stretch of time lies in, and about how many rows it has, were each file's rows spread evenly.

    Args:
        column: A timestamp column.
        start: Microseconds, the stretch's first.
        end: What lies after its last.

    Returns:
        None where a file has no statistics.
    """
    actions = _live(tables, name, version)
    if {f"min.{column}", f"max.{column}"} - set(actions.schema.names):
        return None
    files, rows = 0, 0.0
    for action in pa.table(actions).select(["num_records", f"min.{column}", f"max.{column}"]).to_pylist():
        count, least, greatest = action["num_records"], action[f"min.{column}"], action[f"max.{column}"]
        if count == 0:
            continue
        if count is None or least is None or greatest is None:
            return None
        # They are cut off to the millisecond.
        first, last = instant_micros(least), instant_micros(greatest) + 1_000
        inside = min(last, end) - max(first, start)
        if inside > 0:
            files, rows = files + 1, rows + count * inside / (last - first)
    return files, round(rows)


def feed(tables: TableReader, name: str, first: int, last: int) -> DataFrame:
    """The change feed of the commits in (first, last]: the table's columns, `_change_type`, `_commit_version`, `_commit_timestamp`."""
    options = {"readChangeFeed": "true", "startingVersion": str(first + 1), "endingVersion": str(last)}
    reader = tables.spark.read.format("delta").options(**options)
    return reader.load(tables.warehouse.path(name)) if tables.warehouse.catalog is None else reader.table(tables.warehouse.qualified(name))


def feed_stream(tables: TableReader, name: str, first: int) -> DataFrame:
    """The change feed from a version on, as a stream."""
    reader = tables.spark.readStream.format("delta").options(readChangeFeed="true", startingVersion=str(first))
    return reader.load(tables.warehouse.path(name)) if tables.warehouse.catalog is None else reader.table(tables.warehouse.qualified(name))


def row_stream(tables: TableReader, name: str) -> DataFrame:
    """The rows of a table that only grows, as a stream from its beginning."""
    reader = tables.spark.readStream.format("delta")
    return reader.load(tables.warehouse.path(name)) if tables.warehouse.catalog is None else reader.table(tables.warehouse.qualified(name))


def is_lost(error: Exception) -> bool:
    """Whether a feed that seemed readable is not: a file was vacuumed, or a commit does not fit the others."""
    return _LOST.search(str(error)) is not None


def _details(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        note = json.loads(entry.get("userMetadata") or "null")
    except ValueError:
        return None
    return note.get("details", {}) if isinstance(note, dict) and "token" in note else None


def _commit(place: str, version: int) -> list[dict[str, Any]] | None:
    """The actions of a commit; None where its file was cleaned up."""
    try:
        with fsspec.open(f"{place.rstrip('/')}/_delta_log/{version:020}.json", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError:
        return None


def _refusal(place: str, first: int, last: int, commits: Sequence[tuple[int, list[dict[str, Any]]]]) -> str:
    """Why the feed of these commits cannot be read."""
    if deltalake.DeltaTable(place, version=last).metadata().configuration.get(FEED) != "true":
        return f"its change feed is not enabled ({FEED})"
    changed = [(version, action["metaData"]) for version, commit in commits for action in commit if "metaData" in action]
    # Without a change of metadata the newest version's says what held for all of them.
    return _disturbed(place, first, changed) if changed else ""


def _disturbed(place: str, first: int, changed: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    """The change of metadata that breaks the feed."""
    try:
        before = deltalake.DeltaTable(place, version=first)
    except (deltalake.exceptions.DeltaError, OSError):
        return f"version {first} is no longer in its log"
    if before.metadata().configuration.get(FEED) != "true":
        return f"its change feed was enabled after version {first}"
    schema = json.loads(before.schema().to_json())
    for version, metadata in changed:
        if metadata.get("configuration", {}).get(FEED) != "true":
            return f"its change feed was not enabled at version {version}"
        if json.loads(metadata["schemaString"]) != schema:
            return f"its columns changed at version {version}"
    return ""


def instant_micros(instant: datetime) -> int:
    """Microseconds since 1970; an instant without a zone is in UTC."""
    return (instant.replace(tzinfo=instant.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)


def _live(tables: TableReader, name: str, version: int) -> Any:
    return deltalake.DeltaTable(tables.location(name), version=version).get_add_actions(flatten=True)


def _read(commit: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The files that a commit's feed is read from: its own ones where it wrote such, else those that came and went."""
    found = [(kind, action[kind]) for action in commit for kind in ("cdc", "add", "remove") if kind in action]
    return [entry for entry in found if entry[0] == "cdc"] or [entry for entry in found if entry[1].get("dataChange", True)]


def _first_gone(place: str, paths: Sequence[str]) -> str | None:
    system, root = fsspec.core.url_to_fs(place)
    relative = [unquote(path) for path in paths if "://" not in path and not path.startswith("/")]
    return next((path for path in relative if not system.exists(f"{root.rstrip('/')}/{path}")), None)


def _rows(commit: Sequence[Mapping[str, Any]]) -> int | None:
    """Rows of a commit's feed, as far as it tells."""
    if any("cdc" in action for action in commit):
        info: dict[str, Any] = next((action["commitInfo"] for action in commit if "commitInfo" in action), {})
        metrics = info.get("operationMetrics") or {}
        found = [int(metrics[name]) * weight for name, weight in _METRICS.items() if name in metrics]
        return sum(found) if found else None
    stats = [json.loads(action.get("stats") or "{}") for _, action in _read(commit)]
    return sum(int(found["numRecords"]) for found in stats) if all("numRecords" in found for found in stats) else None
