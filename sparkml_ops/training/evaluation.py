"""How good a model is on the evaluation split, beside its baselines: one distributed pass over the rows.

Each task counts its rows, the counts are merged on the executors, and the driver sees three small states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.performance.bootstrap import Interval, Replicates
from sparkml_ops.performance.measured import Measured, log_losses
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.storage import Storage
from sparkml_ops.training.plan import POSITION

__all__ = ["Contest", "Evaluation", "evaluate"]

_MODELS = ("model", "logistic")
_REPLICATES = "replicates"
_CHUNK = 1 << 18
_SCHEMA = "part string, data binary, loss double, squared double"
Rows = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Contest:
    """What is measured.

    Args:
        storage: Where the artifacts lie.
        folders: Storage folder of the artifacts `model` and `logistic`.
        inputs: Columns that they read.
        label: Column of the label; rows without one are left out.
        rate: Share of label 1 in the train split: the constant prediction of the third contestant.
        replicates: Replicates of the bootstrap, a multiple of 4.
        confidence: Level of its intervals.
        seed: Of its weights.
    """

    storage: Storage
    folders: Mapping[str, str]
    inputs: tuple[str, ...]
    label: str
    rate: float
    replicates: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """What the pass found.

    Args:
        model: Scores of the model.
        logistic: Scores of the logistic regression.
        auc_gain: Interval of the model's AUC minus the logistic regression's.
        loss_gain: Interval of the logistic regression's log loss minus the model's.
    """

    model: Measured
    logistic: Measured
    auc_gain: Interval
    loss_gain: Interval

    def metrics(self, rate: float) -> dict[str, float]:
        """Flat names to values; an area that does not exist (one label only) has no entry.

        Args:
            rate: The constant prediction to compare with.
        """
        model, logistic = self.model, self.logistic
        base = -model.rate * math.log(rate) - (1 - model.rate) * math.log(1 - rate)
        found = {
            "evaluation_rows": model.rows,
            "evaluation_rate": model.rate,
            "evaluation_auc": model.counts.auc,
            "evaluation_auc_error": model.counts.auc_error,
            "evaluation_log_loss": model.loss / model.rows,
            "evaluation_brier": model.squared / model.rows,
            "baseline_logistic_auc": logistic.counts.auc,
            "baseline_logistic_log_loss": logistic.loss / model.rows,
            "baseline_logistic_brier": logistic.squared / model.rows,
            "baseline_rate": rate,
            "baseline_rate_log_loss": base,
            "auc_gain_logistic": model.counts.auc - logistic.counts.auc,
            "auc_gain_logistic_lower": self.auc_gain.lower,
            "auc_gain_logistic_upper": self.auc_gain.upper,
            "log_loss_gain_logistic": (logistic.loss - model.loss) / model.rows,
            "log_loss_gain_logistic_lower": self.loss_gain.lower,
            "log_loss_gain_logistic_upper": self.loss_gain.upper,
            "log_loss_gain_rate": base - model.loss / model.rows,
        }
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def evaluate(frame: DataFrame, contest: Contest) -> Evaluation:
    """Measure both models on the labelled rows of a frame.

    Args:
        frame: Rows with the inputs, the label and `row_position`.
        contest: What is measured.

    Raises:
        ContractError: There is no labelled row.
    """
    label = F.col(quote(contest.label))
    columns = [quote(name) for name in dict.fromkeys(contest.inputs)]
    rows = frame.where(label.isNotNull()).select(*columns, label.cast("bigint").alias("__label"), F.col(POSITION).alias("__position"))
    parts = rows.mapInArrow(_counting(contest), _SCHEMA)
    # By part, so that a merging task holds one state and not one of each counting task.
    merged = parts.repartition(len(_MODELS) + 1, "part").mapInArrow(_merging, _SCHEMA).collect()
    states = {row["part"]: row for row in merged}
    if not states:
        raise ContractError("no labelled row to evaluate on", expected="at least one", mend="widen the evaluation split, or wait for labels")
    measured = {part: _measured(states[part].asDict()) for part in _MODELS}
    drawn = Replicates.from_bytes(bytes(states[_REPLICATES]["data"]))
    return Evaluation(measured["model"], measured["logistic"], drawn.auc_gain(contest.confidence), drawn.loss_gain(contest.confidence))


def _counting(contest: Contest) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        measured = dict.fromkeys(_MODELS, Measured(ScoreCounts.empty()))
        drawn: Replicates | None = None
        for model, logistic, labels, positions in _scored(batches, contest):
            drawn = drawn or Replicates(contest.replicates, contest.seed)
            losses = [log_losses(scores, labels) for scores in (model, logistic)]
            drawn.update((model, logistic), labels, losses[1] - losses[0], positions)
            for part, scores, loss in zip(_MODELS, (model, logistic), losses, strict=True):
                measured[part] = measured[part].merge(Measured.of(scores, labels, loss))
        if drawn is not None:
            yield from _batches(measured, drawn)

    return count


def _scored(batches: Iterator[pa.RecordBatch], contest: Contest) -> Iterator[Rows]:
    """Predictions of both models, label and position of each row."""
    import torch  # on the executors only: the driver that plans this needs none of it

    from sparkml_ops.model.artifact import DESCRIPTION, WEIGHTS, load

    torch.set_num_threads(1)
    with TemporaryDirectory() as scratch:
        predictors = []
        for part in _MODELS:
            for name in (WEIGHTS, DESCRIPTION):
                contest.storage.fetch(f"{contest.folders[part]}/{name}", Path(scratch) / part / name)
            predictors.append(load(Path(scratch) / part))
    waiting: list[Rows] = []
    for batch in batches:
        model, logistic = (predictor.predict(batch) for predictor in predictors)
        if unknown := int(np.isnan(model).sum()):
            raise ContractError(f"{unknown} evaluation rows without a prediction", expected="finite features", mend="make infinite values null")
        waiting.append((model, logistic, batch.column("__label").to_numpy(), batch.column("__position").to_numpy()))
        # Arrow's batches are small, and each merge of counts costs as much as all counts so far.
        if sum(len(rows[0]) for rows in waiting) >= _CHUNK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Rows]) -> Rows:
    model, logistic, labels, positions = (np.concatenate(column) for column in zip(*parts, strict=True))
    return model, logistic, labels, positions


def _batches(measured: Mapping[str, Measured], drawn: Replicates | None) -> Iterator[pa.RecordBatch]:
    rows = [{"part": part, "data": state.counts.to_bytes(), "loss": state.loss, "squared": state.squared} for part, state in measured.items()]
    if drawn is not None:
        rows.append({"part": _REPLICATES, "data": drawn.to_bytes(), "loss": 0.0, "squared": 0.0})
    schema = pa.schema({"part": pa.string(), "data": pa.binary(), "loss": pa.float64(), "squared": pa.float64()})
    for row in rows:
        yield pa.RecordBatch.from_pylist([row], schema)


def _merging(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    measured: dict[str, Measured] = {}
    drawn: Replicates | None = None
    for batch in batches:
        for row in batch.to_pylist():
            if row["part"] != _REPLICATES:
                measured[row["part"]] = measured.get(row["part"], Measured(ScoreCounts.empty())).merge(_measured(row))
            elif drawn is None:
                drawn = Replicates.from_bytes(row["data"])
            else:
                drawn.merge(Replicates.from_bytes(row["data"]))
    yield from _batches(measured, drawn)


def _measured(row: Mapping[str, object]) -> Measured:
    state = Measured(ScoreCounts.empty(), float(row["loss"]), float(row["squared"]))  # type: ignore[arg-type]
    return replace(state, counts=ScoreCounts.from_bytes(bytes(row["data"])))  # type: ignore[call-overload]
