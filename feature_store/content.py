"""An order-free hash of a frame's content: equal rows in any order give the same sixteen digits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, MapType, StructType

from feature_store.errors import ContractError
from feature_store.names import quote

__all__ = ["Content", "content_columns", "content_of", "measure", "row_hash"]


@dataclass(frozen=True)
class Content:
    """What a frame holds, whatever its order.

    Args:
        rows: Number of rows.
        digest: Sixteen hexadecimal digits over the sum and the xor of all row hashes: xor alone loses a row that
            stands twice, and a sum alone lets two changes cancel more easily.
    """

    rows: int
    digest: str


def row_hash(frame: DataFrame, *, columns: tuple[str, ...] | None = None, salt: str = "") -> Column:
    """A 64-bit hash of a row's values, the same for any order of its columns.

    Null, NaN, an empty string and zero differ from each other; -0.0 equals 0.0, as it does in comparisons.

    Args:
        columns: What to hash; None takes all.
        salt: Makes hashes of the same row independent of each other.
    """
    names, schema = sorted(frame.columns if columns is None else columns), frame.schema
    parts = [part for name in names for part in (_literal(name), *_parts(quote(name), schema[name].dataType, name))]
    # As one text: built of columns, each value would cost a dozen calls to the JVM.
    return F.expr(_hash(_literal(salt), *parts))


def content_columns(hashed: Column) -> list[Column]:
    """The aggregates that `content_of` reads, so that they can share a job with others.

    Args:
        hashed: The row hash.
    """
    # A sum of 64-bit numbers overflows a long, which Spark refuses in ANSI mode.
    return [
        F.count("*").alias("content_rows"),
        F.sum(hashed.cast("decimal(20,0)")).alias("content_sum"),
        F.bit_xor(hashed).alias("content_xor"),
    ]


def content_of(found: Row) -> Content:
    """The content from a row of aggregates."""
    rows, total, mixed = found["content_rows"], found["content_sum"] or 0, found["content_xor"] or 0
    digest = hashlib.sha256(f"{rows}:{int(total) % 2**64}:{mixed % 2**64}".encode()).hexdigest()[:16]
    return Content(int(rows), digest)


def measure(frame: DataFrame) -> Content:
    """The content of a frame, in one job."""
    found = frame.agg(*content_columns(row_hash(frame))).first()
    assert found is not None
    return content_of(found)


def _hash(*parts: str) -> str:
    return f"xxhash64({', '.join(parts)})"


def _parts(value: str, kind: DataType, name: str) -> tuple[str, str]:
    """A value for the hash, and the mark of null, which `xxhash64` skips; in SQL."""
    return _hashable(value, kind, name), f"{value} IS NULL"


def _hashable(value: str, kind: DataType, name: str) -> str:
    if isinstance(kind, FloatType | DoubleType):
        number = kind.simpleString()
        return f"CASE WHEN isnan({value}) THEN CAST('nan' AS {number}) ELSE {value} + CAST(0 AS {number}) END"
    if isinstance(kind, ArrayType):
        item = f"__item_{value.count('__item_')}"
        return f"transform({value}, {item} -> {_hash(*_parts(item, kind.elementType, name))})"
    if isinstance(kind, StructType):
        return _hash(*(part for field in kind.fields for part in _parts(f"{value}[{_literal(field.name)}]", field.dataType, name)))
    if isinstance(kind, MapType) or kind.typeName() == "variant":
        raise ContractError(
            f"the column `{name}` of type {kind.simpleString()}", expected="a type with equality", mend="turn it into an array of structs"
        )
    return value


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
