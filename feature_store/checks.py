"""Checks of a frame's columns that need no Spark job: names, types, clashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DataType, DateType, IntegralType, MapType, StringType, StructType, TimestampNTZType, TimestampType

from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["Keys", "is_orderable", "is_plain", "key_pairs", "refuse_clash", "require_columns", "require_instant", "require_same_keys", "require_site"]

Keys = str | Sequence[str] | Mapping[str, str]


def key_pairs(keys: Keys) -> tuple[tuple[str, str], ...]:
    """Keys as (spine column, table column), in the order given.

    Raises:
        ContractError: There are none, or one is named twice.

    >>> key_pairs({"home": "airport"}), key_pairs(("origin", "carrier"))
    ((('home', 'airport'),), (('origin', 'origin'), ('carrier', 'carrier')))
    """
    pairs = tuple(keys.items()) if isinstance(keys, Mapping) else tuple((key, key) for key in ([keys] if isinstance(keys, str) else keys))
    if not pairs or any(len({pair[side] for pair in pairs}) < len(pairs) for side in (0, 1)):
        raise ContractError(f"the keys {list(pairs)}", expected="one or more different columns", mend="name the columns that identify the entity")
    return pairs


def require_columns(frame: DataFrame | StructType, names: Iterable[str], what: str) -> None:
    """Refuse a frame in which a column is missing or stands twice.

    Args:
        frame: Rows, or the schema of a table that is not read yet.
        what: The frame's part in the call, for the message.

    Raises:
        ContractError: Names the missing columns, with the nearest one that exists.
    """
    known = frame.names if isinstance(frame, StructType) else frame.columns
    if doubled := [name for name, count in Counter(known).items() if count > 1]:
        raise ContractError(f"columns {doubled[:5]} twice in {what}", expected="every column once", mend="drop or rename one of each")
    if missing := [name for name in dict.fromkeys(names) if name not in known]:
        listed = ", ".join(f"`{name}`{did_you_mean(name, known)}" for name in missing[:5])
        raise ContractError(f"no column {listed} in {what}", expected=f"columns out of {known}", mend="correct the name, or add the column")


def require_instant(schema: StructType, name: str, what: str) -> None:
    """Refuse a time that is no UTC instant.

    Raises:
        ContractError: The column is no `timestamp`; says the cast to add.
    """
    found = schema[name].dataType
    if isinstance(found, TimestampType):
        return
    castable = isinstance(found, TimestampNTZType | DateType | StringType)
    cast = f'add .withColumn("{name}", F.col("{name}").cast("timestamp")); the cast reads it in spark.sql.session.timeZone, so set that to the zone it is in'
    raise ContractError(
        f"{what} `{name}` of type {found.simpleString()}",
        expected="timestamp (a UTC instant)",
        mend=cast if castable else "name a column of type timestamp",
    )


def require_site(schema: StructType, name: str) -> None:
    """Refuse a column that cannot tell files apart by its values.

    Raises:
        ContractError: It is neither a text nor a whole number.
    """
    kind = schema[name].dataType
    if not (isinstance(kind, StringType | IntegralType) and is_plain(kind)):
        raise ContractError(f"the site `{name}` of type {kind.simpleString()}", expected="string or a whole number", mend="cast it in the spine")


def require_same_keys(spine: StructType, table: StructType, pairs: Iterable[tuple[str, str]], what: str) -> None:
    """Refuse keys whose types differ between the spine and a table.

    Raises:
        ContractError: Names both types, or a type that cannot identify anything.
    """
    for left, right in pairs:
        ours, theirs = spine[left].dataType, table[right].dataType
        if ours != theirs:
            raise ContractError(
                f"key `{left}` of type {ours.simpleString()} in the spine and `{right}` of type {theirs.simpleString()} in {what}",
                expected="the same type",
                mend=f'cast one of them, for example F.col("{left}").cast("{theirs.simpleString()}")',
            )
        if not is_orderable(ours):
            raise ContractError(f"key `{left}` of type {ours.simpleString()}", expected="a type that has equality", mend="take other columns as keys")


def refuse_clash(groups: Mapping[str, Iterable[str]]) -> None:
    """Refuse output columns of one name; Delta and Spark tell no `A` from `a`.

    Args:
        groups: Where columns come from, and their names.

    Raises:
        ContractError: Names the columns and where each comes from.
    """
    owners: dict[str, list[str]] = {}
    for owner, names in groups.items():
        for name in names:
            owners.setdefault(name.lower(), []).append(f"`{name}` of {owner}")
    clashes = [" and ".join(found) for found in owners.values() if len(found) > 1]
    if clashes:
        raise ContractError(
            f"output columns of one name: {'; '.join(clashes[:5])}", expected="different names", mend="set prefix= or name=, or drop a column"
        )


def is_orderable(kind: DataType) -> bool:
    """Whether Spark can sort by a type."""
    if isinstance(kind, StructType):
        return all(is_orderable(field.dataType) for field in kind.fields)
    if isinstance(kind, ArrayType):
        return is_orderable(kind.elementType)
    return not isinstance(kind, MapType) and kind.typeName() not in {"variant", "interval", "geometry", "geography"}


def is_plain(kind: DataType) -> bool:
    """Whether equal means equal bytes and an order exists: no map, and no string with a collation."""
    if isinstance(kind, StructType):
        return all(is_plain(field.dataType) for field in kind.fields)
    if isinstance(kind, ArrayType):
        return is_plain(kind.elementType)
    return is_orderable(kind) and not (isinstance(kind, StringType) and kind.collation != "UTF8_BINARY")
