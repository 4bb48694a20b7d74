"""Gates that need evidence of their own: what each asks for, and the limits that it holds."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sparkml_ops.config.section import Section

__all__ = [
    "CARD_FIELDS",
    "ApprovalGate",
    "CalibrationGate",
    "CardGate",
    "ContractGate",
    "EvidenceGate",
    "FairnessGate",
    "LineageGate",
    "ParityGate",
    "ReproducibilityGate",
    "SecurityGate",
    "SizeGate",
    "StabilityGate",
    "ThroughputGate",
]

# Parts of a model card that the configuration may fill, each by the section's key of that name.
CARD_FIELDS = ("intended_use", "not_for", "limits", "owner", "contact", "personal_data")


class ContractGate(Section):
    """The evaluation rows hold the contract that training learnt: types, values that were never missing, known categories, finite numbers."""

    kind: Literal["data_contract"]
    missing_at_most: float = Field(default=0.0, ge=0, le=1, description="share of rows that may lack a number that no training row lacked")
    unknown_at_most: float = Field(
        default=0.05, ge=0, le=1, description="share of rows whose value of a category training did not keep, of each category"
    )
    infinite_at_most: float = Field(default=0.0, ge=0, le=1, description="share of rows with an infinite number, for which there is no prediction")


class LineageGate(Section):
    """Everything that the version was made from is on record and still there: rows and their definition, run, settings, packages, code."""

    kind: Literal["lineage"]


class ReproducibilityGate(Section):
    """`sparkml-ops reproduce` trained this run again, and the same came out."""

    kind: Literal["reproducibility"]
    metric_tolerance: float | None = Field(
        default=None, ge=0, description="largest difference of a metric, in its unit; null: weights and metrics are the same to the last bit"
    )


class CalibrationGate(Section):
    """Probabilities mean what they say on the evaluation rows; of binary models."""

    kind: Literal["calibration"]
    error_at_most: float | None = Field(default=None, ge=0, le=1, description="highest expected calibration error; null: no limit")
    brier_at_most: float | None = Field(default=None, ge=0, le=1, description="highest Brier score; null: no limit")
    slope_at_least: float | None = Field(
        default=None, description="lowest slope of label on log-odds, 1 where probabilities are right; null: no limit"
    )
    slope_at_most: float | None = Field(default=None, description="highest such slope; null: no limit")
    bins: int = Field(default=20, ge=2, le=1000, description="bins of about equally many rows of the calibration error")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if {self.error_at_most, self.brier_at_most, self.slope_at_least, self.slope_at_most} == {None}:
            raise ValueError("no limit is set: say what passes (error_at_most, brier_at_most, slope_at_least, slope_at_most)")
        if self.slope_at_least is not None and self.slope_at_most is not None and self.slope_at_least > self.slope_at_most:
            raise ValueError(f"slope_at_least {self.slope_at_least} is above slope_at_most {self.slope_at_most}: nothing would pass")
        return self


class FairnessGate(Section):
    """Decisions at a threshold fall on the groups of a sensitive column alike; of binary models. Needs the extra `fairness`."""

    kind: Literal["fairness"]
    column: str = Field(min_length=1, description="column of the training set; each value is a group, null is one too, at most 200")
    threshold: float = Field(default=0.5, gt=0, lt=1, description="probability from which on a row is decided for 1")
    minimum_rows: int = Field(default=100, ge=1, description="labelled rows that a group needs to be judged; smaller ones are named and left out")
    minimum_of_label: int = Field(default=20, ge=1, description="rows of either label that a group needs to be judged")
    demographic_parity_at_most: float | None = Field(default=None, ge=0, le=1, description="largest difference of the share decided for 1")
    equal_opportunity_at_most: float | None = Field(default=None, ge=0, le=1, description="the same among rows of label 1")
    equalised_odds_at_most: float | None = Field(default=None, ge=0, le=1, description="the larger of the differences among rows of either label")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if {self.demographic_parity_at_most, self.equal_opportunity_at_most, self.equalised_odds_at_most} == {None}:
            raise ValueError("no limit is set: say what passes (demographic_parity_at_most, equal_opportunity_at_most, equalised_odds_at_most)")
        return self


class StabilityGate(Section):
    """Each evaluation row with finite numbers has a finite prediction, which tiny changes hardly move and extreme numbers do not break."""

    kind: Literal["numeric_stability"]
    perturbation: float = Field(default=1e-4, gt=0, le=1, description="how far each number is moved, up or down, in deviations of the train split")
    change_at_most: float = Field(
        default=0.01, gt=0, description="how far a prediction may move then; in deviations of the label where it is a number"
    )
    extreme: float = Field(default=1e3, gt=1, description="deviations from its mean to which each number is set in turn, on some rows of each task")


class ParityGate(Section):
    """The same rows get the same predictions in this process, in a clean one, by the function on the executors, and by the exported graph."""

    kind: Literal["parity"]
    rows: int = Field(default=256, ge=1, le=1024, description="evaluation rows that are compared, the first by their position")
    tolerance: float = Field(default=1e-6, ge=0, description="largest difference of a number, in its unit")
    onnx: bool = Field(default=False, description="whether the model exported to ONNX is compared too; needs the extra `onnx`")


class ThroughputGate(Section):
    """The function that scoring uses is fast and small enough, measured on evaluation rows."""

    kind: Literal["throughput"]
    rows: int = Field(default=20_000, ge=100, description="evaluation rows that are scored once for warmth and once for the figure, at most")
    rows_per_second_at_least: float | None = Field(default=None, gt=0, description="of the whole pass, all executors together; null: no limit")
    peak_memory_at_most: int | None = Field(default=None, gt=0, description="MiB of the largest Python worker; null: no limit")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.rows_per_second_at_least is None and self.peak_memory_at_most is None:
            raise ValueError("no limit is set: say what passes (rows_per_second_at_least, peak_memory_at_most)")
        return self


class SizeGate(Section):
    """The registered package is not larger than an executor should fetch."""

    kind: Literal["artifact_size"]
    at_most: float = Field(gt=0, description="MiB of all its files")


class SecurityGate(Section):
    """The registered package can be loaded without running what it brings: allowed loader, no code, no pickle, the digest of registration."""

    kind: Literal["security"]


class CardGate(Section):
    """The model card says what people must know before they use the model."""

    kind: Literal["card"]
    fields: tuple[Literal["intended_use", "not_for", "limits", "owner", "contact", "personal_data"], ...] = Field(
        default=("intended_use", "limits", "owner"), min_length=1, description="keys of release.card that must say something"
    )


class ApprovalGate(Section):
    """Somebody else than who registered the version has approved it with `sparkml-ops models approve`; asked at promotion."""

    kind: Literal["approval"]
    longest: int = Field(default=90, ge=1, description="days for which an approval may be given, at most")


EvidenceGate = (
    ContractGate
    | LineageGate
    | ReproducibilityGate
    | CalibrationGate
    | FairnessGate
    | StabilityGate
    | ParityGate
    | ThroughputGate
    | SizeGate
    | SecurityGate
    | CardGate
)
