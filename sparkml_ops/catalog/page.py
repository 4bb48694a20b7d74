"""The catalog as one HTML page: readable on a phone, in light and dark, needing nothing from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from sparkml_ops.catalog.entry import Catalog, TableEntry
from sparkml_ops.catalog.picture import HEIGHT, WIDTH, columns_of, map_of
from sparkml_ops.catalog.template import PAGE
from sparkml_ops.clock import spoken
from sparkml_ops.page import template

__all__ = ["render"]

_MOST_USERS = 3


def render(catalog: Catalog) -> str:
    """The page of a catalog."""
    page: str = _template().render(
        project=catalog.project,
        as_of=f"{datetime.fromisoformat(catalog.as_of):%Y-%m-%d %H:%M} UTC",
        tables=catalog.tables,
        tiles=_tiles(catalog),
        map=map_of(catalog.graph),
        width=WIDTH,
        height=HEIGHT,
    )
    return page.lstrip()


@cache
def _template() -> Template:
    return template(
        PAGE,
        age=_age,
        breakable=_breakable,
        columns=columns_of,
        newest=_newest,
        oneline=lambda text: Markup(" ".join(text.split())),  # noqa: S704 - what a macro of ours has escaped
        px=_px,
        share=_share,
        spoken=spoken,
        whole=lambda number: "–" if number is None else f"{number:,}",
    )


def _tiles(catalog: Catalog) -> list[tuple[str, str]]:
    kinds = Counter(node.kind for node in catalog.graph.nodes.values())
    stale = sum(table.stale for table in catalog.tables)
    tiles = [("tables", len(catalog.tables)), ("features", sum(len(table.features) for table in catalog.tables)), ("stale", stale)]
    tiles += [(words, kinds[kind]) for kind, words in (("training set", "training sets"), ("model", "model versions"))]
    return [(words, f"{number:,}") for words, number in tiles]


def _age(table: TableEntry) -> str:
    """The newest row and its age, in words; no age of one that lies ahead, as a timetable's."""
    if table.newest is None or table.age is None:
        return "not built yet" if table.version is None else "no row, or none that the log knows"
    ago = f", {spoken(table.age)} ago" if table.age else ""
    return f"{table.newest.replace('T', ' ')[:16]}{ago}"


def _newest(names: Sequence[str]) -> str:
    """The last names, the newest of them first."""
    shown = ", ".join(list(reversed(names))[:_MOST_USERS])
    return shown if len(names) <= _MOST_USERS else f"{shown} and {len(names) - _MOST_USERS} more"


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _breakable(name: str) -> Markup:
    """A column's name that may go on in another line after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.3g} %"
