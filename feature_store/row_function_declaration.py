"""Row functions as a project's YAML declares them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from feature_store.closed import Declaration
from feature_store.row_function import RowFunction

__all__ = ["RowFunctionDeclaration", "checked_functions"]


class RowFunctionDeclaration(Declaration):
    """`training_set.functions.<name>`: a feature computed of each row; each field as in `RowFunction`."""

    type: str = Field(description="type of the feature: double, bigint, string, ...")
    inputs: dict[str, str] = Field(description="columns that it reads, of the spine, of lookups or of functions before it, and their types")
    expression: str | None = Field(default=None, description="SQL over the inputs; or")
    builder: str | None = Field(default=None, description="entry point of group feature_store.builders: a function of Arrow arrays")
    unit: str | None = Field(default=None, description="unit of the values; null where they have none")
    meaning: str = Field(default="", description="one sentence")

    def function(self, name: str) -> RowFunction:
        """The row function: the same object as its Python form."""
        return RowFunction(name, self.type, self.inputs, expression=self.expression, function=self.builder, unit=self.unit, meaning=self.meaning)


def checked_functions(declared: Mapping[str, RowFunctionDeclaration]) -> Mapping[str, RowFunctionDeclaration]:
    """The declarations, if each can be meant."""
    for name, item in declared.items():
        item.function(name)
    return declared
