"""The columns of our own tables: compared with what is there before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

from pyspark.sql.types import DataType, StructField, StructType

from feature_store.delta import Tables
from sparkml_ops.errors import ContractError

__all__ = ["check_shape", "nullable"]

_EVOLVE = {"spark.databricks.delta.schema.autoMerge.enabled": "true"}


def check_shape(tables: Tables, name: str, wanted: StructType) -> dict[str, str]:
    """Whether rows of a shape fit into a table: settings for its write, which let new columns in.

    Raises:
        ContractError: A column has another type in the table that is there.
    """
    if not tables.exists(name):
        return {}
    there = tables.known_schema(name)
    if clashes := list(_clashes(there, wanted, "")):
        raise ContractError(
            f"in table `{name}`: {'; '.join(clashes[:5])}",
            expected="the same types",
            mend="cast the columns back, or write to another scoring.target",
        )
    return _EVOLVE if _grows(there, wanted) else {}


def nullable(schema: StructType) -> StructType:
    """The same columns, all of which may be null: a later window may bring one that this one has not."""
    return StructType([StructField(field.name, field.dataType, nullable=True) for field in schema.fields])


def _clashes(there: DataType, wanted: DataType, path: str) -> Iterator[str]:
    if isinstance(there, StructType) and isinstance(wanted, StructType):
        known = {field.name.lower(): field.dataType for field in there.fields}
        for field in wanted.fields:
            if field.name.lower() in known:
                yield from _clashes(known[field.name.lower()], field.dataType, f"{path}.{field.name}" if path else field.name)
    elif there.simpleString() != wanted.simpleString():
        yield f"`{path}` is {there.simpleString()} there and {wanted.simpleString()} here"


def _grows(there: StructType, wanted: StructType) -> bool:
    known = {field.name.lower(): field.dataType for field in there.fields}
    for field in wanted.fields:
        before = known.get(field.name.lower())
        if before is None:
            return True
        if isinstance(before, StructType) and isinstance(field.dataType, StructType) and _grows(before, field.dataType):
            return True
    return False
