"""Types of columns as text, in Spark's own short form, read without a JVM."""

from __future__ import annotations

import re

from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["parse_type"]

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
