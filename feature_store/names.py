"""Names of tables, parsed before they come near SQL or a path."""

from __future__ import annotations

import re
from dataclasses import dataclass

from feature_store.address import for_spark
from feature_store.errors import ContractError

__all__ = ["Warehouse", "parse_table", "quote"]

_TABLE = re.compile(r"[a-z][a-z0-9_]{0,127}(@v[1-9][0-9]{0,5})?")
_CATALOG = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")


def parse_table(name: str) -> str:
    """The physical name of a logical one: `flights@v2` lies in `flights_v2`.

    Raises:
        ContractError: The name is no lower-case identifier.

    >>> parse_table("origin_delays@v2")
    'origin_delays_v2'
    """
    if not isinstance(name, str) or not _TABLE.fullmatch(name):
        raise ContractError(
            f"the table name {name!r}",
            expected="lower-case letters, digits and _, starting with a letter, at most 128 (`@v2` may follow)",
            mend="rename the table",
        )
    return name.replace("@", "_")


def quote(identifier: str) -> str:
    """An identifier as Spark SQL wants it, whatever it contains.

    >>> quote("a`b")
    '`a``b`'
    """
    return "`" + identifier.replace("`", "``") + "`"


@dataclass(frozen=True, kw_only=True)
class Warehouse:
    """Where logical tables lie: folders under `root`, or tables of a catalog's schema.

    Args:
        root: A folder or object-store prefix that Spark and Python both read.
        catalog: `catalog.schema`; `spark_catalog.default` is Spark's own.
    """

    root: str | None = None
    catalog: str | None = None

    def __post_init__(self) -> None:
        if (self.root is None) == (self.catalog is None):
            raise ContractError(
                f"root={self.root!r} and catalog={self.catalog!r}", expected="exactly one of them", mend="set warehouse.root or warehouse.catalog"
            )
        if self.catalog is not None:
            parts = self.catalog.split(".")
            if len(parts) != 2 or not all(_CATALOG.fullmatch(part) for part in parts):
                raise ContractError(f"the catalog {self.catalog!r}", expected="`catalog.schema`", mend="change warehouse.catalog")

    def path(self, name: str) -> str:
        """Folder of a table as Spark reads it; only where the warehouse has a root."""
        if self.root is None:
            raise ContractError(f"the catalog {self.catalog}", expected="a warehouse with a root", mend="address this table by name")
        return f"{for_spark(self.root).rstrip('/')}/{parse_table(name)}"

    def qualified(self, name: str) -> str:
        """Quoted name of a table for Spark SQL and the DataFrame API."""
        if self.catalog is None:
            return f"delta.{quote(self.path(name))}"
        return ".".join(quote(part) for part in (*self.catalog.split("."), parse_table(name)))
