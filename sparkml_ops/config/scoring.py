"""Options of scoring."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from feature_store.declaration import Duration
from feature_store.names import parse_table
from feature_store.quality.declaration import ExpectationDeclaration
from feature_store.quality.expectation import Expectation
from sparkml_ops.config.section import Section
from sparkml_ops.window import Size

__all__ = ["CheckSection", "ContractSection", "ScoringSection"]


class CheckSection(Section):
    """`scoring.checks.<column>`: a row that fails is quarantined, not scored."""

    minimum: float | None = Field(default=None, description="smallest value, in the column's unit; null: none")
    maximum: float | None = Field(default=None, description="largest value, in the column's unit; null: none")
    allow_null: bool = Field(default=True, description="whether the column may be null")
    allow_nan: bool = Field(default=True, description="whether the column may be NaN")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class ContractSection(Section):
    """`scoring.contract`: what a window's scoring set keeps to, judged in one pass before it is scored.

    `sparkml-ops contract learn` writes one from a version's training set, as a file to edit.
    """

    learnt_from: str = Field(default="", description="what the rules were learnt from, for people")
    rules: tuple[ExpectationDeclaration, ...] = Field(
        default=(), description="expectations as those of a feature table; fail refuses the window, quarantine sets rows aside, warn reports"
    )

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        names = [item.name for item in self.expectations]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the expectation `{doubled[0]}` twice: remove one of them, or set its name")
        if moving := [item.name for item in self.expectations if item.rule == "change"]:
            raise ValueError(f"`{moving[0]}`: what changes between windows is what `sparkml-ops drift` measures")
        return self

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """The rules, ready to judge."""
        return tuple(item.expectation() for item in self.rules)


class ScoringSection(Section):
    """`scoring`: how a window is scored and where its predictions go."""

    engine: Literal["auto", "files", "arrow", "pandas"] = Field(
        default="auto",
        description="how rows reach the model, with the same result; `auto` is `files`, the fastest, where the tables' files allow it, else `arrow`",
    )
    target: str = Field(
        default="scores", description="table of the predictions, of this project alone; its scoring sets go to `<target>_scoring_set`"
    )
    max_quarantine_share: float = Field(default=0.01, ge=0, le=1, description="share of a window's rows above which nothing is written; 0 to 1")
    window: Size = Field(default="month", description="size of the windows that `score --due` catches up; unless set, that of the newest scored one")
    freshness: Duration | None = Field(
        default=None,
        description='age of the end of the newest window at which `status` calls scores, drift and performance stale, as "35d"; null: never',
    )
    chunk_rows: int = Field(
        default=50_000_000,
        gt=0,
        description="rows after which the engine `files` keeps what it has scored: of a window of more, a run that was killed goes on behind it",
    )
    allow_empty: bool = Field(default=False, description="whether a window without rows is a result (it deletes the slot's rows) or refused")
    allow_open: bool = Field(
        default=False,
        description="whether a window may be scored before it has ended, with the rows that are there; later ones need another generation",
    )
    allowed_loaders: tuple[str, ...] = Field(
        default=(), description="modules that may load models of other kinds, as mlflow.xgboost or mlflow.sklearn"
    )
    trusted_pickles: tuple[str, ...] = Field(
        default=(),
        description="registered names of models that those modules may unpickle, as scikit-learn's cloudpickle or a pyfunc: it runs what their makers wrote",
    )
    unseen_nulls: Literal["score", "quarantine", "refuse"] = Field(
        default="score",
        description="what becomes of a missing number where no training row had it missing: scored with the training mean, set aside, or the window refused",
    )
    longest_call: Duration | None = Field(
        default="30m",
        description="time that the model may take for a batch of rows; one that takes longer is halved until the rows at fault stand alone. null: no end",
    )
    explain: int = Field(
        default=0,
        ge=0,
        description="inputs that stand beside each prediction in the column `explanation`, those that move it most first; 0: none. Two calls of the model an input",
    )
    checks: dict[str, CheckSection] = Field(default_factory=dict, description="rules by column of the scoring set")
    contract: ContractSection = Field(default=ContractSection(), description="what the scoring set keeps to before it is scored")

    @model_serializer(mode="wrap")
    def _without_the_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Finished runs of projects without a contract or explanations keep the hash of their configuration.
        unused = {name for name, used in (("contract", self.contract.rules), ("explain", self.explain)) if not used}
        return {name: value for name, value in serialize(self).items() if name not in unused}

    @field_validator("target")
    @classmethod
    def _table(cls, value: str) -> str:
        # The scoring set's name is derived from it and must be a table's name too.
        parse_table(f"{value}_scoring_set")
        return value
