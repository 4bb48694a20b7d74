"""How a feature table's rows come from its source's rows."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.builders import find_builder
from feature_store.errors import ContractError
from feature_store.expressions import check

__all__ = ["Builder", "Derived", "Function", "Transform", "stored_transform", "transform_of"]

Columns = Mapping[str, str] | Sequence[Mapping[str, str] | tuple[str, str]]


@dataclass(frozen=True)
class Derived:
    """Columns from SQL expressions over one row, and the rows to keep.

    Args:
        columns: (name, expression) in order, or a mapping, or a list of one-entry mappings; a later one may use an earlier one.
        where: Keeps the rows for which it is true; sees source and derived columns.

    >>> Derived({"late": "arr_delay > 15"}, where="not cancelled").columns
    (('late', 'arr_delay > 15'),)
    """

    columns: Columns = ()
    where: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple((name, check(expression)) for name, expression in _pairs(self.columns)))
        if self.where is not None:
            object.__setattr__(self, "where", check(self.where))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Name and expression of each column."""
        return _pairs(self.columns)

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        return {"columns": [list(pair) for pair in self.pairs], "where": self.where}

    def __call__(self, frame: DataFrame) -> DataFrame:
        """Add the columns and filter."""
        for name, expression in self.pairs:
            frame = frame.withColumn(name, F.expr(expression))
        return frame if self.where is None else frame.where(F.expr(self.where))


@dataclass(frozen=True)
class Builder:
    """A function `DataFrame -> DataFrame` under the name of an installed entry point."""

    name: str

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        return {"builder": self.name}

    def __call__(self, frame: DataFrame) -> DataFrame:
        """Call the builder."""
        return _returned(find_builder(self.name)(frame), self.name)


@dataclass(frozen=True)
class Function:
    """A Python function `DataFrame -> DataFrame`, known by name and digest of its source.

    Args:
        name: Its module and qualified name.
        code: Digest of its source text, defaults and captured plain values.
        call: The function; None where only the record of it was read.
    """

    name: str
    code: str
    call: Callable[[DataFrame], DataFrame] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and (self.name, self.code) == (other.name, other.code)

    def __hash__(self) -> int:
        return hash((self.name, self.code))

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        return {"function": self.name, "code": self.code}

    def __call__(self, frame: DataFrame) -> DataFrame:
        """Call the function.

        Raises:
            ContractError: Only its record is here.
        """
        if self.call is None:
            raise ContractError(
                f"the transform `{self.name}`, of which the registry keeps only the name",
                expected="the function itself in this session",
                mend="call store.register(table) with the Python object, or make it an entry point of group feature_store.builders",
            )
        return _returned(self.call(frame), self.name)


Transform = Derived | Builder | Function


def transform_of(given: object) -> Transform | None:
    """A transform from what a declaration holds.

    Args:
        given: None, a transform, a function, the name of a builder, {column: expression} or a list of such.

    Raises:
        ContractError: None of these.
    """
    if given is None or isinstance(given, Derived | Builder | Function):
        return given
    if isinstance(given, str):
        return Builder(given)
    if isinstance(given, Mapping | list | tuple):
        return Derived(given)
    if callable(given):
        return Function(f"{given.__module__}.{getattr(given, '__qualname__', type(given).__qualname__)}", digest(given), given)
    raise ContractError(
        f"a transform of type {type(given).__name__}", expected="a function DataFrame -> DataFrame or derived columns", mend="pass one"
    )


def stored_transform(document: Mapping[str, Any] | None) -> Transform | None:
    """A transform from its `document()`."""
    if document is None:
        return None
    if "builder" in document:
        return Builder(document["builder"])
    if "function" in document:
        return Function(document["function"], document["code"])
    return Derived(document["columns"], document["where"])


def _pairs(columns: Columns) -> tuple[tuple[str, str], ...]:
    items = (
        columns.items()
        if isinstance(columns, Mapping)
        else [pair for item in columns for pair in (item.items() if isinstance(item, Mapping) else [item])]
    )
    return tuple((str(name), expression) for name, expression in items)


def _returned(result: object, name: str) -> DataFrame:
    if not isinstance(result, DataFrame):
        raise ContractError(f"a {type(result).__name__} from the transform `{name}`", expected="a Spark DataFrame", mend="return the frame")
    return result


def digest(function: Callable[..., Any]) -> str:
    """A digest of a function's own code: the same text gives the same digest in every process.

    What the function calls is not part of it: raise the table's `version` when that changes.
    """
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = _code_text(code) if code is not None else type(function).__qualname__
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    captured = [value for value in (*(getattr(function, "__defaults__", None) or ()), *cells) if isinstance(value, str | int | float | bool | None)]
    return hashlib.sha256(f"{text}\n{captured!r}".encode()).hexdigest()[:16]


def _code_text(code: CodeType) -> str:
    constants = [_code_text(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
