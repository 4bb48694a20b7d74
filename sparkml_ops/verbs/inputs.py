"""The tables that a project is given: their contract, checked on their logs before Spark starts."""

from __future__ import annotations

from feature_store.checks import require_columns, require_instant
from feature_store.declaration import SourceDeclaration, TrainingSetDeclaration, check_inputs
from feature_store.duration import is_duration
from feature_store.errors import TableNotFound
from feature_store.expressions import columns_of
from feature_store.source import check_source
from sparkml_ops.verbs.work import Work

__all__ = ["check_sources", "check_spine", "lookup_keys", "spine_known_time", "spine_table"]


def check_sources(work: Work) -> None:
    """Refuse tables of the user's own that break their contract, or lack what a feature table reads.

    Raises:
        ContractError: A table or a column is missing, or a column is of another type.
    """
    sources, features = work.sections.sources, work.sections.features
    found = {name: check_source(work.tables, name, source) for name, source in sources.items() if source.table is not None}
    for name, declaration in features.items():
        table = declaration.table(name, sources)
        if declaration.source in found:
            check_inputs(table, dict.fromkeys(found[declaration.source].names, ""))
        elif table.source and table.source not in sources and table.source not in features and not work.tables.exists(table.source):
            raise TableNotFound(f"no table `{table.source}`", expected=f"the source of features.{name}", mend="load it, or correct the source")


def check_spine(work: Work, declared: TrainingSetDeclaration, *, label: bool) -> None:
    """Refuse a spine that breaks its source's contract, or lacks a column that is asked of it.

    A spine that this project makes itself is not judged before it is there.

    Args:
        label: Whether the label is read as well.

    Raises:
        ContractError: The table or a column is missing, or a column is of another type.
    """
    table, source = spine_table(work, declared), _source(work, declared)
    if source is not None and source[1].table is not None:
        schema = check_source(work.tables, *source)
    elif (source is not None or declared.spine in work.sections.features) and not work.tables.exists(table):
        return
    else:
        schema = work.tables.schema(table)
    what = f"the spine `{table}`"
    known = spine_known_time(work, declared)
    times = [name for name in (declared.time, known, declared.label_known_time if label else None) if name]
    read = (
        *declared.row_key,
        *times,
        *((declared.label, *([declared.site] if declared.site else [])) if label else ()),
        *declared.columns,
        *lookup_keys(declared),
    )
    # In a condition Spark tells no `A` from `a`.
    folded = {name.lower() for name in schema.names}
    filtered = [name for name in columns_of(declared.where) if name.lower() not in folded] if declared.where else []
    require_columns(schema, (*read, *filtered), what)
    for name in times:
        require_instant(schema, name, f"the time of {what},")


def spine_table(work: Work, declared: TrainingSetDeclaration) -> str:
    """Name of the table that holds the spine's rows."""
    made = work.sections.features.get(declared.spine)
    return declared.spine if made is None else made.table(declared.spine, work.sections.sources).table_name


def spine_known_time(work: Work, declared: TrainingSetDeclaration) -> str | None:
    """The spine's column of when a version of a row became known; None where there is none, and each row is one of its own."""
    made, source = work.sections.features.get(declared.spine), _source(work, declared)
    known = made.table(declared.spine, work.sections.sources).stored_known_time if made else source[1].known_time if source else None
    return None if known is None or is_duration(known) else known


def lookup_keys(declared: TrainingSetDeclaration) -> list[str]:
    """Spine columns that a lookup needs."""
    return [key for lookup in declared.lookups for key in lookup.keys]


def _source(work: Work, declared: TrainingSetDeclaration) -> tuple[str, SourceDeclaration] | None:
    """The declared source whose table is the spine."""
    if declared.spine in work.sections.features:
        return None
    return next(((name, source) for name, source in work.sections.sources.items() if source.table_name(name) == declared.spine), None)
