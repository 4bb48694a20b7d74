"""Who was forgotten: kept as keyed hashes, so that a late refresh does not bring them back.

A hash is HMAC-SHA-256 under a random salt of the store. The salt lies beside the hashes, since every refresh needs it: the table
does not tell who was forgotten, but whoever may read it can test a guess. That is the price of rows that stay away.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from feature_store.delta import Tables, Transaction
from feature_store.erasure.entity import Entity
from feature_store.errors import ErasedError
from feature_store.names import quote

__all__ = ["ERASURES", "Forgotten", "Tombstone", "refuse_erased", "without_forgotten"]

ERASURES = "erasures"
_SCHEMA = StructType(
    [StructField(name, StringType()) for name in ("event", "erasure", "columns", "digest", "at", "table", "training_set", "old_hash", "new_hash")]
    + [StructField("rows", LongType())]
)
_BLOCK = 64


@dataclass(frozen=True)
class Tombstone:
    """What is left of a training set of which rows were erased.

    Args:
        training_set: Its id.
        erasure: Id of the erasure.
        old_hash: Content hash before it.
        new_hash: Content hash of the rows that are left.
        rows: How many these are.
        at: When, UTC in ISO form.
    """

    training_set: str
    erasure: str
    old_hash: str
    new_hash: str
    rows: int
    at: str = ""


class Forgotten:
    """The erasures of one warehouse, in the table `erasures`: events, which are only added.

    Args:
        tables: Where it lies.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def begin(self, entity: Entity) -> str:
        """Record that an entity is forgotten, from now on; returns the erasure's id, the same for the same entity."""
        salt = self._salt()
        if salt is None:
            # Of two first erasures at once one salt lands, and both read it.
            self._add("salt", "", Transaction(f"{ERASURES}/salt"), digest=secrets.token_hex(_BLOCK))
            salt = self._salt()
        assert salt is not None
        digest = entity.digest(salt)
        erasure = digest[:16]
        self._add("begun", erasure, Transaction(f"{ERASURES}/{erasure}/begun"), digest=digest, columns=json.dumps(entity.columns))
        return erasure

    def touch(self, erasure: str, tables: Iterable[str]) -> None:
        """Record, before rows are deleted, which tables held the entity; after a kill they can no longer be told."""
        fresh = sorted(set(tables) - self.touched(erasure))
        if fresh:
            # One commit for all; a run beside this one may name some of them as well, which does no harm.
            once = Transaction(f"{ERASURES}/{erasure}/touched/{hashlib.sha256(json.dumps(fresh).encode()).hexdigest()[:16]}")
            self._tables.add(ERASURES, _SCHEMA, [_event("touched", erasure, table=table) for table in fresh], transaction=once)

    def touched(self, erasure: str) -> set[str]:
        """The tables that held the entity whenever it was erased."""
        return {str(row["table"]) for row in self.events() if row["event"] == "touched" and row["erasure"] == erasure}

    def bury(self, stone: Tombstone) -> None:
        """Record what is left of a training set, once for the same content."""
        once = Transaction(f"{ERASURES}/{stone.erasure}/{stone.training_set}/{stone.new_hash}")
        values = {"training_set": stone.training_set, "old_hash": stone.old_hash, "new_hash": stone.new_hash, "rows": stone.rows}
        self._add("tombstone", stone.erasure, once, **values)

    def finish(self, erasure: str) -> None:
        """Record that nothing of the entity is left."""
        finished = sum(row["event"] == "finished" and row["erasure"] == erasure for row in self.events())
        self._add("finished", erasure, Transaction(f"{ERASURES}/{erasure}/finished", finished + 1))

    def tombstone(self, training_set: str) -> Tombstone | None:
        """The last tombstone of a training set, or None where none of its rows was erased."""
        stones = [row for row in self.events() if row["event"] == "tombstone" and row["training_set"] == training_set]
        if not stones:
            return None
        last = max(stones, key=lambda row: row["at"])
        return Tombstone(training_set, last["erasure"], last["old_hash"], last["new_hash"], int(last["rows"]), last["at"])

    def events(self) -> list[dict[str, Any]]:
        """All rows of the table; none where nothing was ever forgotten."""
        return self._tables.rows(ERASURES) if self._tables.exists(ERASURES) else []

    def hashes(self) -> tuple[bytes, dict[tuple[str, ...], list[str]]]:
        """The salt, and the hashes of the forgotten entities by their key columns."""
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        salt = b""
        for row in self.events():
            if row["event"] == "salt":
                salt = bytes.fromhex(row["digest"])
            elif row["event"] == "begun":
                found[tuple(json.loads(row["columns"]))].append(row["digest"])
        return salt, dict(found)

    def _salt(self) -> bytes | None:
        return self.hashes()[0] or None

    def _add(self, event: str, erasure: str, once: Transaction, **values: object) -> None:
        self._tables.add(ERASURES, _SCHEMA, [_event(event, erasure, **values)], transaction=once)


