"""Who is to be forgotten: values of key columns, which no message, log or table may repeat."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from feature_store.errors import ContractError

__all__ = ["Entity", "is_searchable", "is_whole", "value_for"]

_WHOLE = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}


@dataclass(frozen=True)
class Entity:
    """Key columns with the values of one entity.

    Args:
        columns: Names of the key columns, sorted.
        values: Their values as text, in the same order; not shown by `repr`.

    >>> Entity.of({"origin": "EWR", "carrier": "UA"})
    Entity(columns=('carrier', 'origin'))
    """

    columns: tuple[str, ...]
    values: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, keys: Mapping[str, object]) -> Self:
        """The entity of key columns and values.

        Raises:
            ContractError: No key, a null, an empty text, or a value that is neither text nor a whole number. The value is not named.
        """
        if not isinstance(keys, Mapping) or not keys:
            raise ContractError("no key to forget", expected='key columns with values, as {"customer": "17"}', mend="name the entity")
        for name, value in keys.items():
            if value is None or value == "":
                what = "null" if value is None else "an empty text"
                raise ContractError(
                    f"{what} as `{name}`", expected="the value of one entity", mend="rows without a key belong to nobody: delete them"
                )
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ContractError(
                    f"a value of type {type(value).__name__} as `{name}`", expected="text or a whole number", mend="give it as the table holds it"
                )
        ordered = sorted((str(name), str(value)) for name, value in keys.items())
        return cls(tuple(name for name, _ in ordered), tuple(value for _, value in ordered))

    def digest(self, salt: bytes) -> str:
        """HMAC-SHA-256 of the columns and values under the store's salt, in hexadecimal digits.

        >>> Entity.of({"a": "1", "b": "12"}).digest(b"") == Entity.of({"a": "11", "b": "2"}).digest(b"")
        False
        """
        return hmac.new(salt, "".join(map(_part, self.columns, self.values)).encode(), hashlib.sha256).hexdigest()


def _part(name: str, value: str) -> str:
    # With their lengths, so that no two entities run together to the same text.
    return f"{len(name)}:{name}{len(value)}:{value}"


def is_whole(kind: str) -> bool:
    """Whether a type, in Spark's short form, is of whole numbers."""
    return kind in _WHOLE or (kind.startswith("decimal(") and kind.endswith(",0)"))


def is_searchable(kind: str) -> bool:
    """Whether a column of this type can be a key that is searched: text or whole numbers.

    >>> is_searchable("varchar(8)"), is_searchable("double")
    (True, False)
    """
    return kind == "string" or kind.startswith(("varchar(", "char(")) or is_whole(kind)


def value_for(kind: str, value: str) -> str | None:
    """A value as a column of this type holds it, or None where such a column cannot hold it.

    >>> value_for("bigint", "17"), value_for("bigint", "017"), value_for("tinyint", "1700"), value_for("string", "017")
    ('17', None, None, '017')
    """
    if not is_whole(kind):
        return value
    # Another spelling of the same number is another text: an entity has one.
    if not value.removeprefix("-").isdecimal() or str(int(value)) != value:
        return None
    bits = _WHOLE.get(kind, 127)
    return value if -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1) else None
