"""Which columns of the events a list of aggregates reads, and what each aggregate makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    IntegralType,
    LongType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from feature_store.aggregate import Aggregate
from feature_store.checks import is_plain
from feature_store.errors import ContractError
from feature_store.names import quote
from feature_store.window_values import Measure

__all__ = ["WindowColumns", "is_simple"]

_DOUBLES = {"mean", "variance", "std", "quantile", "approx_quantile"}
_NUMERIC = {"sum", *_DOUBLES}
_COUNTS = {"count", "distinct", "approx_distinct"}
_COMPARED = {"min", "max", "distinct", "approx_distinct"}
_ROWS = {"first", "last", "last_k"}
_HASH = "hash"
_SIMPLE = (NumericType, StringType, BinaryType, BooleanType, DateType, TimestampType, TimestampNTZType)


def is_simple(kind: DataType) -> bool:
    """Whether a Python worker compares values of a type as Spark does."""
    return isinstance(kind, _SIMPLE) and is_plain(kind)


class WindowColumns:
    """The stream's columns for a list of aggregates; what several of them read is carried once.

    Args:
        schema: Of the events.
        aggregates: Checked against it.

    Raises:
        ContractError: A function does not fit its column's type.
    """

    def __init__(self, schema: StructType, aggregates: Sequence[Aggregate]) -> None:
        self.schema = schema
        self.lengths = sorted({aggregate.length for aggregate in aggregates})
        self._columns: dict[str, Column] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._predicates: list[str | Column] = []
        self.measures = tuple(map(self._measure, aggregates))
        self.fields = tuple(StructField(aggregate.output, self._type(aggregate)) for aggregate in aggregates)

    @property
    def names(self) -> list[str]:
        """Names of the columns, values before flags of the aggregate that first needs them."""
        return list(self._columns)

    @property
    def columns(self) -> list[Column]:
        """What to select from the events."""
        return [column.alias(name) for name, column in self._columns.items()]

    def _measure(self, aggregate: Aggregate) -> Measure:
        column, function = aggregate.column, aggregate.function
        value = order = None
        if column is not None:
            kind = self.schema[column].dataType
            _require_fit(aggregate, kind)
            source, form = F.col(quote(column)), _form(function, kind)
            value = self._value(column, form, _read(source, form))
            if function in _ROWS and not is_simple(kind):
                order = self._value(column, "order", F.to_json(F.struct(source.alias("value"))))
        where = None if aggregate.where is None else self._flag(aggregate.where)
        window = self.lengths.index(aggregate.length)
        return Measure(
            aggregate.output, function, value, order, where, window, _arrow(self._type(aggregate), function), aggregate.q or 0.0, aggregate.k or 0
        )

    def _value(self, column: str, form: str, expression: Column) -> str:
        name = self._names.setdefault((column, form), f"value_{len(self._names)}")
        self._columns.setdefault(name, expression)
        return name

    def _flag(self, predicate: str | Column) -> str:
        for index, known in enumerate(self._predicates):
            # Columns overload ==, so they are told apart by identity, and texts by value.
            if known is predicate or (isinstance(known, str) and isinstance(predicate, str) and known == predicate):
                return f"where_{index}"
        self._predicates.append(predicate)
        name = f"where_{len(self._predicates) - 1}"
        self._columns[name] = _checked(predicate).cast("boolean")
        return name

    def _type(self, aggregate: Aggregate) -> DataType:
        if aggregate.column is None or aggregate.function in _COUNTS:
            return LongType()
        kind = self.schema[aggregate.column].dataType
        if aggregate.function == "last_k":
            return ArrayType(kind)
        if aggregate.function not in _NUMERIC:
            return kind
        if aggregate.function != "sum":
            return DoubleType()
        # As Spark's own sum: ten more digits, and whole numbers in 64 bits.
        return DecimalType(min(38, kind.precision + 10), kind.scale) if isinstance(kind, DecimalType) else _widest(kind)


def _require_fit(aggregate: Aggregate, kind: DataType) -> None:
    function, found = aggregate.function, f"`{aggregate.function}` of `{aggregate.column}`, a {kind.simpleString()}"
    if function in _NUMERIC and not isinstance(kind, NumericType):
        raise ContractError(found, expected="a number", mend=f'cast the column, for example F.col("{aggregate.column}").cast("double")')
    if function in _COMPARED and not is_simple(kind):
        raise ContractError(found, expected="a number, text (binary collation), boolean, date or timestamp", mend="aggregate a simple column of it")


def _form(function: str, kind: DataType) -> str:
    """What the worker reads: the column itself (empty), its hash, or a wider number."""
    if function in _DOUBLES:
        return "double"
    if function == "approx_distinct":
        return _HASH if isinstance(kind, StringType | BinaryType | DecimalType) else ""
    return _widest(kind).simpleString() if function == "sum" and not isinstance(kind, DecimalType) else ""


def _read(source: Column, form: str) -> Column:
    if form == _HASH:
        return F.when(source.isNotNull(), F.xxhash64(source))  # the hash of null is a number
    return source.cast(form) if form else source


def _widest(kind: DataType) -> DataType:
    return LongType() if isinstance(kind, IntegralType) else DoubleType()


def _arrow(kind: DataType, function: str) -> pa.DataType | None:
    if function == "sum" and isinstance(kind, DecimalType):
        return pa.decimal128(kind.precision, kind.scale)
    return None


def _checked(predicate: str | Column) -> Column:
    if isinstance(predicate, Column):
        return predicate
    from feature_store.expressions import check

    return F.expr(check(predicate))
