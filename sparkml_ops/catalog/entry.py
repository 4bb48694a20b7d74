"""What the catalog says of a table and of each of its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from feature_store.lineage import Graph
from sparkml_ops.catalog.distribution import Distribution
from sparkml_ops.clock import is_stale
from sparkml_ops.page import Drawn

__all__ = ["Catalog", "FeatureEntry", "TableEntry", "Users"]

# Names by kind, as {"model": ("flights@1",)}; the newest comes last.
Users = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class FeatureEntry:
    """A feature.

    Args:
        name: Its column.
        type: Spark type, as text.
        unit: None where its values have none.
        meaning: One sentence.
        personal: Whether it holds personal data; its values are never shown.
        users: What was made from it, by kind.
        distribution: Of a version of its table; None where no version was profiled.
    """

    name: str
    type: str
    unit: str | None
    meaning: str
    personal: bool
    users: Users
    distribution: Distribution | None = None


@dataclass(frozen=True)
class TableEntry:
    """A feature table.

    Args:
        name: Logical name; version 2 and later as `<name>@v<version>`.
        known: When a row is known, in words.
        made: From what and how its rows are made, in words.
        version: Newest version in the log; None: it is not built yet.
        rows: Number of rows by the log; None where the log does not tell.
        newest: Event time of its newest row, ISO 8601; None: there is none.
        age: Seconds from there to the clock; 0 where it lies ahead.
        freshness: The promise: most seconds that it may be old; None: there is none.
        users: What was made from it, by kind.
        deprecated: Day from which lookups should take its features elsewhere, ISO 8601; None: it stays.
    """

    name: str
    meaning: str
    owner: str | None
    tags: tuple[str, ...]
    keys: tuple[str, ...]
    event_time: str
    known: str
    ttl: str | None
    made: str
    version: int | None
    rows: int | None
    newest: str | None
    age: float | None
    freshness: float | None
    features: tuple[FeatureEntry, ...]
    users: Users
    deprecated: str | None = None

    @property
    def stale(self) -> bool:
        """Older than promised, or not there at all."""
        return is_stale(self.age, self.freshness)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**asdict(self), "stale": self.stale}


@dataclass(frozen=True)
class Catalog(Drawn):
    """The feature tables of a project's warehouse.

    Args:
        as_of: The clock, ISO 8601.
        tables: Every registered table and version.
        graph: What was made from what.
    """

    project: str
    as_of: str
    tables: tuple[TableEntry, ...]
    graph: Graph = field(repr=False)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types, without the graph."""
        return {"project": self.project, "as_of": self.as_of, "tables": [table.to_document() for table in self.tables]}

    def html(self) -> str:
        """The catalog as one page that needs nothing else."""
        from sparkml_ops.catalog.page import render

        return render(self)
