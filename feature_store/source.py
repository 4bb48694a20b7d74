"""Raw tables: made by a project's builders, or the user's own, which keep the same contract."""

from __future__ import annotations

from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_store.builders import find_builder
from feature_store.checks import require_columns, require_instant
from feature_store.content import content_columns, content_of, row_hash
from feature_store.contract import check_types
from feature_store.declaration import SourceDeclaration
from feature_store.delta import Commit, Tables
from feature_store.delta.changes import FEED
from feature_store.duration import is_duration
from feature_store.errors import ContractError, TableNotFound
from feature_store.names import quote

__all__ = ["build_source", "check_source"]

_NEW_TABLE = {f"spark.databricks.delta.properties.defaults.{FEED.removeprefix('delta.')}": "true"}


def check_source(tables: Tables, name: str, source: SourceDeclaration) -> StructType:
    """Refuse a table of the user's own that breaks its source's contract; its log is read, neither Spark nor a row.

    Args:
        name: The source's name.

    Returns:
        The table's columns.

    Raises:
        TableNotFound: There is no such table.
        ContractError: A declared column is missing or of another type, or a time is no instant.
    """
    table = source.table_name(name)
    try:
        schema = tables.schema(table)
    except TableNotFound as error:
        raise TableNotFound(error.found, expected=f"the rows of source `{name}`", mend=f"load them, or correct sources.{name}.table") from error
    _check_columns(schema, source, f"table `{table}` (source `{name}`)")
    return schema


def build_source(tables: Tables, name: str, source: SourceDeclaration) -> Commit:
    """Write the rows of a source's builder to its table in one commit, unless they are the rows that stand there.

    Args:
        name: The source's name, which is also the table's.

    Raises:
        ContractError: A declared column is missing or of another type, or rows lack their identity or event time.
    """
    if source.builder is None:
        raise ContractError(f"source `{name}` without a builder", expected="a builder", mend="read its table")
    frame = find_builder(source.builder)(tables.spark)
    what = f"the rows of builder `{source.builder}`"
    _check_columns(frame.schema, source, what)
    identity = tuple(dict.fromkeys((*source.row_id, source.event_time)))
    # One pass tells whether the rows are new and whether each of them has an identity.
    nulls = [F.count_if(F.col(quote(column)).isNull()).alias(f"null:{column}") for column in identity]
    found = frame.agg(*content_columns(row_hash(frame)), *nulls).first()
    assert found is not None
    if lacking := [f"{found[f'null:{column}']} with a null `{column}`" for column in identity if found[f"null:{column}"]]:
        raise ContractError(
            f"{', '.join(lacking)} among {what}", expected="identity and event time in every row", mend="filter or fill them in the builder"
        )
    content = content_of(found)
    if not content.rows:
        raise ContractError(f"no rows from builder `{source.builder}`", expected="the rows of its source", mend="check what the builder reads")
    details = {"kind": "source", "builder": source.builder, "content": content.digest, "rows": content.rows, "columns": sorted(frame.columns)}
    if tables.exists(name) and (there := tables.details(name)).details == details:
        return Commit(there.snapshot, details, fresh=False)
    # The feed costs nothing where rows are only added or replaced as a whole, and lets feature tables follow changes.
    return tables.overwrite(name, frame, details=details, settings=None if tables.exists(name) else _NEW_TABLE)


def _check_columns(schema: StructType, source: SourceDeclaration, what: str) -> None:
    known = (source.known_time,) if source.known_time and not is_duration(source.known_time) else ()
    require_columns(schema, (*source.columns, source.event_time, *known, *source.row_id), what)
    check_types(source.columns, schema, what)
    for column in (source.event_time, *known):
        require_instant(schema, column, f"the time `{column}` of {what},")
