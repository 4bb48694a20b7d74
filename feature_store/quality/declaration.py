"""Expectations as a project's YAML declares them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from feature_store.closed import Declaration
from feature_store.quality.expectation import Expectation

__all__ = ["ExpectationDeclaration"]


class ExpectationDeclaration(Declaration):
    """`features.<table>.expectations[]`: one rule; each field as in `Expectation`."""

    rule: str = Field(description="not_null, between, one_of, pattern, unique, sql, type, nulls, rows, fresh or change")
    column: str | None = Field(default=None, description="the column that it is about")
    low: int | float | None = Field(default=None, description="least number, or number of rows")
    high: int | float | None = Field(default=None, description="greatest number, number of rows, or share of nulls")
    values: tuple[bool | int | float | str, ...] = Field(default=(), description="the values of one_of")
    pattern: str | None = Field(default=None, description="regular expression that the whole text matches")
    columns: tuple[str, ...] = Field(default=(), description="columns that are unique together")
    sql: str | None = Field(default=None, description="predicate over one row; null passes")
    type: str | None = Field(default=None, description="Spark's short form of the column's type, as bigint or array<float>")
    within: str | None = Field(default=None, description='oldest age of the newest row, as "1d"')
    of: str | None = Field(default=None, description="what may not change: rows, or mean or nulls of the column")
    by: float | None = Field(default=None, description="by how much it may: a share of rows or mean, or of rows that are null")
    otherwise: Literal["fail", "quarantine", "warn"] = Field(default="fail", description="what happens where it does not hold")
    name: str = Field(default="", description="what reports call it; empty: its words")

    @model_validator(mode="after")
    def _can_be_meant(self) -> ExpectationDeclaration:
        self.expectation()
        return self

    def expectation(self) -> Expectation:
        """The expectation: the same object as its Python form."""
        return Expectation(**{name: getattr(self, name) for name in type(self).model_fields})
