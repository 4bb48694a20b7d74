"""`sparkml-ops features`: what features there are, where they come from, who uses them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.clock import spoken
from sparkml_ops.logs import logger
from sparkml_ops.records import to_document, to_json

if TYPE_CHECKING:
    from sparkml_ops.catalog import Catalog, FeatureEntry, TableEntry, Users

__all__ = ["app"]

app = typer.Typer(help="The catalog of features; starts no Spark where the warehouse is a folder.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(help="A source, table, table.feature, training set, model@version, models:/model@champion or the table of predictions.")
]
FeaturesOption = Annotated[bool, typer.Option("--features", help="Through single features and columns too.")]
_BARS = "▁▂▃▄▅▆▇█"


def list_features(common: Common, as_of: AsOf = None) -> None:
    """Every feature table: its entity, owner, newest row against its promise, and who uses it."""
    from sparkml_ops.verbs.catalog import perform

    _show_tables(common, perform(common.work(), as_of=as_of))


def search_features(common: Common, text: Annotated[str, typer.Argument(help="Words that all have to stand in it.")], as_of: AsOf = None) -> None:
    """Tables in whose names, meanings, units, owner or tags every word stands."""
    from sparkml_ops.verbs.catalog import perform

    _show_tables(common, perform(common.work(), text=text, as_of=as_of))


def show_feature(common: Common, name: Annotated[str, typer.Argument(help="A table, or table.feature.")], as_of: AsOf = None) -> None:
    """One table with its features, or one feature; its values as `features page` has last seen them."""
    from sparkml_ops.verbs.catalog import find

    table, feature = find(common.work(), name, as_of=as_of)
    if common.json:
        inherited = {"table": table.name, "owner": table.owner, "tags": table.tags, "newest": table.newest, "stale": table.stale}
        print(to_json(table if feature is None else {**to_document(feature), **inherited}))
        return
    console = Console(highlight=False)
    if feature is None:
        _show_table(console, table)
    else:
        _show_feature(console, table, feature)


def show_lineage(common: Common, name: NameArgument, features: FeaturesOption = False) -> None:
    """What a thing was made from, and what was made from it, all the way in both directions."""
    from sparkml_ops.verbs.catalog import lineage

    found = lineage(common.work(), name, features=features)
    if common.json:
        print(to_json(found))
        return
    rows = [
        ("made from", node.kind, node.name, _how(edge.how for edge in found.edges if edge.source == node.id)) for node in reversed(found.upstream)
    ]
    rows.append(("", found.node.kind, found.node.name, ""))
    rows += [("used by", node.kind, node.name, _how(edge.how for edge in found.edges if edge.target == node.id)) for node in found.downstream]
    print_listing(("", "kind", "name", "how"), rows, lead=3, styles=["bold" if not row[0] else "" for row in rows])


def show_graph(
    common: Common,
    name: Annotated[str | None, typer.Argument(help="Only what is up- and downstream of it.")] = None,
    features: FeaturesOption = False,
) -> None:
    """Everything and what it was made from, as a Mermaid flowchart: Markdown viewers draw it."""
    from sparkml_ops.verbs.catalog import lineage, store_of

    if name is not None:
        found = lineage(common.work(), name, features=features)
        print(to_json(found) if common.json else found.mermaid())
        return
    graph = store_of(common.work()).graph()
    graph = graph if features else graph.tables()
    print(to_json({"nodes": list(graph.nodes.values()), "edges": graph.edges}) if common.json else graph.mermaid())


def write_page(
    common: Common,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("features.html"),
    values: Annotated[bool, typer.Option(help="Read the values of tables that changed, by Spark, for the pictures.")] = True,
    as_of: AsOf = None,
) -> None:
    """The catalog as one page: per feature meaning, unit, owner, distribution, freshness and who uses it."""
    from sparkml_ops.verbs.catalog import perform

    catalog = perform(common.work(), as_of=as_of, pictures="newest" if values else "stored")
    written = catalog.to_html(out).absolute()
    logger.info("features: page at %s", written)
    print(to_json({"page": str(written), "tables": len(catalog.tables)}) if common.json else written)


app.command("list")(command(list_features))
app.command("show")(command(show_feature))
app.command("search")(command(search_features))
app.command("lineage")(command(show_lineage))
app.command("graph")(command(show_graph))
app.command("page")(command(write_page))


def _show_tables(common: Common, catalog: Catalog) -> None:
    if common.json:
        print(to_json(catalog))
        return
    if not catalog.tables:
        print("no such feature table: `sparkml-ops build-features` registers them")
        return
    titles = ("table", "features", "entity", "owner", "tags", "newest row", "age", "promise", "", "used by")
    rows = [_cells(table) for table in catalog.tables]
    print_listing(titles, rows, styles=["red" if table.stale else "" for table in catalog.tables])


def _cells(table: TableEntry) -> tuple[str, ...]:
    newest = "not built" if table.version is None else "" if table.newest is None else table.newest[:16].replace("T", " ")
    age, promise = (spoken(seconds) if seconds else "" for seconds in (table.age, table.freshness))
    return (
        table.name,
        str(len(table.features)),
        ", ".join(table.keys),
        table.owner or "",
        ", ".join(table.tags),
        newest,
        age,
        promise,
        " ".join(filter(None, ("STALE" if table.stale else "", f"deprecated {table.deprecated}" if table.deprecated else ""))),
        _used(table.users),
    )


def _show_table(console: Console, table: TableEntry) -> None:
    rows = "" if table.rows is None else f", {table.rows:,} rows"
    _facts(
        console,
        f"{table.name}  {'not built yet' if table.version is None else f'version {table.version}{rows}'}",
        table.meaning,
        ("entity", ", ".join(table.keys)),
        ("event time", f"{table.event_time}; known {table.known}"),
        ("made", table.made),
        ("ttl", table.ttl or ""),
        *_inherited(table),
        ("used by", _used(table.users)),
    )
    console.print()
    rows_of = [(item.name, item.type, item.unit or "", *_values(item), item.meaning) for item in table.features]
    print_listing(("feature", "type", "unit", "missing", "values", "meaning"), rows_of, console=console)


def _show_feature(console: Console, table: TableEntry, feature: FeatureEntry) -> None:
    missing, values = _values(feature)
    _facts(
        console,
        f"{table.name}.{feature.name}  {feature.type}{f' in {feature.unit}' if feature.unit else ''}",
        feature.meaning,
        ("values", values),
        ("missing", missing),
        *_inherited(table),
        ("used by", _used(feature.users)),
    )


def _inherited(table: TableEntry) -> tuple[tuple[str, str], ...]:
    ago = f", {spoken(table.age)} ago" if table.age else ""
    age = "" if table.newest is None else f"{table.newest[:16].replace('T', ' ')}{ago}"
    promise = "" if table.freshness is None else f", promised within {spoken(table.freshness)}{': STALE' if table.stale else ''}"
    return ("owner", table.owner or ""), ("tags", ", ".join(table.tags)), ("newest row", f"{age or 'none'}{promise}")


def _facts(console: Console, title: str, meaning: str, *facts: tuple[str, str]) -> None:
    console.print(title, style="bold", soft_wrap=True, markup=False)
    if meaning:
        console.print(meaning, soft_wrap=True, markup=False)
    width = max(len(name) for name, text in facts if text)
    for name, text in facts:
        if text:
            console.print(f"{name:{width}}  {text}", soft_wrap=True, markup=False)


def _values(feature: FeatureEntry) -> tuple[str, str]:
    """Share of missing values, and how the others lie: as bars, or the most frequent ones."""
    shown = feature.distribution
    if shown is None or feature.personal:
        return "", "personal data" if feature.personal else ""
    missing = "" if shown.missing is None else f"{shown.missing:.1%}"
    if shown.shape == "categories":
        return missing, ", ".join(f"{bar.label} {bar.share:.0%}" for bar in shown.bars) + (f" and {shown.more:,} more" if shown.more else "")
    if not shown.bars:
        return missing, ""
    highest = max(bar.share for bar in shown.bars) or 1.0
    bars = "".join(_BARS[round(bar.share / highest * (len(_BARS) - 1))] for bar in shown.bars)
    return missing, f"{shown.ends[0]} {bars} {shown.ends[1]}"


def _used(users: Users) -> str:
    """How many of each kind; of predictions their names."""
    many = {"training set": "training sets", "model": "models"}
    return ", ".join(
        f"{len(names)} {many.get(kind, kind) if len(names) > 1 else kind}" if kind in many else ", ".join(names) for kind, names in users.items()
    )


def _how(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
