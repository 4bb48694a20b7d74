"""Columns whose type no tensor holds: what to do about each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from feature_store.names import quote

__all__ = ["mends"]


def mends(types: Mapping[str, str]) -> str:
    """The change that makes features of these columns.

    Args:
        types: Column to Spark's simple type name.

    >>> mends({"price": "decimal(10,2)"})
    'price: CAST(`price` AS DOUBLE)'
    >>> mends({"tags": "map<string,int>"})
    "tags: take single keys out of it, as `tags`['key']"
    """
    return "; ".join(f"{name}: {_mend(quote(name), kind)}" for name, kind in types.items())


def _mend(name: str, kind: str) -> str:
    zone = ", after to_utc_timestamp" if kind == "timestamp_ntz" else ""
    known = (
        (r"decimal.*", f"CAST({name} AS DOUBLE)"),
        (r"timestamp.*", f"say what of it counts, as hour({name}), a difference of days, or CAST({name} AS DATE){zone}"),
        (r"array<(tinyint|smallint|int|bigint|decimal.*)>", f"CAST({name} AS ARRAY<DOUBLE>)"),
        (r"array.*", f"take what counts out of it, as size({name}) or single elements"),
        (r"map.*", f"take single keys out of it, as {name}['key']"),
        (r"struct.*", f"make columns of its fields, as {name}.field"),
        (r"string", "list it in training.categorical"),
    )
    return next(
        (mend for pattern, mend in known if re.fullmatch(pattern, kind)),
        f"derive a number or a string from it, as sha2({name}, 256), or leave it out",
    )