def _event(event: str, erasure: str, **values: object) -> dict[str, object]:
    return {**dict.fromkeys(_SCHEMA.names), "event": event, "erasure": erasure, "at": datetime.now(UTC).isoformat(), **values}


def refuse_erased(tables: Tables, training_set: str) -> None:
    """Refuse to prove a training set of which rows were erased: its inputs no longer hold them either.

    Raises:
        ErasedError: It has a tombstone; says which erasure, and both hashes.
    """
    stone = Forgotten(tables).tombstone(training_set)
    if stone is not None:
        raise ErasedError(
            f"training set `{training_set}`, of which erasure {stone.erasure} left {stone.rows} rows (content {stone.old_hash} before, "
            f"{stone.new_hash} now)",
            expected="one as it was made",
            mend="load its remaining rows, or make a new training set",
        )


def without_forgotten(tables: Tables, frame: DataFrame, roles: Sequence[tuple[str, str]] = ()) -> DataFrame:
    """A frame without the rows of entities that were forgotten; lazy, and the frame itself where nobody was.

    Rows whose key is null stay. One hash a row and a broadcast of the few hashes, no shuffle.

    Args:
        tables: The warehouse, with its table `erasures`.
        frame: Rows of any kind; key columns that it lacks are not looked for.
        roles: (column of the frame, key column) where a key stands under another name, as in a lookup's keys.
    """
    salt, groups = Forgotten(tables).hashes()
    for columns, digests in groups.items():
        gone = tables.spark.createDataFrame([(digest,) for digest in sorted(set(digests))], "__forgotten string")
        for names in _combinations(columns, frame.columns, roles):
            frame = frame.join(F.broadcast(gone), _hashed(dict(zip(columns, names, strict=True)), salt) == F.col("__forgotten"), "left_anti")
    return frame


def _combinations(columns: Sequence[str], there: Sequence[str], roles: Sequence[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Columns of a frame that can stand for the key columns."""
    choices = [
        dict.fromkeys([*([key] if key in there else []), *(left for left, right in roles if right == key and left in there)]) for key in columns
    ]
    return product(*choices)


def _hashed(names: Mapping[str, str], salt: bytes) -> Column:
    """`Entity.digest` of a row's values, as Spark computes it; null where a value is null."""
    key = salt.ljust(_BLOCK, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in key) for pad in (0x36, 0x5C))
    parts = [part for key_column, name in sorted(names.items()) for part in _parts(key_column, F.col(quote(name)).cast("string"))]
    message = F.encode(F.concat(*parts), "UTF-8")
    return F.sha2(F.concat(F.lit(outer), F.unhex(F.sha2(F.concat(F.lit(inner), message), 256))), 256)


def _parts(name: str, value: Column) -> tuple[Column, ...]:
    return F.lit(f"{len(name)}:{name}"), F.length(value).cast("string"), F.lit(":"), value
