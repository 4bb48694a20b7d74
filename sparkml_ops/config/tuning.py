"""Options of tuning: what is searched, how, and for how long."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from feature_store.nearest import did_you_mean
from sparkml_ops.config.section import Section
from sparkml_ops.config.training import OPERATIONAL, TrainingSection

__all__ = ["FAMILY", "Domain", "TuningSection", "check_space", "encode", "number_type", "with_values"]

FAMILY = "training.model.kind"
_PREFIX = "training."
# So many corners are tried all; of a larger space each pair of keys.
_CORNERS = 1024
# These say on which rows or how a training is run and judged: two trials that differ in them cannot be compared.
_FIXED = {
    "label",
    "sites",
    "task",
    "quantiles",
    "seed",
    "shards",
    "replicates",
    "confidence",
    "keep",
    "exclude",
    "numeric",
    "categorical",
    "model.item",
    "model.query",
}


class Domain(Section):
    """`tuning.space.<key>`: the values of one key, a range of numbers or a list of choices."""

    low: float | None = Field(default=None, description="lowest value of a range")
    high: float | None = Field(default=None, description="highest value of a range")
    log: bool = Field(default=False, description="whether a range is searched by order of magnitude")
    step: float | None = Field(default=None, gt=0, description="distance of the values of a range, from low on; null: every value (1 of integers)")
    choices: tuple[Any, ...] | None = Field(default=None, min_length=1, description="values of any type, instead of a range")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        ranged = {"low", "high", "log", "step"} & self.model_fields_set
        if self.choices is not None:
            if ranged:
                raise ValueError(f"choices and {sorted(ranged)}: a list or a range, not both")
            if len({encode(value) for value in self.choices}) < len(self.choices):
                raise ValueError("a choice twice")
        elif self.low is None or self.high is None:
            raise ValueError("neither choices nor both low and high")
        elif self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step")
        return self


class TuningSection(Section):
    """`tuning`: the search for a better `training`, on the train split, judged on the validation split."""

    space: dict[str, Domain] = Field(
        default_factory=dict, description="dotted keys of training, as training.optimizer.lr, each with {low, high, log, step} or {choices: [...]}"
    )
    metric: Literal["validation_loss", "validation_auc", "validation_recall_at_10"] = Field(
        default="validation_loss",
        description="what trials are judged by, on the validation split, in the epoch whose weights would be kept; the area is of binary models, the"
        " recall of retrieval",
    )
    direction: Literal["minimize", "maximize"] = Field(default="minimize", description="which end of the metric is the good one")
    trials: int = Field(default=20, ge=1, description="trials in all, finished, pruned and failed ones alike")
    minutes: float | None = Field(default=None, gt=0, description="minutes of the whole study after which no further trial begins; null: no limit")
    sampler: Literal["tpe", "random", "grid"] = Field(
        default="tpe", description="how the next trial is drawn: near good ones, anywhere, or each combination of choices once"
    )
    seed: int = Field(default=7, ge=0, lt=2**32, description="of the sampler; training.seed is the same in all trials")
    pruner: Literal["none", "median", "hyperband"] = Field(
        default="none", description="which trials are stopped early: those worse than the median at the same epoch, or by brackets of epochs"
    )
    spared_trials: int = Field(default=4, ge=1, description="median only: trials that must have finished before one is stopped")
    spared_epochs: int = Field(default=0, ge=0, description="median only: first epochs of a trial in which it is never stopped")
    parallel: int = Field(
        default=1,
        ge=1,
        description="1: one trial after the other, each by all training.workers; more: so many at a time, each in one Spark task, by one rank",
    )

    automl: bool = Field(
        default=False, description="whether the model's family is searched too; a logistic regression is always among the candidates"
    )
    families: tuple[str, ...] = Field(default=("linear", "mlp"), min_length=1, description="automl only: values of training.model.kind")
    margin: float = Field(
        default=0.001, ge=0, description="automl only: of the families whose metric is so near to the best, the fastest one is chosen"
    )

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, space: Any) -> Any:
        # `--set tuning.space.training.optimizer.lr.high=0.1` makes maps inside maps of what a file writes as one dotted key.
        return dict(_flat(space)) if isinstance(space, Mapping) else space

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.sampler == "grid" and (ranges := [key for key, domain in self.space.items() if domain.choices is None]):
            raise ValueError(f"sampler grid with a range of {ranges[0]}: list its choices")
        if self.automl and FAMILY in self.space:
            raise ValueError(f"automl and {FAMILY} in the space: name them in families")
        if self.automl and self.trials < len(self.families):
            raise ValueError(f"{self.trials} trials of {len(self.families)} families: each needs one")
        return self

    @property
    def searched(self) -> dict[str, Domain]:
        """The space, and with automl the family of the model before all."""
        return {FAMILY: Domain(choices=self.families), **self.space} if self.automl else self.space


def check_space(training: TrainingSection, space: Mapping[str, Domain]) -> None:
    """Try the corners of a space on the closed section.

    Raises:
        ValueError: A key is unknown or cannot be searched, or a corner is no valid training; the message names the key.
    """
    for key, domain in space.items():
        _check_key(key, domain)
    ends = {key: _ends(domain) for key, domain in space.items()}
    for key, values in ends.items():
        for value in values:
            _try(training, {key: value})
    for corner in _corners(ends):
        _try(training, corner)


def number_type(key: str) -> type[int] | type[float] | None:
    """Type of the numbers that a key of training takes; None where it takes none."""
    forms = _forms(_annotation(key))
    return float if float in forms else int if int in forms else None


def with_values(training: TrainingSection, values: Mapping[str, Any]) -> TrainingSection:
    """The section with other values of some dotted keys, checked.

    >>> with_values(TrainingSection(), {"training.optimizer.lr": 0.01}).optimizer.lr
    0.01
    """
    document = training.model_dump(exclude_unset=True)
    for key, value in values.items():
        *above, last = key.removeprefix(_PREFIX).split(".")
        place = document
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return TrainingSection.model_validate(document)


def encode(value: Any) -> str:
    """A choice as text that `json.loads` reads back, the same for equal choices."""
    return json.dumps(value, sort_keys=True)


def _flat(space: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in space.items():
        name = f"{prefix}{key}"
        if (
            isinstance(value, Mapping)
            and value
            and not value.keys() & Domain.model_fields.keys()
            and all(isinstance(v, Mapping) for v in value.values())
        ):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _check_key(key: str, domain: Domain) -> None:
    if not key.startswith(_PREFIX):
        raise ValueError(f"{key}: only keys of training can be searched{did_you_mean(_PREFIX + key, _keys())}")
    name = key.removeprefix(_PREFIX)
    if name in _FIXED:
        raise ValueError(f"{key}: trials that differ in it cannot be compared")
    if name in OPERATIONAL:
        raise ValueError(f"{key}: it changes how a training runs, not what comes out")
    if key not in _keys():
        raise ValueError(f"{key}: no key of training{did_you_mean(key, _keys())}")
    if domain.choices is not None:
        return
    kind = number_type(key)
    if kind is None:
        raise ValueError(f"{key}: a range of a key that takes no single number; list its choices")
    if kind is int and any(number is not None and number != int(number) for number in (domain.low, domain.high, domain.step)):
        raise ValueError(f"{key}: low {domain.low:g}, high {domain.high:g} and step of an integer are integers")


def _ends(domain: Domain) -> tuple[Any, ...]:
    return domain.choices if domain.choices is not None else (domain.low, domain.high)


def _corners(ends: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    count = 1
    for values in ends.values():
        count *= len(values)
    for keys in [tuple(ends)] if count <= _CORNERS else combinations(ends, 2):
        for values in product(*(ends[key] for key in keys)):
            yield dict(zip(keys, values, strict=True))


def _try(training: TrainingSection, values: Mapping[str, Any]) -> None:
    try:
        with_values(training, values)
    except ValidationError as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in values.items())
        raise ValueError(f"{shown} is no valid training: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def _annotation(key: str) -> Any:
    section: Any = TrainingSection
    for part in key.removeprefix(_PREFIX).split("."):
        section = section.model_fields[part].annotation
    return section


def _keys(section: type[Section] = TrainingSection, prefix: str = _PREFIX) -> tuple[str, ...]:
    """All dotted keys below training."""
    found: list[str] = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            found += _keys(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return tuple(found)


def _forms(annotation: Any) -> set[Any]:
    """The plain types that an annotation allows."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _forms(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_forms(form) for form in typing.get_args(annotation)))
    return {annotation}
