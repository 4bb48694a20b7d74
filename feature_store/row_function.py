"""Features that are computed when they are asked for: one declaration for training, scoring and a single row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Integral
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from feature_store.builders import find_builder
from feature_store.checks import refuse_clash
from feature_store.column_type import arrow_type, parse_type
from feature_store.errors import ContractError
from feature_store.expressions import check, columns_of
from feature_store.names import quote
from feature_store.nearest import did_you_mean
from feature_store.transform import digest

__all__ = ["RowFunction", "add_functions", "apply_functions", "function_of"]

Inputs = Mapping[str, str] | Sequence[tuple[str, str]]
Arrays = Callable[..., pa.Array]


@dataclass(frozen=True)
class RowFunction:
    """A feature of one row from its other columns: of the spine, of lookups, or made by functions before it.

    Args:
        name: The feature.
        type: Its type, in Spark's short form.
        inputs: Columns that it reads, and their types: the same everywhere, so that the result is.
        expression: Spark SQL over the inputs, row by row; or
        function: Of Arrow arrays, one for each input in order, that gives an array of the same length and of `type`: a Python
            function, or the name of an entry point of the group `feature_store.builders`. A result must not depend on which rows
            come together in an array. Instants come in the zone of the session.
        unit: Unit of the values.
        meaning: One sentence.

    Raises:
        ContractError: Not exactly one of expression and function, or an expression that is not allowed or reads other columns.

    >>> RowFunction("per_hour", "double", {"distance": "double", "minutes": "double"}, expression="60 * distance / minutes").columns
    ('distance', 'minutes')
    """

    name: str
    type: str
    inputs: Inputs
    expression: str | None = field(default=None, kw_only=True)
    function: Arrays | str | None = field(default=None, kw_only=True)
    unit: str | None = field(default=None, kw_only=True)
    meaning: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        pairs = self.inputs.items() if isinstance(self.inputs, Mapping) else self.inputs
        object.__setattr__(self, "inputs", tuple((name, parse_type(kind)) for name, kind in pairs))
        object.__setattr__(self, "type", parse_type(self.type))
        if (self.expression is None) == (self.function is None):
            raise ContractError(f"the row function `{self.name}` with both or neither", expected="expression or function", mend="give one of them")
        if self.expression is not None:
            object.__setattr__(self, "expression", check(self.expression))
            if set(columns_of(self.expression)) != set(self.columns):
                raise ContractError(
                    f"the inputs {list(self.columns)} of `{self.name}`, whose expression reads {list(columns_of(self.expression))}",
                    expected="exactly the columns of the expression",
                    mend="correct inputs",
                )
        elif not self.columns:
            raise ContractError(f"the row function `{self.name}` without inputs", expected="at least one column", mend="name what it reads")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return tuple(name for name, _ in self.types)

    @property
    def types(self) -> tuple[tuple[str, str], ...]:
        """Columns that it reads, with their types."""
        return self.inputs  # type: ignore[return-value]

    @property
    def call(self) -> Arrays:
        """The function of Arrow arrays.

        Raises:
            ContractError: No such entry point.
        """
        assert self.function is not None
        return find_builder(self.function) if isinstance(self.function, str) else self.function

    def document(self) -> dict[str, Any]:
        """As JSON types; of a function its name and a digest of its code."""
        head = {"name": self.name, "type": self.type, "inputs": [list(pair) for pair in self.types]}
        if self.expression is not None:
            return {**head, "expression": self.expression}
        if isinstance(self.function, str):
            return {**head, "builder": self.function, "code": digest(self.call)}
        return {
            **head,
            "function": f"{self.call.__module__}.{getattr(self.call, '__qualname__', type(self.call).__qualname__)}",
            "code": digest(self.call),
        }


def function_of(document: Mapping[str, Any]) -> RowFunction:
    """The row function of a stored document.

    Raises:
        ContractError: It was a Python object, of which nothing but the name is kept; or its entry point has other code now.
    """
    head = (document["name"], document["type"], [tuple(pair) for pair in document["inputs"]])
    if "expression" in document:
        return RowFunction(*head, expression=document["expression"])
    if "function" in document:
        raise ContractError(
            f"the row function `{document['name']}` that was given as the Python object {document['function']}",
            expected="an expression or an entry point, which can be found again",
            mend="make it an entry point of group feature_store.builders",
        )
    found = RowFunction(*head, function=document["builder"])
    if digest(found.call) != document["code"]:
        raise ContractError(f"other code behind the entry point `{document['builder']}`", expected="the code of then", mend="install that version")
    return found


def add_functions(frame: DataFrame, functions: Sequence[RowFunction]) -> DataFrame:
    """A frame with a column for each function, in order; lazy.

    Raises:
        ContractError: An input is missing or of another type, a name is taken, or an expression gives another type; before any job.
    """
    for item in functions:
        refuse_clash({"the rows": frame.columns, "the row functions": [item.name]})
        _check_inputs(item, frame)
        frame = frame.withColumn(item.name, _column(item))
        if (kind := frame.schema[item.name].dataType.simpleString()) != item.type:
            raise ContractError(
                f"`{item.name}` of type {kind} from `{item.expression}`", expected=item.type, mend=f"cast it, as cast(... as {item.type})"
            )
    return frame


def apply_functions(functions: Sequence[RowFunction], row: Mapping[str, Any], *, spark: SparkSession | None = None) -> dict[str, Any]:
    """The same features of a single row, as training and scoring compute them.

    Functions of Arrow arrays need no session. An expression is evaluated by Spark itself over a local row, since no other engine
    is equal to it in every cast, null and rounding.

    Args:
        functions: In order; a later one may read what an earlier one made.
        row: Values by column; instants with a zone.
        spark: For expressions; None: the active session.

    Returns:
        The features, by name, as Python values; instants in UTC.

    Raises:
        ContractError: A value is missing or does not fit its declared type, or an expression without a session.

    >>> import pyarrow.compute as pc
    >>> apply_functions([RowFunction("twice", "bigint", {"n": "bigint"}, function=lambda n: pc.multiply(n, 2))], {"n": 21})
    {'twice': 42}
    """
    known, made = dict(row), {}
    for item in functions:
        if item.name in known:
            raise ContractError(f"a value of `{item.name}` in the row", expected="none: it is computed", mend="leave it out, or rename the function")
        arrays = [_array(item, known, name, kind) for name, kind in item.types]
        result = _evaluated(item, arrays, spark) if item.expression is not None else _called(item)(*arrays)
        value = result[0].as_py()
        known[item.name] = made[item.name] = value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
    return made


def _column(item: RowFunction) -> Column:
    if item.expression is not None:
        return F.expr(item.expression)
    # The stubs ask for a function type, of which Spark warns: it reads the hints.
    made: Callable[..., Column] = arrow_udf(_called(item), item.type)  # type: ignore[call-overload]
    return made(*(F.col(quote(name)) for name in item.columns))


def _called(item: RowFunction) -> Arrays:
    """The function, with its result held to what is declared."""
    call, name, expected = item.call, item.name, arrow_type(item.type)

    def checked(*arrays: pa.Array) -> pa.Array:
        result = call(*arrays)
        result = result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result
        if not isinstance(result, pa.Array) or len(result) != len(arrays[0]):
            found = f"{len(result)} values" if isinstance(result, pa.Array) else f"a {type(result).__name__}"
            raise ContractError(f"{found} from the row function `{name}`", expected=f"an Arrow array of {len(arrays[0])} values", mend="correct it")
        zoned = pa.types.is_timestamp(expected) and pa.types.is_timestamp(result.type) and result.type.tz is not None
        if result.type != expected and not zoned:
            raise ContractError(f"values of type {result.type} from the row function `{name}`", expected=str(expected), mend="cast them in it")
        return result

    return checked


def _check_inputs(item: RowFunction, frame: DataFrame) -> None:
    what = f"for the row function `{item.name}`"
    for name, kind in item.types:
        if name not in frame.columns:
            raise ContractError(
                f"no column `{name}`{did_you_mean(name, frame.columns)} {what}", expected=f"one of {frame.columns}", mend="correct its inputs"
            )
        if (found := frame.schema[name].dataType.simpleString()) != kind:
            raise ContractError(f"`{name}` of type {found} {what}", expected=f"{kind}, as it declares", mend="correct its inputs, or cast the column")


def _array(item: RowFunction, row: Mapping[str, Any], name: str, kind: str) -> pa.Array:
    what = f"for the row function `{item.name}`"
    if name not in row:
        raise ContractError(f"no value of `{name}`{did_you_mean(name, row)} {what}", expected=f"{kind}, or None", mend="add it to the row")
    value = row[name]
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ContractError(f"`{name}` = {value!r} {what}", expected="an instant with a zone", mend="add tzinfo=UTC")
    wanted = arrow_type(kind)
    try:
        # Arrow itself would cut 1.5 down to 1.
        if pa.types.is_integer(wanted) and value is not None and not isinstance(value, Integral):
            raise pa.ArrowTypeError("no whole number")
        return pa.array([value], wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ContractError(f"`{name}` = {value!r} {what}", expected=f"a value of type {kind}", mend="convert it") from error


def _evaluated(item: RowFunction, arrays: Sequence[pa.Array], spark: SparkSession | None) -> pa.ChunkedArray:
    session = spark or SparkSession.getActiveSession()
    if session is None:
        raise ContractError(
            f"the expression of `{item.name}` without a session", expected="spark=", mend="pass the session, or make it a function of Arrow arrays"
        )
    # Of an expression without columns Spark needs a row all the same.
    row = pa.table([*arrays, pa.array([0])], names=[*item.columns, "__row"])
    return add_functions(session.createDataFrame(row), [item]).select(item.name).toArrow().column(0)
