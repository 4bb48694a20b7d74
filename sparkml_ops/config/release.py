"""Options of the release: the model's registered name and the gates before a promotion."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sparkml_ops.config.gates import ApprovalGate, EvidenceGate
from sparkml_ops.config.section import Section

__all__ = ["AbsoluteGate", "BaselinesGate", "CardSection", "ChampionGate", "Gate", "ReleaseSection", "SlicesGate"]


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


class ChampionGate(Section):
    """Not worse than the present champion on the challenger's evaluation rows, which neither was trained on, or better; a first model has none to beat."""

    kind: Literal["against_champion"]
    hypothesis: Literal["non_inferiority", "superiority"] = Field(
        default="non_inferiority", description="superiority: the lower limit of the AUC gain must be above auc_margin, not above minus auc_margin"
    )
    interval: Literal["bootstrap", "delong", "both"] = Field(
        default="bootstrap", description="of the AUC gain: the paired bootstrap's, DeLong's (a second pass over the rows), or the worse of both"
    )
    auc_margin: float = Field(default=0.005, ge=0, lt=1, description="margin of the AUC gain")
    log_loss_margin: float | None = Field(
        default=0.005, ge=0, description="the same for the gain in log loss, in nats a row; null: log loss is not judged"
    )
    minimum_rows: int = Field(default=1000, ge=1, description="labelled evaluation rows below which there is no evidence")


class SlicesGate(Section):
    """Limits in each slice of the evaluation rows that is large enough to judge by; smaller ones are reported only.

    Margins are of the figures themselves: a slice is there to find a harm that the whole hides.
    """

    kind: Literal["slices"]
    columns: tuple[str, ...] = Field(min_length=1, description="columns of the training set; each value is a slice, at most 200 a column")
    minimum_rows: int = Field(default=1000, ge=1, description="labelled rows that a slice needs to be judged")
    minimum_positives: int = Field(default=50, ge=1, description="rows of either label that a slice needs to be judged")
    auc_at_least: float | None = Field(default=None, ge=0, le=1, description="lowest AUC of a slice; null: no limit")
    auc_margin: float | None = Field(default=None, ge=0, lt=1, description="how far a slice's AUC may lie below the champion's; null: not compared")
    log_loss_at_most: float | None = Field(default=None, gt=0, description="highest log loss of a slice, in nats a row; null: no limit")
    log_loss_margin: float | None = Field(
        default=None, ge=0, description="how far a slice's log loss may lie above the champion's, in nats a row; null: not compared"
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.absolute and not self.compares:
            raise ValueError("no limit is set: say what a slice must hold (auc_at_least, auc_margin, log_loss_at_most, log_loss_margin)")
        return self

    @property
    def absolute(self) -> bool:
        """Whether the challenger alone is judged."""
        return self.auc_at_least is not None or self.log_loss_at_most is not None

    @property
    def compares(self) -> bool:
        """Whether it is judged against the champion."""
        return self.auc_margin is not None or self.log_loss_margin is not None


Gate = Annotated[AbsoluteGate | BaselinesGate | ChampionGate | SlicesGate | EvidenceGate | ApprovalGate, Field(discriminator="kind")]


class CardSection(Section):
    """`release.card`: what only people can say of the model."""

    intended_use: str = Field(default="", description="which decisions the predictions are for, and whose")
    not_for: str = Field(default="", description="uses that the model was not made or tested for")
    limits: str = Field(default="", description="where it is known to be wrong or unproven")
    owner: str = Field(default="", description="who answers for it")
    contact: str = Field(default="", description="where to ask")
    personal_data: str = Field(default="", description="which personal data it was made from, and on what ground")
    sensitive: tuple[str, ...] = Field(default=(), description="columns that a card shows nothing of, besides those that feature tables mark as pii")
    explain_rows: int = Field(
        default=200, ge=20, le=2000, description="evaluation rows that explanations are computed on, the first by their position"
    )


def _default_gates() -> dict[str, Gate]:
    return {"baselines": BaselinesGate(kind="against_baselines")}


class ReleaseSection(Section):
    """`release`: what is registered under which name, and what a champion must have passed."""

    model: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", description="registered name in MLflow")
    minimum_rows: int = Field(default=1000, ge=1, description="rows that the evaluation split must have; fewer are no evidence and refuse")
    gates: dict[str, Gate] = Field(
        default_factory=_default_gates, min_length=1, description="name of a gate to its rule; a map in the configuration replaces the default one"
    )
    replicates: int = Field(default=400, ge=200, multiple_of=4, description="replicates of the paired bootstrap against the champion")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="level of its intervals")
    seed: int = Field(default=7, ge=0, lt=2**63, description="of its weights")
    cluster: str | None = Field(
        default=None, description="column of the training set whose rows stay together in the bootstrap, as a customer's; null: each row for itself"
    )
    card: CardSection = Field(default_factory=CardSection)
    registered_names_only: bool = Field(
        default=False, description="whether predict_udf takes only the name in `model`, as an environment of production should"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.cluster is not None and any(isinstance(gate, ChampionGate) and gate.interval != "bootstrap" for gate in self.gates.values()):
            raise ValueError("DeLong's interval takes rows for independent: with release.cluster, set interval: bootstrap")
        if sum(isinstance(gate, ApprovalGate) for gate in self.gates.values()) > 1:
            raise ValueError("more than one gate of kind approval: one person's word is one gate")
        return self
