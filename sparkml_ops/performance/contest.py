"""Models against each other on the same labelled rows: one distributed pass.

Each task counts its rows, the counts are merged on the executors, and the driver sees a small state for each contestant and slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.arrow_pass import in_arrow
from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.model.module import MakeModule
from sparkml_ops.performance.bootstrap import Interval
from sparkml_ops.performance.delong import Placements
from sparkml_ops.performance.measured import Measured
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.performance.tally import ALL, SCHEMA, SLICES, Scored, Tally
from sparkml_ops.storage import Storage

if TYPE_CHECKING:
    from sparkml_ops.model.retriever import Applied

__all__ = ["Contest", "Contestant", "Standing", "hold", "load_contestants"]

_CHUNK = 1 << 18
_LABEL, _POSITION, _SLICE = "__label", "__position", "__slice_"
# Distinct scores that go to the executors for DeLong's interval; rounding to so fine a grid moves an AUC by less than half a step.
_PLACED = 1 << 17


@dataclass(frozen=True)
class Contestant:
    """A model in a contest.

    Args:
        name: What it is called in the standing.
        folder: Storage folder of its artifact.
        inputs: Columns that it reads.
        digest: Of its artifact, checked before it is loaded; None: not checked (training's own, not registered yet).
        module: The object that makes its network, where no entry point does.
    """

    name: str
    folder: str
    inputs: tuple[str, ...]
    digest: str | None = None
    module: MakeModule | None = None


@dataclass(frozen=True)
class Contest:
    """Who is measured, on what.

    Args:
        storage: Where the artifacts lie.
        contestants: One, or two, of which the first is compared with the second.
        label: Column of the label; rows without one are left out.
        replicates: Replicates of the paired bootstrap, a multiple of 4.
        confidence: Level of its intervals.
        seed: Of its weights.
        slices: Columns whose values cut the rows into slices that are measured too, at most 200 of a column.
        position: Column (bigint) that identifies a row.
        cluster: Column whose rows stay together in the bootstrap (Field & Welsh 2007, "Bootstrapping clustered data"); None: each row for itself.
            A row without a value is a cluster of its own. Limits from few clusters, say thirty, are too narrow.
        delong: Whether DeLong's interval of two contestants is wanted too, at the price of a second pass.
    """

    storage: Storage
    contestants: tuple[Contestant, ...]
    label: str
    replicates: int
    confidence: float
    seed: int
    slices: tuple[str, ...] = ()
    position: str = "row_position"
    cluster: str | None = None
    delong: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The contestants' names."""
        return tuple(contestant.name for contestant in self.contestants)


@dataclass(frozen=True)
class Standing:
    """How a contest ended.

    Args:
        measured: Contestant to its scores on all rows.
        auc_gain: Interval of the first contestant's AUC minus the second's; None with one contestant.
        loss_gain: Interval of the second's log loss minus the first's; None with one contestant.
        slices: `column=value` to contestant to its scores there; a null value is `column=null`.
        crowded: Columns with more values than slices are kept.
        unscored: Labelled rows that were left out: an infinite number gives no prediction.
        delong: DeLong's interval of the gain in AUC; None where it was not asked for.
    """

    measured: Mapping[str, Measured]
    auc_gain: Interval | None
    loss_gain: Interval | None
    slices: Mapping[str, Mapping[str, Measured]]
    crowded: tuple[str, ...] = ()
    unscored: int = 0
    delong: Interval | None = None


def hold(frame: DataFrame, contest: Contest) -> Standing:
    """Measure the contestants on the labelled rows of a frame.

    Args:
        frame: Rows with the contestants' inputs, the label, the position and the columns of the slices.
        contest: Who is measured, on what.

    Raises:
        ContractError: There is no labelled row that all contestants predict.
    """
    rows = _rows(frame, contest)
    # By contestant and slice, so that a merging task holds few states and not those of each counting task.
    keys = ("part", "slice") if contest.slices else ("part",)
    parts = len(contest.contestants) + 1 + len(contest.slices)
    merged = in_arrow(rows, _counting(contest), SCHEMA).repartition(parts, *keys).mapInArrow(_merging(contest), SCHEMA).collect()
    tally = _tally(contest)
    for row in merged:
        tally.merge(row.asDict())
    if any((name, ALL) not in tally.measured for name in contest.names):
        unscored = f" ({tally.unscored} without a prediction)" if tally.unscored else ""
        raise ContractError(
            f"no labelled row to evaluate on{unscored}", expected="at least one", mend="widen the evaluation split, or wait for labels"
        )
    standing = _standing(tally, contest)
    return replace(standing, delong=_placed(rows, contest, standing)) if contest.delong and len(contest.contestants) == 2 else standing


def _rows(frame: DataFrame, contest: Contest) -> DataFrame:
    label, position = F.col(quote(contest.label)), F.col(quote(contest.position)).cast("bigint")
    if contest.cluster is not None:
        # Weights come from what identifies a row: rows of one cluster get the same ones.
        cluster = F.col(quote(contest.cluster)).cast("string")
        position = F.when(cluster.isNotNull(), F.xxhash64(cluster)).otherwise(F.xxhash64(F.lit("row"), position))
    inputs = [quote(name) for name in dict.fromkeys(name for contestant in contest.contestants for name in contestant.inputs)]
    slices = [F.col(quote(name)).cast("string").alias(f"{_SLICE}{index}") for index, name in enumerate(contest.slices)]
    return frame.where(label.isNotNull()).select(*inputs, label.cast("bigint").alias(_LABEL), position.alias(_POSITION), *slices)


def _placed(rows: DataFrame, contest: Contest, standing: Standing) -> Interval:
    """DeLong's interval: a second pass, since a row's placement needs the counts of all rows."""
    counts = tuple(standing.measured[name].counts.merge(ScoreCounts.empty(_PLACED)) for name in contest.names)
    names = [f"sum_{number}" for number in range(len(Placements.flat([0.0] * 12).numbers))]

    def place(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in _scored(batches, contest):
            kept = block.where(block.complete)
            first, second = (kept.scores[name] for name in contest.names)
            sums = Placements.of((first, second), kept.labels, (counts[0], counts[1])).numbers
            yield pa.RecordBatch.from_arrays([pa.array([value]) for value in sums], names=names)

    parts = in_arrow(rows, place, ", ".join(f"{name} double" for name in names))
    (total,) = parts.agg(*(F.sum(name).alias(name) for name in names)).collect()
    return Placements.flat(list(total)).gain(contest.confidence)


def _standing(tally: Tally, contest: Contest) -> Standing:
    cuts: dict[str, dict[str, Measured]] = {}
    for (name, cut), measured in sorted(tally.measured.items()):
        if cut != ALL:
            cuts.setdefault(cut, {})[name] = measured
    columns = {str(index): column for index, column in enumerate(contest.slices)}
    # Merged apart, a column's slices are counted together here alone.
    crowded = tally.crowded | {index for index in columns if sum(cut.startswith(f"{index}=") for cut in cuts) > SLICES}
    named = {cut: cut.partition("=") for cut in cuts}
    return Standing(
        {name: tally.measured[name, ALL] for name in contest.names},
        tally.drawn.auc_gain(contest.confidence) if tally.drawn else None,
        tally.drawn.loss_gain(contest.confidence) if tally.drawn else None,
        {f"{columns[index]}={value}": cuts[cut] for cut, (index, _, value) in named.items() if index not in crowded},
        tuple(columns[index] for index in sorted(crowded)),
        tally.unscored,
    )


def _tally(contest: Contest) -> Tally:
    return Tally(contest.names, contest.replicates, contest.seed)


def _counting(contest: Contest) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tally = _tally(contest)
        for rows in _scored(batches, contest):
            tally.update(rows)
        yield from tally.batches()

    return count


def _merging(contest: Contest) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tally = _tally(contest)
        for batch in batches:
            for row in batch.to_pylist():
                tally.merge(row)
        yield from tally.batches()

    return merge


def _scored(batches: Iterator[pa.RecordBatch], contest: Contest) -> Iterator[Scored]:
    """Predictions of all contestants, in blocks worth a merge."""
    predictors: dict[str, Applied] = {}
    waiting: list[Scored] = []
    for batch in batches:
        predictors = predictors or load_contestants(contest.storage, contest.contestants)
        waiting.append(
            Scored(
                {name: predictor.predict(batch) for name, predictor in predictors.items()},
                batch.column(_LABEL).to_numpy(),
                batch.column(_POSITION).to_numpy(),
                {str(index): batch.column(f"{_SLICE}{index}") for index in range(len(contest.slices))},
            )
        )
        # Arrow's batches are small.
        if sum(len(rows.labels) for rows in waiting) >= _CHUNK:
            yield Scored.joined(waiting)
            waiting = []
    if waiting:
        yield Scored.joined(waiting)


def load_contestants(storage: Storage, contestants: Sequence[Contestant]) -> dict[str, Applied]:
    """The contestants' models, verified; on the executors only: the driver that plans this needs no torch.

    Raises:
        ContractError: Files are not those of the digest.
    """
    import torch

    from sparkml_ops.model.artifact import DESCRIPTION, WEIGHTS, digest, load

    torch.set_num_threads(1)
    found = {}
    with TemporaryDirectory() as scratch:
        for contestant in contestants:
            folder = Path(scratch) / contestant.name
            for name in (WEIGHTS, DESCRIPTION):
                storage.fetch(f"{contestant.folder}/{name}", folder / name)
            if contestant.digest is not None and digest(folder) != contestant.digest:
                raise ContractError(
                    f"{storage.path(contestant.folder)} with digest {digest(folder)}",
                    expected=contestant.digest,
                    mend="the files were changed: restore them, or train again",
                )
            found[contestant.name] = load(folder, contestant.module)
    return found
