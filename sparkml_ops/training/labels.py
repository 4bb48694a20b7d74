"""The labels of a training set by task: counted where the rows are, judged on the driver before any worker starts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.errors import ContractError
from sparkml_ops.model.target import MOST_CLASSES, MOST_ITEMS, Target, Task

if TYPE_CHECKING:
    from sparkml_ops.config.training import TrainingSection

__all__ = ["Counts", "LabelRule", "SplitCounts", "judge"]

Counts: TypeAlias = "Counter[tuple[str, str | None, str | None]]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_NUMBERS = (*_WHOLE, "float", "double")
_SHOWN = 5
_MEANT = {
    "binary": "0, 1 or null (pending)",
    "regression": "finite numbers or null (pending)",
    "quantile": "finite numbers or null (pending)",
    "count": "whole numbers from 0, or null (pending)",
    "multiclass": "a class or null (pending)",
    "multilabel": "arrays without nulls inside, or null (pending)",
    "retrieval": "an item in each row",
}
_MENDS = {"binary": "make the label binary, or set training.task", "count": "correct the label, or set training.task to regression"}


@dataclass(frozen=True)
class SplitCounts:
    """Rows of one split.

    Args:
        rows: Rows with a label.
        positives: Rows with label 1, of a binary one.
        pending: Rows without a label, which are left out.
        classes: Rows of each class of the target, in its order; empty where labels are no classes.
    """

    rows: int
    positives: int
    pending: int
    classes: tuple[int, ...] = ()

    @property
    def rate(self) -> float:
        """Share of label 1."""
        return self.positives / self.rows


@dataclass(frozen=True)
class LabelRule:
    """What the labels of a task may be.

    Args:
        task: The task.
        name: Column of the label, for messages.
        type: Its Spark type.

    Raises:
        ContractError: The column is of a type that the task cannot have.

    >>> LabelRule("count", "trips", "bigint").cast
    'double'
    """

    task: Task
    name: str
    type: str

    def __post_init__(self) -> None:
        fits = {
            "multiclass": (*_WHOLE, "string"),
            "retrieval": (*_WHOLE, "string"),
            "multilabel": tuple(f"array<{kind}>" for kind in (*_WHOLE, "string")),
            "binary": (*_NUMBERS, "boolean"),
        }.get(self.task, _NUMBERS)
        if self.type not in fits and not (self.type.startswith("decimal") and "double" in fits):
            raise ContractError(
                f"label `{self.name}` of type {self.type} for the task {self.task}",
                expected=f"one of {', '.join(fits)}",
                mend="cast it where the training set's spine is made, or set training.task",
            )

    @property
    def cast(self) -> str:
        """Spark's type in which labels are counted."""
        return {"multiclass": "string", "retrieval": "string", "multilabel": "array<string>"}.get(self.task, "double")

    def count(self, label: pa.Array, splits: pa.Array, counts: Counts) -> tuple[Mask, pa.Array]:
        """Count labels by split.

        Args:
            label: In the type of `cast`.
            splits: The split of each row.
            counts: Where they are added: `label` by split and meaning, `class` by split and class.

        Returns:
            Which rows are trained on, and the class of each row as text, by which weights are kept apart (`""` where there are no classes).
        """
        known = label.is_valid().to_numpy(zero_copy_only=False)
        meanings, groups = self._meanings(label, known)
        for split in splits.unique().to_pylist():
            inside = _equal(splits, split)
            for meaning, rows in {"pending": ~known, **meanings}.items():
                counts["label", split, meaning] += int((rows & inside).sum())
            if self.cast != "double":
                for name, rows in self._classes(label.filter(pa.array(inside))):
                    counts["class", split, name] += rows
        return known & _equal(splits, "train"), groups

    def _meanings(self, label: pa.Array, known: Mask) -> tuple[dict[str, Mask], pa.Array]:
        nothing = pa.array(np.full(len(label), ""), pa.string())
        if self.task == "multiclass":
            return {"fine": known, "wrong": np.zeros(len(label), np.bool_)}, pc.fill_null(label, "")
        if self.task == "retrieval":  # a row without an item is no observation
            return {"fine": known, "wrong": ~known}, nothing
        if self.task == "multilabel":
            broken = np.zeros(len(label), np.bool_)
            broken[pc.list_parent_indices(label).to_numpy()[pc.list_flatten(label).is_null().to_numpy(zero_copy_only=False)]] = True
            return {"fine": known & ~broken, "wrong": broken}, nothing
        values = label.to_numpy(zero_copy_only=False)
        if self.task == "binary":
            zero, one = known & (values == 0), known & (values == 1)
            return {"0": zero, "1": one, "wrong": known & ~zero & ~one}, pa.array(np.where(one, "1", "0"), pa.string())
        fine = known & np.isfinite(values)
        if self.task == "count":
            fine &= (np.nan_to_num(values) >= 0) & (np.nan_to_num(values) % 1 == 0)
        return {"fine": fine, "wrong": known & ~fine}, nothing

    def _classes(self, label: pa.Array) -> Iterable[tuple[str, int]]:
        """Classes with the number of rows that have them; twice in one row counts once."""
        if self.task == "multilabel":
            pairs = pa.table({"row": pc.list_parent_indices(label), "name": pc.list_flatten(label)}).group_by(["row", "name"]).aggregate([])
            label = pairs.column("name").combine_chunks()
        for pair in pc.value_counts(label.drop_null()).to_pylist():
            yield pair["values"], pair["counts"]


