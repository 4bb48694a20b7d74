"""Options of the release: the model's registered name and the gates before a promotion."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sparkml_ops.config.section import Section

__all__ = ["AbsoluteGate", "BaselinesGate", "Gate", "ReleaseSection"]


class AbsoluteGate(Section):
    """A metric of the evaluation split within fixed limits."""

    kind: Literal["absolute"]
    metric: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="a metric of the training run, as evaluation_auc; missing or NaN refuses")
    at_least: float | None = Field(default=None, description="lowest value that passes, in the metric's unit; null: no limit below")
    at_most: float | None = Field(default=None, description="highest value that passes, in the metric's unit; null: no limit above")

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("neither at_least nor at_most is set: say what passes")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is above at_most {self.at_most}: nothing would pass")
        return self


class BaselinesGate(Section):
    """Better than the base rate and than a logistic regression on the same rows and features."""

    kind: Literal["against_baselines"]
    auc_gain: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="the lower limit of the paired bootstrap interval of the AUC gain over logistic regression must be above this",
    )
    log_loss_margin: float = Field(default=0.0, ge=0, description="how much worse the log loss may be than each baseline's, in nats a row")


Gate = Annotated[AbsoluteGate | BaselinesGate, Field(discriminator="kind")]


def _default_gates() -> dict[str, Gate]:
    return {"baselines": BaselinesGate(kind="against_baselines")}


class ReleaseSection(Section):
    """`release`: what is registered under which name, and what a champion must have passed."""

    model: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", description="registered name in MLflow")
    minimum_rows: int = Field(default=1000, ge=1, description="rows that the evaluation split must have; fewer are no evidence and refuse")
    gates: dict[str, Gate] = Field(
        default_factory=_default_gates, min_length=1, description="name of a gate to its rule; a map in the configuration replaces the default one"
    )
