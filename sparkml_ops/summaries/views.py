"""What is looked at of a column beside its values: the length of texts and lists, the pattern of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.summaries.state import Maker, TableMaker

__all__ = ["Viewed", "looking", "pattern_of", "view_of", "views_of"]

_NAME = re.compile(r"(.+) \((length|pattern)\)", re.DOTALL)
_TEXT, _LONGEST = ("string", "char", "varchar"), 40


@dataclass(frozen=True)
class Viewed:
    """Makes the state of a view with the maker of its values.

    Args:
        column: What the view is of.
        view: `length` or `pattern`.
        maker: Of numbers for lengths, of categories for patterns.
    """

    column: str
    view: str
    maker: Maker

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.column,)

    def of_table(self, table: pa.Table) -> Any:
        """Summarise some rows."""
        array = table.column(self.column).combine_chunks()
        return self.maker(pattern_of(array) if self.view == "pattern" else _length_of(array))


def view_of(name: str) -> tuple[str, str] | None:
    """Column and view of a view's name; None for a column.

    >>> view_of("tail number (pattern)"), view_of("tail number")
    (('tail number', 'pattern'), None)
    """
    found = _NAME.fullmatch(name)
    return (found[1], found[2]) if found else None


def views_of(column: str, type_name: str) -> dict[str, str]:
    """The views of a column and their Spark types; none for numbers.

    >>> views_of("code", "string"), views_of("items", "array<bigint>"), views_of("price", "double")
    ({'code (length)': 'int', 'code (pattern)': 'string'}, {'items (length)': 'int'}, {})
    """
    if type_name.partition("(")[0] in _TEXT:
        return {f"{column} (length)": "int", f"{column} (pattern)": "string"}
    return {f"{column} (length)": "int"} if type_name.startswith("array<") else {}


def looking(makers: Mapping[str, Maker]) -> dict[str, Maker | TableMaker]:
    """Makers by name, those of views reading the column that they are of."""
    return {name: Viewed(*view, maker) if (view := view_of(name)) else maker for name, maker in makers.items()}


def pattern_of(array: pa.Array) -> pa.Array:
    """Texts with each run of letters as `a` and each run of digits as `9`, the first forty characters of it.

    >>> pattern_of(pa.array(["N725MQ", "2013-07-01", "Ærø 7b", None])).to_pylist()
    ['a9a', '9-9-9', 'a 9a', None]
    """
    letters = pc.replace_substring_regex(pc.cast(array, pa.string()), r"\pL+", "a")
    return pc.utf8_slice_codeunits(pc.replace_substring_regex(letters, r"\pN+", "9"), 0, _LONGEST)


def _length_of(array: pa.Array) -> pa.Array:
    return pc.list_value_length(array) if pa.types.is_nested(array.type) else pc.utf8_length(pc.cast(array, pa.string()))