def judge(
    rule: LabelRule,
    found: Mapping[str, Sequence[tuple[str | None, str | None, int]]],
    moments: tuple[float, float] | None,
    settings: TrainingSection,
    known: Target | None = None,
) -> tuple[Target, dict[str, SplitCounts]]:
    """The target and the rows of each split.

    Args:
        rule: Of the labels.
        found: Kind (`label`, `class`) to (split, meaning or class, rows), merged or in parts.
        moments: Mean and deviation of the train split's labels that are numbers; a deviation of 0: a constant.
        settings: Task and quantiles.
        known: The target of a model that is trained on; its classes and statistics stay.

    Raises:
        ContractError: A label outside the task's range, a constant one, a split without rows, a class that the train split does not have.
    """
    meanings: dict[str | None, Counter[str]] = {}
    for split, meaning, rows in found["label"]:
        meanings.setdefault(split, Counter())[str(meaning)] += rows
    if wrong := sum(counts["wrong"] for counts in meanings.values()):
        what = "other than 0 and 1" if rule.task == "binary" else f"that the task {rule.task} cannot have"
        mend = _MENDS.get(rule.task, "correct the label where the training set's spine is made")
        raise ContractError(f"{wrong} labels {what} in `{rule.name}`", expected=_MEANT[rule.task], mend=mend)
    rows_of = {split: sum(counts[name] for name in ("0", "1", "fine")) for split, counts in meanings.items() if split is not None}
    for split in ("train", "evaluation"):
        if not rows_of.get(split):
            raise ContractError(
                f"no labelled rows in split {split} (there are {sorted(rows_of)})",
                expected="at least one",
                mend="widen the split, or wait for labels",
            )
    classes = _classes(found["class"])
    if rule.task == "retrieval":
        target = _catalogue(rule, classes, settings)
    else:
        target = _target(rule, classes.get("train", Counter()), moments, settings, known)
    _refuse_constant(rule, target, meanings["train"], rows_of["train"], moments)
    _refuse_new(target, classes, rule)
    counted = {
        split: SplitCounts(
            rows, meanings[split]["1"], meanings[split]["pending"], tuple(classes.get(split, Counter())[name] for name in target.classes)
        )
        for split, rows in rows_of.items()
    }
    return target, counted


