"""Types of a model's inputs and outputs as text, in Spark's short form: atoms, and arrays and structs of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import DataType

from feature_store.column_type import arrow_type
from sparkml_ops.errors import ContractError

__all__ = ["arrow_kind", "element", "is_nested", "members", "sorted_kind", "spark_kind"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@lru_cache(maxsize=1024)
def arrow_kind(kind: str) -> pa.DataType:
    """The Arrow type of a kind; instants are in UTC.

    Raises:
        ContractError: There is no such type, or a struct has a field whose name is no word.

    >>> arrow_kind("struct<a:double,b:array<string>>")
    StructType(struct<a: double, b: list<item: string>>)
    """
    if (inner := element(kind)) is not None:
        return pa.list_(arrow_kind(inner))
    if kind.startswith("struct<"):
        return pa.struct([(name, arrow_kind(inner)) for name, inner in members(kind)])
    return arrow_type(kind)


def spark_kind(kind: str) -> DataType:
    """The Spark type of a kind.

    >>> spark_kind("struct<a:double,b:array<string>>").simpleString()
    'struct<a:double,b:array<string>>'
    """
    found: DataType = from_arrow_type(arrow_kind(kind))
    return found


def is_nested(kind: str) -> bool:
    """Whether values of a kind have parts."""
    return kind.endswith(">")


def element(kind: str) -> str | None:
    """What an array holds; None: it is no array.

    >>> element("array<array<double>>"), element("double")
    ('array<double>', None)
    """
    return kind[6:-1] if kind.startswith("array<") else None


def members(kind: str) -> tuple[tuple[str, str], ...]:
    """Name and kind of each field of a struct; none of anything else.

    Raises:
        ContractError: A name is no word.

    >>> members("struct<a:double,b:struct<c:int,d:int>>")
    (('a', 'double'), ('b', 'struct<c:int,d:int>'))
    """
    found = []
    for part in _parts(kind[7:-1]) if kind.startswith("struct<") else ():
        name, _, inner = part.partition(":")
        if not _NAME.fullmatch(name):
            raise ContractError(f"a struct's field {name!r}", expected="letters, digits and _", mend="rename it")
        found.append((name, inner))
    return tuple(found)


def sorted_kind(kind: str) -> str:
    """A kind with the fields of its structs by name, as which two orders of them are equal.

    >>> sorted_kind("array<struct<b:int,a:struct<d:int,c:int>>>")
    'array<struct<a:struct<c:int,d:int>,b:int>>'
    """
    if (inner := element(kind)) is not None:
        return f"array<{sorted_kind(inner)}>"
    if not kind.startswith("struct<"):
        return kind
    return f"struct<{','.join(f'{name}:{sorted_kind(part)}' for name, part in sorted(members(kind)))}>"


def _parts(text: str) -> Iterator[str]:
    """Cut at the commas that no bracket encloses."""
    depth = start = 0
    for position, letter in enumerate(text):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            yield text[start:position]
            start = position + 1
    yield text[start:]
