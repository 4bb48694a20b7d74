"""Options of alerts: what is watched, when it counts, who owns it, and where they look for help."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from feature_store.declaration import Duration
from sparkml_ops.config.channels import Channel
from sparkml_ops.config.section import Section

__all__ = [
    "AlertPolicy",
    "AlertsSection",
    "BurnPolicy",
    "DriftPolicy",
    "FaultPolicy",
    "FreshnessPolicy",
    "PerformancePolicy",
    "PolicyBase",
    "QuarantinePolicy",
    "Severity",
]

Severity = Literal["log", "ticket", "page"]
_CONCENTRATION = ("entropy", "herfindahl", "gini", "top_share")
_METRIC = Literal[
    "auc",
    "log_loss",
    "brier",
    "calibration_error",
    "rate",
    "accuracy",
    "macro_f1",
    "macro_auc",
    "mae",
    "rmse",
    "r2",
    "value",
    "reward",
    "demographic_parity",
    "equal_opportunity",
    "equalised_odds",
    "entropy",
    "herfindahl",
    "gini",
    "top_share",
]
_LOWER_IS_WORSE = ("auc", "accuracy", "macro_f1", "macro_auc", "r2", "value", "reward", "entropy")


class PolicyBase(Section):
    """What every policy says: who is asked, and how long a thing must last before anybody is."""

    severity: Severity = Field(default="ticket", description="log: kept only; ticket: for working hours; page: wakes somebody")
    owner: str = Field(min_length=1, description="who answers for it: a team or a person")
    runbook: str = Field(
        pattern=r"^(https?://\S+|[\w./-]+\.\w+)$", description="address of the page that says what to do, or its path in the project's repository"
    )
    meaning: str = Field(default="", description="why it matters, in a sentence for whoever is woken")
    windows: int = Field(default=1, ge=1, description="windows beyond the limit that open an alert")
    of: int = Field(default=1, ge=1, description="among how many of the newest windows with evidence; the newest is always one of them")
    clear_windows: int = Field(default=1, ge=1, description="windows in a row on the good side of the clearing limit that resolve it")
    cooldown: Duration | None = Field(
        default=None, description="time between the windows of a resolution and of the next alert of the same kind; null: none"
    )
    minimum_rows: int = Field(default=1000, ge=1, description="rows below which a window is no evidence, for or against")
    channels: tuple[str, ...] | None = Field(default=None, description="who is told; null: every channel that takes the severity")

    @model_validator(mode="after")
    def _can_open(self) -> Self:
        if self.windows > self.of:
            raise ValueError(f"windows {self.windows} of {self.of}: it could never open; windows is at most of")
        return self


class DriftPolicy(PolicyBase):
    """Columns that drift from what the model was trained on; a column at fault does not count, its fault does."""

    signal: Literal["drift"]
    columns: tuple[str, ...] | None = Field(default=None, min_length=1, description="columns that are watched; null: all that are compared")
    by: Literal["model", "column", "segment"] = Field(
        default="model", description="what an alert is about: all columns together, each by itself, or the columns of each segment"
    )
    effect: float = Field(default=1.0, ge=1, description="effect, in minimum effects of the statistic, from which a drifting column counts")
    q: float = Field(default=0.05, gt=0, lt=1, description="false discovery rate beyond which a verdict does not count")
    weights: dict[str, float] = Field(
        default_factory=dict, description="importance of columns, 0 to say that one only goes to the log; a column that is not named has 1"
    )
    at_least: float = Field(default=1.0, gt=0, description="sum of the weights of counted columns from which a window is beyond the limit")
    clear_below: float | None = Field(default=None, gt=0, description="sum below which a window is good again; null: 0.6 of at_least")

    history: int = Field(default=0, ge=0, description="earlier windows of the same season above all of which a window must be as well; 0: none")
    season: int = Field(default=1, ge=1, description="windows from a season to the same one again: 7 for days of the week, 12 for months of the year")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.severity == "page":
            raise ValueError("severity page of drift: drift alone harms nobody; page on performance, burn, fault, quarantine or freshness")
        if bad := [name for name, weight in self.weights.items() if weight < 0]:
            raise ValueError(f"a weight below 0 of {', '.join(bad)}: 0 takes a column out")
        if self.clear_below is not None and self.clear_below > self.at_least:
            raise ValueError(f"clear_below {self.clear_below:g} above at_least {self.at_least:g}: it would open and resolve at once")
        return self


class FaultPolicy(PolicyBase):
    """Columns that break the contract of the model's inputs: broken data, not drift."""

    signal: Literal["fault"]
    columns: tuple[str, ...] | None = Field(default=None, min_length=1, description="columns that are watched; null: all that are compared")
    by: Literal["model", "column"] = Field(default="model", description="what an alert is about")
    at_least: int = Field(default=1, ge=1, description="columns at fault from which a window is beyond the limit")


class ContractPolicy(PolicyBase):
    """Rules of `scoring.contract` that a window's scoring set breaks, also where it was refused for that."""

    signal: Literal["contract"]
    minimum_rows: int = Field(default=1, ge=1, description="rows below which a window is no evidence, for or against")
    rules: tuple[str, ...] | None = Field(default=None, min_length=1, description="names of the rules that are watched; null: all")
    outcomes: tuple[Literal["fail", "quarantine", "warn"], ...] = Field(
        default=("fail", "quarantine"), min_length=1, description="what has become of the window, or its rows, for a broken rule to count"
    )
    by: Literal["model", "rule"] = Field(default="model", description="what an alert is about")
    at_least: int = Field(default=1, ge=1, description="broken rules from which a window is beyond the limit")