def _target(
    rule: LabelRule, classes: Mapping[str, int], moments: tuple[float, float] | None, settings: TrainingSection, known: Target | None
) -> Target:
    if known is not None:
        return known
    if rule.task in ("multiclass", "multilabel"):
        whole = rule.type.removeprefix("array<").removesuffix(">") != "string"
        if not (2 if rule.task == "multiclass" else 1) <= len(classes) <= MOST_CLASSES:
            few = len(classes) <= MOST_CLASSES
            raise ContractError(
                f"{len(classes) if few else f'more than {MOST_CLASSES}'} classes in `{rule.name}` in the train split",
                expected=f"{2 if rule.task == 'multiclass' else 1} to {MOST_CLASSES}",
                mend="widen the split" if few else "name a column of classes, not an identifier, as training.label",
            )
        order = sorted(classes, key=int) if whole else sorted(classes)
        return Target(rule.task, tuple(order), "bigint" if whole and rule.task == "multiclass" else "string")
    if rule.task == "binary" or moments is None or moments[1] == 0:
        return Target()
    mean, deviation = moments
    if rule.task == "count":
        return Target("count", mean=mean)
    return Target(rule.task, quantiles=settings.quantiles if rule.task == "quantile" else (), mean=mean, scale=deviation)


def _catalogue(rule: LabelRule, classes: Mapping[str, Mapping[str, int]], settings: TrainingSection) -> Target:
    """All items of all splits, of which those are known to be frequent that the train split has."""
    whole, train = rule.type != "string", classes["train"]
    items = sorted({name for names in classes.values() for name in names}, key=int if whole else str)
    if len(train) < 2 or len(items) > MOST_ITEMS:
        raise ContractError(
            f"{len(items) if len(items) <= MOST_ITEMS else f'more than {MOST_ITEMS}'} items in `{rule.name}`, {len(train)} in the train split",
            expected=f"at least 2 there and {MOST_ITEMS} in all: each worker holds a vector of every item",
            mend="widen the split" if len(train) < 2 else "leave rare items out of the training set; an index of their vectors has no such limit",
        )
    counts = tuple(train.get(name, 0) for name in items)
    kind, model = "bigint" if whole else "string", settings.model
    return Target("retrieval", type=kind, items=tuple(items), counts=counts, dimension=model.dimension, top=model.top)


def _refuse_constant(rule: LabelRule, target: Target, meanings: Counter[str], rows: int, moments: tuple[float, float] | None) -> None:
    constant = meanings["1"] in (0, rows) if rule.task == "binary" else moments is not None and moments[1] == 0 and not target.classes
    if constant:
        what = "one label only" if rule.task == "binary" else f"one label only, {moments[0] if moments else math.nan:g},"
        expected = "rows of both labels" if rule.task == "binary" else "labels that differ"
        raise ContractError(f"{what} in the train split ({rows} rows)", expected=expected, mend="widen the split")


def _refuse_new(target: Target, classes: Mapping[str, Mapping[str, int]], rule: LabelRule) -> None:
    """A class that no model output stands for can neither be learned nor judged."""
    for split, names in classes.items():
        if target.classes and (new := sorted(names.keys() - set(target.classes))):
            raise ContractError(
                f"classes {new[:_SHOWN]} of `{rule.name}` in split {split} ({sum(names[name] for name in new)} rows), which the model does not have",
                expected=f"its {len(target.classes)} classes",
                mend="widen the train split, train from scratch, or make such labels null",
            )


def _classes(rows: Iterable[tuple[str | None, str | None, int]]) -> dict[str, Counter[str]]:
    """Split to class to rows; rows outside every split do not matter."""
    found: dict[str, Counter[str]] = {}
    for split, name, count in rows:
        if split is not None and name is not None:
            found.setdefault(split, Counter())[name] += count
    return found


def _equal(column: pa.Array, value: str | None) -> Mask:
    return np.asarray(pc.fill_null(pc.equal(column, value), False).to_numpy(zero_copy_only=False), np.bool_)
