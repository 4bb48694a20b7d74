"""Whether evaluation rows are new to the models that are judged on them.

They are where they lie after all rows that a model was trained on (validation rows count: they chose its epoch), or where no row of
them was one of those, by key. A model that went on from another one was trained on that one's rows too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.errors import TableNotFound
from feature_store.names import quote
from feature_store.training_set import TrainingSets
from sparkml_ops.records import TrainingSet

__all__ = ["overlap"]

_TRAINED, _EVALUATION = ("train", "validation"), "evaluation"


@dataclass(frozen=True)
class _Rows:
    """A training set, its rows, and how it was made."""

    training_set: TrainingSet
    frame: DataFrame
    definition: Mapping[str, Any]

    def part(self, *splits: str) -> DataFrame:
        return self.frame.where(F.col("split").isin(*splits))

    def keys(self, *splits: str) -> DataFrame:
        return self.part(*splits).select(*(quote(name) for name in self.definition["row_key"]))

    def comparable(self, other: _Rows) -> bool:
        """Whether keys identify the same things in both: the spine is one table, and the keys are the same columns of it."""
        mine, theirs = ((rows.definition["spine"], tuple(rows.definition["row_key"])) for rows in (self, other))
        return bool(mine[1]) and mine == theirs and (mine[0] is not None or self.training_set.id == other.training_set.id)


def overlap(tables: Tables, evaluation: TrainingSet, trained: Mapping[str, Sequence[TrainingSet]]) -> dict[str, str]:
    """Which models the evaluation rows of a training set cannot judge, and why.

    One job says when rows lie; only where they do not lie after a model's training rows are keys compared, in a second one.

    Args:
        evaluation: The set whose evaluation split judges.
        trained: Model, as a message names it, to the sets that it was trained on.

    Returns:
        Model to reason; a model that may be judged has no entry.
    """
    sets = {item.id: item for items in trained.values() for item in (evaluation, *items)}
    found, gone = _read(tables, sets.values())
    if evaluation.id in gone:
        return dict.fromkeys(trained, gone[evaluation.id])
    ends, start = _ends(found.values(), evaluation.id)
    if start is None:
        return dict.fromkeys(trained, f"training set {evaluation.id} has no evaluation rows")
    reasons: dict[str, str] = {}
    for model, items in trained.items():
        for item in items:
            late = item.id in ends and ends[item.id] >= start
            reason = gone.get(item.id) or (_shared(found[evaluation.id], found[item.id]) if late else "")
            if reason:
                reasons[model] = f"the evaluation rows are no test of {model}: {reason}"
                break
    return reasons


def _read(tables: Tables, sets: Iterable[TrainingSet]) -> tuple[dict[str, _Rows], dict[str, str]]:
    """Training sets by id, and why some of them cannot be read."""
    found: dict[str, _Rows] = {}
    gone: dict[str, str] = {}
    for item in sets:
        definition = TrainingSets(tables).definition(item.id)
        if definition is None:
            gone[item.id] = f"training set {item.id} is not recorded in this warehouse"
            continue
        try:
            found[item.id] = _Rows(item, tables.read(item.snapshot.table, item.snapshot.version), definition)
        except TableNotFound as error:
            gone[item.id] = f"the rows of training set {item.id} are gone ({error.found})"
    return found, gone


def _ends(sets: Iterable[_Rows], evaluation: str) -> tuple[dict[str, int], int | None]:
    """Last instant of each set's training rows and first one of the evaluation rows, in microseconds."""
    frames = [
        rows.part(*_TRAINED, _EVALUATION).select(
            F.lit(rows.training_set.id).alias("id"),
            (F.col("split") == _EVALUATION).alias("judges"),
            F.unix_micros(F.col(quote(rows.definition["spine_time"]))).alias("at"),
        )
        for rows in sets
    ]
    found = reduce(DataFrame.unionByName, frames).groupBy("id", "judges").agg(F.min("at").alias("first"), F.max("at").alias("last")).collect()
    start = next((row["first"] for row in found if row["judges"] and row["id"] == evaluation), None)
    return {row["id"]: row["last"] for row in found if not row["judges"]}, start


def _shared(evaluation: _Rows, trained: _Rows) -> str:
    """Why rows that do not lie later are not disjoint by key either; empty where they are."""
    where = f"the training rows in {trained.training_set.id}"
    if not evaluation.comparable(trained):
        return f"they do not lie after {where}, and no row key says that they are others"
    keys = evaluation.keys(_EVALUATION)
    both = keys.join(trained.keys(*_TRAINED), list(evaluation.definition["row_key"]), "left_semi").count()
    return f"{both} of them are among {where}" if both else ""