class _Limit(PolicyBase):
    metric: _METRIC = Field(default="auc", description="a figure of the monitor report; rate: share of label 1")
    kind: Literal["realised", "estimated", "predicted"] = Field(
        default="realised", description="from the truth, estimated before it is known, or of the scores themselves (how concentrated they are)"
    )
    at_least: float | None = Field(default=None, description="lowest value that is good enough")
    at_most: float | None = Field(default=None, description="highest value that is good enough")

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("one of at_least and at_most: it says which side is bad")
        if (self.kind == "predicted") != (self.metric in _CONCENTRATION):
            raise ValueError(f"{self.metric} of kind {self.kind}: predicted are {', '.join(_CONCENTRATION)}, and these alone")
        side = "at_most" if self.at_least is None else "at_least"
        if self.metric != "rate" and (side == "at_least") != (self.metric in _LOWER_IS_WORSE):
            raise ValueError(f"{side} of {self.metric}, of which {'lower' if self.metric in _LOWER_IS_WORSE else 'higher'} is worse: take the other")
        return self


class PerformancePolicy(_Limit):
    """A figure whose whole interval lies beyond a limit."""

    signal: Literal["performance"]
    by: Literal["model", "segment"] = Field(default="model", description="all rows, or each segment of monitoring.segments by itself")
    clear_at: float | None = Field(default=None, description="value at which a window is good again; null: the limit itself")

    @model_validator(mode="after")
    def _clears_on_the_good_side(self) -> Self:
        if self.clear_at is None:
            return self
        if (self.at_least is not None and self.clear_at < self.at_least) or (self.at_most is not None and self.clear_at > self.at_most):
            raise ValueError(f"clear_at {self.clear_at:g} on the bad side of the limit: it would open and resolve at once")
        return self


class BurnPolicy(_Limit):
    """An error budget that burns too fast: too many rows lie in windows whose figure is certainly beyond the limit."""

    signal: Literal["burn"]
    objective: float = Field(default=0.99, gt=0, lt=1, description="share of the scored rows that must lie in good windows")
    rate: float = Field(default=6.0, gt=0, description="how many times faster than allowed the budget must burn")
    long: int = Field(default=3, ge=1, description="newest windows over which it must burn so fast")
    short: int = Field(default=1, ge=1, description="newest of these over which it must still do so")

    @model_validator(mode="after")
    def _can_burn(self) -> Self:
        if self.short > self.long:
            raise ValueError(f"short {self.short} of long {self.long}: short is at most long")
        if self.rate > (most := 1 / (1 - self.objective)):
            raise ValueError(f"rate {self.rate:g} under objective {self.objective:g}: a burn is at most {most:.4g}, it could never open")
        return self


class QuarantinePolicy(PolicyBase):
    """The share of a window's rows that were set aside instead of scored."""

    signal: Literal["quarantine"]
    minimum_rows: int = Field(default=1, ge=1, description="rows below which a window is no evidence, for or against")
    at_least: float = Field(gt=0, lt=1, description="share from which a window is beyond the limit; 0 to 1")
    clear_below: float | None = Field(default=None, gt=0, lt=1, description="share below which it is good again; null: 0.6 of at_least")

    @model_validator(mode="after")
    def _clears_below(self) -> Self:
        if self.clear_below is not None and self.clear_below > self.at_least:
            raise ValueError(f"clear_below {self.clear_below:g} above at_least {self.at_least:g}: it would open and resolve at once")
        return self


class FreshnessPolicy(PolicyBase):
    """A window that is scored too late, or is not scored at all."""

    signal: Literal["freshness"]
    minimum_rows: Literal[1] = Field(default=1, description="does not apply: a window that is not there has no rows")
    within: Duration = Field(description="time after a window's end by which it must be scored")


AlertPolicy = Annotated[
    DriftPolicy | FaultPolicy | ContractPolicy | PerformancePolicy | BurnPolicy | QuarantinePolicy | FreshnessPolicy, Field(discriminator="signal")
]


class AlertsSection(Section):
    """`alerts`: the policies of a project; without one nothing is watched."""

    policies: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")], AlertPolicy] = Field(
        default_factory=dict, description="name of a policy to its rule; the name is part of each alert's identity"
    )
    channels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")], Channel] = Field(
        default_factory=dict, description="name of a channel to where it goes; table and log are always written"
    )
    deliveries: int = Field(
        default=50, ge=1, description="most events that a check gives to one channel, the gravest first; the rest waits for the next"
    )
    delivery_seconds: float = Field(default=60.0, gt=0, description="longest time that a check waits for its channels")

    @model_validator(mode="after")
    def _known_channels(self) -> Self:
        for name, policy in self.policies.items():
            if unknown := [channel for channel in policy.channels or () if channel not in self.channels]:
                raise ValueError(
                    f"policies.{name}.channels names {', '.join(unknown)}, which channels does not declare ({', '.join(self.channels) or 'none'})"
                )
            for channel in policy.channels or ():
                if policy.severity not in self.channels[channel].severities:
                    raise ValueError(
                        f"policies.{name}.channels names {channel}, which takes {', '.join(self.channels[channel].severities)} and no {policy.severity}"
                    )
        return self

    def told(self, policy: str) -> tuple[str, ...]:
        """Names of the channels that are told of a policy's alerts."""
        rule = self.policies.get(policy)
        if rule is None:
            return ()
        return tuple(
            name for name, channel in self.channels.items() if rule.severity in channel.severities and name in (rule.channels or self.channels)
        )
