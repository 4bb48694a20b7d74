"""A retrieval model on rows of queries with the items that were seen: one distributed pass, whose tasks hand on rows by rank.

Each task holds the vectors of the catalogue, which has at most `MOST_ITEMS` items, and one block of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from feature_store.arrow_pass import in_arrow
from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.model.target import Target
from sparkml_ops.performance.contest import Contestant, load_contestants
from sparkml_ops.performance.ranking import DEPTH, RankCounts
from sparkml_ops.performance.tally import SLICES
from sparkml_ops.storage import Storage

__all__ = ["Placed", "Ranked", "RankingPass", "rank"]

_SCHEMA = "part string, slice string, place int, rows bigint, loss double"
_LABEL, _SLICE = "__label", "__slice_"
# A part of any other name is the number of a slices' column.
_MODEL, _POPULAR, _UNSCORED = "model", "popular", "unscored"
# Arrow's batches are small, and the catalogue is gone through for each block.
_CHUNK = 1 << 14


@dataclass(frozen=True)
class RankingPass:
    """Who is measured, on what.

    Args:
        storage: Where the artifact lies.
        model: Of kind `two_tower`.
        target: Its catalogue.
        label: Column that identifies the item.
        slices: Columns whose values cut the rows into slices that are measured too; one with more than 200 values is left out.
    """

    storage: Storage
    model: Contestant
    target: Target
    label: str
    slices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """Where some rows' items came.

    Args:
        counts: Rows by rank.
        loss: Sum of the log losses over the catalogue, in nats.
    """

    counts: RankCounts
    loss: float


@dataclass(frozen=True)
class Ranked:
    """What the pass found.

    Args:
        model: By the ranks that the model gives.
        popular: Rows by the rank of their item among all, the most frequent of the train split first, equal ones in the catalogue's order.
        slices: `column=value` to the model's ranks there; a null value is `column=null`.
    """

    model: Placed
    popular: RankCounts
    slices: Mapping[str, Placed]


def rank(frame: DataFrame, ranking: RankingPass) -> Ranked:
    """Rank the item of each row among all items of the catalogue.

    Args:
        frame: Rows with the query's inputs and the item.
        ranking: Who is measured.

    Raises:
        ContractError: There is no row, one that has no prediction, or one whose item is not in the catalogue.
    """
    label = F.col(quote(ranking.label))
    slices = [F.col(quote(name)).cast("string").alias(f"{_SLICE}{index}") for index, name in enumerate(ranking.slices)]
    rows = frame.where(label.isNotNull()).select(*map(quote, ranking.model.inputs), label.cast("string").alias(_LABEL), *slices)
    counted = in_arrow(rows, _counting(ranking), _SCHEMA).groupBy("part", "slice", "place")
    summed = counted.agg(F.sum("rows").alias("rows"), F.sum("loss").alias("loss"))
    # Of slices one more than are kept: enough to see that there are too many.
    number = F.dense_rank().over(Window.partitionBy("part").orderBy("slice"))
    found = summed.withColumn("number", number).where(F.col("number") <= SLICES + 1).collect()
    if unscored := sum(row["rows"] for row in found if row["part"] == _UNSCORED):
        raise ContractError(
            f"{unscored} evaluation rows without a prediction, or of an item outside the catalogue",
            expected="finite features and known items",
            mend="make infinite values null, or train anew",
        )
    if not found:
        raise ContractError("no row to evaluate on", expected="at least one", mend="widen the evaluation split")
    model, popular = (_placed([row for row in found if row["part"] == part]) for part in (_MODEL, _POPULAR))
    crowded = {row["part"] for row in found if row["number"] > SLICES}
    cuts: dict[str, list[Row]] = {}
    for row in found:
        if row["part"].isdecimal() and row["part"] not in crowded:
            cuts.setdefault(f"{ranking.slices[int(row['part'])]}={'null' if row['slice'] is None else row['slice']}", []).append(row)
    return Ranked(model, popular.counts, {name: _placed(rows) for name, rows in sorted(cuts.items())})


def _placed(rows: Sequence[Row]) -> Placed:
    counts = RankCounts.of_pairs([(row["place"], row["rows"]) for row in rows])
    return Placed(counts, float(np.sum([row["loss"] for row in sorted(rows, key=lambda row: row["place"])])))


def _counting(ranking: RankingPass) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from sparkml_ops.model.retriever import Retriever

        retriever, popular = None, _by_frequency(ranking.target)
        for rows in _chunks(batches):
            retriever = retriever or load_contestants(ranking.storage, (ranking.model,))[ranking.model.name]
            assert isinstance(retriever, Retriever)
            places = ranking.target.values(rows.column(_LABEL))
            known = np.isfinite(places)
            true = np.where(known, places, 0).astype(np.int64)
            ranks, losses = retriever.ranked(rows, true)
            fine = known & np.isfinite(losses)
            whole, none = pa.nulls(len(true), pa.string()), np.zeros(len(true))
            yield _batch(_MODEL, whole, ranks, losses, fine)
            yield _batch(_POPULAR, whole, popular[true], none, fine)
            yield _batch(_UNSCORED, whole, ranks, none, ~fine)
            for index in range(len(ranking.slices)):
                yield _batch(str(index), rows.column(f"{_SLICE}{index}").combine_chunks(), ranks, losses, fine)

    return count


def _by_frequency(target: Target) -> npt.NDArray[np.int64]:
    """[items] rank of each by its rows in the train split."""
    found = np.empty(len(target.counts), np.int64)
    found[np.argsort(-np.array(target.counts), kind="stable")] = np.arange(len(found))
    return found


def _chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= _CHUNK:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if any(part.num_rows for part in waiting):
        yield pa.Table.from_batches(waiting)


def _batch(part: str, slices: pa.Array, ranks: npt.NDArray[np.int64], losses: npt.NDArray[np.float64], kept: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """Rows and summed losses by slice and rank, of the rows that are kept."""
    encoded = slices.dictionary_encode(null_encoding="encode")
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    keys, places = np.unique((codes * (DEPTH + 1) + np.minimum(ranks, DEPTH))[kept], return_inverse=True)
    columns = [
        pa.array([part] * len(keys), pa.string()),
        encoded.dictionary.take(pa.array(keys // (DEPTH + 1))),
        pa.array(keys % (DEPTH + 1), pa.int32()),
        pa.array(np.bincount(places, minlength=len(keys)), pa.int64()),
        pa.array(np.bincount(places, losses[kept], len(keys)), pa.float64()),
    ]
    return pa.RecordBatch.from_arrays(columns, ["part", "slice", "place", "rows", "loss"])
