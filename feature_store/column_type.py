"""Types of columns as text, in Spark's own short form, read without a JVM."""

from __future__ import annotations

import re

import pyarrow as pa

from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["arrow_type", "parse_type"]

_ALIASES = {
    "tinyint": "tinyint",
    "byte": "tinyint",
    "smallint": "smallint",
    "short": "smallint",
    "int": "int",
    "integer": "int",
    "bigint": "bigint",
    "long": "bigint",
    "float": "float",
    "real": "float",
    "double": "double",
    "string": "string",
    "boolean": "boolean",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamp",
    "timestamp_ntz": "timestamp_ntz",
}
_ARROW = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}
_DECIMAL = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)")


def parse_type(text: str) -> str:
    """The canonical form of a type: an atomic one, `decimal(p,s)` or `array<...>` of them.

    Raises:
        ContractError: There is no such type.

    >>> parse_type("Long"), parse_type("array<integer>"), parse_type("decimal(10, 2)")
    ('bigint', 'array<int>', 'decimal(10,2)')
    """
    short = "".join(text.lower().split()) if isinstance(text, str) else ""
    if short.startswith("array<") and short.endswith(">"):
        return f"array<{parse_type(short[6:-1])}>"
    if (decimal := _DECIMAL.fullmatch(short)) and int(decimal[2]) <= int(decimal[1]) <= 38:
        return short
    if short not in _ALIASES:
        known = sorted(_ALIASES)
        raise ContractError(
            f"the type {text!r}{did_you_mean(short, known)}", expected=f"{', '.join(known)}, decimal(p,s) or array<...>", mend="correct it"
        )
    return _ALIASES[short]


def arrow_type(text: str) -> pa.DataType:
    """The Arrow type of a type; instants are in UTC.

    >>> arrow_type("array<double>")
    ListType(list<item: double>)
    """
    short = parse_type(text)
    if short.startswith("array<"):
        return pa.list_(arrow_type(short[6:-1]))
    if decimal := _DECIMAL.fullmatch(short):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _ARROW[short]
