"""A training from its training set to a published artifact with metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from pyspark.sql import SparkSession

from feature_store.delta import Tables
from feature_store.records import TrainingSet
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.model.module import MakeModule
from sparkml_ops.storage import Storage
from sparkml_ops.training.checkpoint import Epoch, best_epoch
from sparkml_ops.training.job import Job
from sparkml_ops.training.live import Live
from sparkml_ops.training.objective import UNITS
from sparkml_ops.training.pictures import draw
from sparkml_ops.training.preprocessing import Fitted
from sparkml_ops.training.warm import WarmStart

__all__ = ["RunLog", "Trained", "flat", "measures", "train"]


class RunLog(Protocol):
    """Where a run's numbers go; logging the same again changes nothing."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at an epoch."""

    def log_figure(self, name: str, path: Path | str) -> None:
        """Keep a picture."""

    def log_document(self, name: str, document: Any) -> None:
        """Keep plain JSON types."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Args:
        metrics: Flat names to values; `evaluation_*` are on the evaluation split, `forgetting_*` on old rows.
        artifact: Storage folder of the model: `weights.safetensors` and `model.json`.
        digest: Of its files.
        history: The epochs, in order.
    """

    metrics: Mapping[str, float]
    artifact: str
    digest: str
    history: tuple[Epoch, ...]


def train(
    spark: SparkSession,
    tables: Tables,
    storage: Storage,
    training_set: TrainingSet,
    settings: TrainingSection,
    run_log: RunLog,
    *,
    run: str,
    warm_start: WarmStart | None = None,
    module: MakeModule | None = None,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train a model on a training set, or finish the training that was begun under the same name.

    Args:
        spark: The session whose executors do the work.
        tables: Where the training set lies.
        storage: For checkpoints and the artifact, under `training/<run>`; readable by executors.
        training_set: Rows with `split`, `row_position`, features and label.
        settings: Model, optimiser, workers.
        run_log: Receives parameters, metrics of each epoch, final metrics and pictures.
        run: Stable name of this piece of work; the same name goes on where it stopped.
        warm_start: A model to go on from: its weights are the first ones, its preprocessing stays.
        module: What makes the network, in place of the settings' own; None: what the settings say.
        on_report: Called with each report of a rank, as they come.

    Raises:
        ContractError: The training set or the settings break a promise, or `run` was begun with others.
        RankFailed: A rank raised, or ranks died more often than `attempts` allows.
        StartTimeout: The ranks did not meet in time.
        RetryableError: The log was away before or after the training; called again, only what it lacks is left to do.
    """
    job, live = Job(spark, tables, storage, training_set, settings, f"training/{run}", warm_start, module), Live()
    job.check()
    fitted = job.fit()
    origin = {} if warm_start is None else {"warm_start": warm_start.origin}
    run_log.log_document("conditions", job.conditions())
    run_log.log_params({"training_set": training_set.id, **flat(settings.model_dump(mode="json")), "inputs": len(fitted.spec.inputs), **origin})

    def say(report: dict[str, Any]) -> None:
        if report.get("kind") == "hardware":
            live.send(partial(run_log.log_document, "rank_0", report))
            return
        if report.get("kind") == "epoch":
            live.send(partial(run_log.log_metrics, measures(report), step=int(report["epoch"])))
        if on_report is not None:
            on_report(report)

    history = job.train(fitted, run, say)
    kept = best_epoch(history, settings.keep)
    folder = job.publish_model(fitted.spec, kept)
    evaluated, forgotten = job.evaluate(fitted), job.forgotten(fitted)
    metrics = {**_counts(fitted, history, kept), **evaluated["metrics"], **forgotten["metrics"]}
    live.settle()
    for epoch in history:
        run_log.log_metrics(measures(asdict(epoch)), step=epoch.epoch)
    run_log.log_metrics(metrics, step=0)
    with TemporaryDirectory() as scratch:
        for name, path in draw(Path(scratch), history, kept, evaluated, UNITS[fitted.spec.target.task]).items():
            run_log.log_figure(name, path)
    if evaluated.get("slices"):
        run_log.log_document("slices", evaluated["slices"])
    if forgotten["metrics"]:
        run_log.log_document("forgetting", forgotten)
    job.checkpoints.remove()
    return Trained(metrics, folder, job.digest(folder), history)


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested maps as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def measures(epoch: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's report, without those that do not exist."""
    names = asdict(Epoch(0, 0.0, None, None, 0.0, 0.0, 0.0, 0.0)).keys() - {"epoch"}
    return {name: float(epoch[name]) for name in sorted(names) if epoch.get(name) is not None}


def _counts(fitted: Fitted, history: tuple[Epoch, ...], kept: Epoch) -> dict[str, float]:
    rows = {f"{split}_rows": float(counts.rows) for split, counts in fitted.splits.items() if split != "evaluation"}
    pending = sum(counts.pending for counts in fitted.splits.values())
    return {**rows, "pending_rows": float(pending), "epochs": float(len(history)), "kept_epoch": float(kept.epoch)}
