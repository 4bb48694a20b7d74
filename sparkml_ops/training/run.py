"""A training from its training set to a published artifact with metrics, in stages that are done once.

Each stage ends with one document under `training/<run>/`: `spec`, `start` (of a warm training), `trained`, `artifact`, `baseline`,
`evaluation`. A run that was killed and is started again reads what is there and goes on with the rest, inside training from the last
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import safetensors.torch
import torch
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.names import quote
from feature_store.records import TrainingSet
from feature_store.scan import Scan, plan_scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.module import MakeModule, source_of
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.performance.assessment import Assessment
from sparkml_ops.performance.contest import Contest, Contestant
from sparkml_ops.storage import Storage
from sparkml_ops.training.baseline import TrainRows, best_constant, fit_linear, fit_logistic, linear_fits
from sparkml_ops.training.checkpoint import Checkpoints, Epoch, Progress, best_epoch
from sparkml_ops.training.conditions import conditions
from sparkml_ops.training.evaluation import CONSTANT, LINEAR, LOGISTIC, MODEL, evaluate, evaluate_task
from sparkml_ops.training.growth import grown_moments, grown_weights
from sparkml_ops.training.labels import SplitCounts
from sparkml_ops.training.launch import Collectives, LaunchSettings, launch
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.objective import UNITS
from sparkml_ops.training.own_module import refuse_unfit
from sparkml_ops.training.pictures import draw
from sparkml_ops.training.plan import SPLIT, Group, Plan, plan_groups
from sparkml_ops.training.preprocessing import Fitted, fit
from sparkml_ops.training.warm import WarmStart
from sparkml_ops.training.weighting import RowWeights, row_weights

__all__ = ["MOMENTS", "Job", "RunLog", "Trained", "flat", "launch_settings", "measures", "plans_of", "train"]

_log = logging.getLogger(__name__)
_VALIDATION_BATCH = 4096
#: The optimiser's state, beside the artifact's folder.
MOMENTS = "moments.safetensors"
# These change how long a training takes, not what comes out.
_FREE: dict[str, Any] = {
    **dict.fromkeys(("workers", "backend", "threads", "start_timeout", "hang_timeout", "attempts", "checkpoint_every"), True),
    "collectives": {"fusion_mib", "cycle_ms", "timeline"},
}


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
        metrics: Flat names to values; `evaluation_*` are on the evaluation split.
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
    """
    job = Job(spark, tables, storage, training_set, settings, f"training/{run}", warm_start, module)
    fitted = job.fit()
    origin = {} if warm_start is None else {"warm_start": warm_start.origin}
    run_log.log_document("conditions", job.conditions())
    run_log.log_params({"training_set": training_set.id, **flat(settings.model_dump(mode="json")), "inputs": len(fitted.spec.inputs), **origin})

    def say(report: dict[str, Any]) -> None:
        if report.get("kind") == "hardware":
            run_log.log_document("rank_0", report)
            return
        if report.get("kind") == "epoch":
            run_log.log_metrics(measures(report), step=int(report["epoch"]))
        if on_report is not None:
            on_report(report)

    history = job.train(fitted, run, say)
    kept = best_epoch(history, settings.keep)
    folder = job.publish_model(fitted.spec, kept)
    evaluated = job.evaluate(fitted)
    metrics = {**_counts(fitted, history, kept), **evaluated["metrics"]}
    for epoch in history:
        run_log.log_metrics(measures(asdict(epoch)), step=epoch.epoch)
    run_log.log_metrics(metrics, step=0)
    with TemporaryDirectory() as scratch:
        for name, path in draw(Path(scratch), history, kept, evaluated, UNITS[fitted.spec.target.task]).items():
            run_log.log_figure(name, path)
    job.checkpoints.remove()
    return Trained(metrics, folder, job.digest(folder), history)


@dataclass(frozen=True)
class Job:
    """The stages of one training."""

    spark: SparkSession
    tables: Tables
    storage: Storage
    training_set: TrainingSet
    settings: TrainingSection
    folder: str
    warm_start: WarmStart | None = None
    module: MakeModule | None = None

    @property
    def checkpoints(self) -> Checkpoints:
        """Where its ranks go on from."""
        return Checkpoints(self.storage, f"{self.folder}/checkpoints")

    def fit(self) -> Fitted:
        """Preprocessing, fitted once; a run that was begun with other settings or rows is refused."""
        mine = _fingerprint(self.settings, self.training_set, self.warm_start, self.module)

        def make() -> dict[str, Any]:
            self._scan()  # what ranks cannot read is refused before the first job
            fitted = fit(self.frame(), self.settings, self.warm_start, own=self.module is not None)
            splits = {name: asdict(counts) for name, counts in fitted.splits.items()}
            return {
                "fingerprint": mine,
                "model": fitted.spec.to_json(),
                "splits": splits,
                "weights": fitted.weights,
                "conditions": conditions(self.settings, self.spark.version),
            }

        document = self._once("spec", make)
        if document["fingerprint"] != mine:
            raise ContractError(
                f"{self.folder} begun with other settings, another training set or another model to go on from",
                expected="the same ones",
                mend="use --generation next for a new training",
            )
        weights = document.get("weights")
        splits = {name: SplitCounts(**{**counts, "classes": tuple(counts.get("classes", ()))}) for name, counts in document["splits"].items()}
        return Fitted(ModelSpec.from_json(document["model"]), splits, None if weights is None else tuple(weights))

    def conditions(self) -> dict[str, Any]:
        """Settings and environment with which the run was begun."""
        return dict(json.loads(self.storage.read(f"{self.folder}/spec.json")).get("conditions", {}))

    def digest(self, artifact_folder: str) -> str:
        """Of the files of a published artifact."""
        return str(json.loads(self.storage.read(f"{artifact_folder}.json"))["digest"])

    def train(self, fitted: Fitted, run: str, say: Callable[[dict[str, Any]], None]) -> tuple[Epoch, ...]:
        """All epochs, on all ranks."""

        def make() -> dict[str, Any]:
            spec, settings, checkpoints, plans = fitted.spec, self.settings, f"{self.folder}/checkpoints", plans_of(self.groups, self.settings)
            if spec.kind == "module":
                refuse_unfit(spec, settings.seed, self.module, parts=settings.accumulate, optimizer=settings.optimizer)
            (start, moments), weights = self._start(fitted), self._weights(fitted)
            task = TrainingTask(spec, plans, settings, self.storage, checkpoints, start, weights, module=self.module, moments=moments)
            results = launch(self.spark, task, launch_settings(self.spark, settings), self.storage, run, on_report=say)
            return dict(json.loads(results[0] or b"null"))

        return Progress.from_json(json.dumps(self._once("trained", make)).encode()).history

    def publish_model(self, spec: ModelSpec, kept: Epoch) -> str:
        """The weights of the kept epoch as an artifact; returns its folder."""
        place, moments = Progress(kept.epoch + 1), f"{self.folder}/{MOMENTS}"

        def make() -> tuple[ModelSpec, dict[str, torch.Tensor]]:
            # Beside the model, for a training that goes on from it: scoring needs none of it.
            self.storage.publish(moments, self.checkpoints.moments(place), kind="artifact_file")
            return spec, self.checkpoints.weights(place)

        return self._publish_artifact("artifact", make)

    def evaluate(self, fitted: Fitted) -> dict[str, Any]:
        """`metrics` on the evaluation split, a baseline's beside the model's, and of a binary model `confusion` and `reliability`."""
        if fitted.spec.target.task != "binary":
            return self._once("evaluation", lambda: {"metrics": self._assess(fitted)})
        settings, frame, rate = self.settings, self.frame(), fitted.splits["train"].rate
        logistic = self.logistic(fitted)
        inputs = tuple(name for name, _ in fitted.spec.inputs)
        contest = Contest(
            self.storage,
            (Contestant(MODEL, f"{self.folder}/artifact", inputs, module=self.module), Contestant(LOGISTIC, logistic, inputs)),
            settings.label,
            replicates=settings.replicates,
            confidence=settings.confidence,
            seed=settings.seed,
        )

        def make() -> dict[str, Any]:
            found = evaluate(frame.where(F.col(SPLIT) == "evaluation"), contest)
            bins = {name: [asdict(part) for part in parts] for name, parts in found.reliability().items()}
            return {"metrics": found.metrics(rate), "confusion": asdict(found.confusion), "reliability": bins}

        return self._once("evaluation", make)

    def _assess(self, fitted: Fitted) -> dict[str, float]:
        """Figures of a model that is not binary, beside its baselines'."""
        spec, frame = fitted.spec, self.frame()
        inputs = tuple(name for name, _ in spec.inputs)
        contestants = [Contestant(MODEL, f"{self.folder}/artifact", inputs, module=self.module)]
        if linear_fits(spec):
            folder = self._publish_artifact("baseline", lambda: fit_linear(self._train_rows(fitted), spec))
            contestants.append(Contestant(LINEAR, folder, inputs))
        constants = {CONSTANT: best_constant(self._train_rows(fitted), spec.target, fitted.splits["train"])}
        assessment = Assessment(self.storage, tuple(contestants), spec.target, self.settings.label, constants)
        return evaluate_task(frame.where(F.col(SPLIT) == "evaluation"), assessment)

    def _train_rows(self, fitted: Fitted) -> TrainRows:
        label = self.settings.label
        train = self.frame().where((F.col(SPLIT) == "train") & F.col(quote(label)).isNotNull())
        return TrainRows(train, self.groups["train"], label, self._weights(fitted))

    def logistic(self, fitted: Fitted) -> str:
        """A logistic regression on the train split as an artifact; returns its folder."""
        return self._publish_artifact("baseline", lambda: fit_logistic(self._train_rows(fitted), fitted.spec))

    def _weights(self, fitted: Fitted) -> RowWeights | None:
        rows, task = fitted.splits["train"], fitted.spec.target.task
        of_class = {"binary": (rows.rows - rows.positives, rows.positives), "multiclass": rows.classes}
        return row_weights(self.settings.class_weights, of_class.get(task, (rows.rows,)), fitted.weights)

    def _start(self, fitted: Fitted) -> tuple[str | None, str | None]:
        """Where the ranks find the first weights and the optimiser's state, wherever they run; None where they begin with none."""
        start, spec, moments = self.warm_start, fitted.spec, f"{self.folder}/start_{MOMENTS}"
        if start is None:
            return None, None

        def make() -> tuple[ModelSpec, dict[str, torch.Tensor]]:
            if start.moments is not None:
                kept = grown_moments(start.spec, spec, safetensors.torch.load(self.storage.read(start.moments)))
                self.storage.publish(moments, safetensors.torch.save(kept), kind="start_file")
            return spec, grown_weights(start.spec, spec, start.weights)

        return self._publish_artifact("start", make), None if start.moments is None else moments

    def _publish_artifact(self, name: str, make: Callable[[], tuple[ModelSpec, dict[str, torch.Tensor]]]) -> str:
        """Files first, then the document that says that they are whole; it lies beside the folder, which holds the model and nothing else."""
        folder = f"{self.folder}/{name}"

        def publish() -> dict[str, Any]:
            with TemporaryDirectory() as scratch:
                spec, state = make()
                artifact.save(Path(scratch), spec, state, self.module if spec.kind == "module" else None)
                for path in sorted(Path(scratch).iterdir()):
                    self.storage.publish_file(f"{folder}/{path.name}", path, kind=f"{name}_file")
                return {"digest": artifact.digest(Path(scratch))}

        self._once(name, publish)
        return folder

    def _once(self, stage: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A stage's document: read where it is there, else made and published."""
        name = f"{self.folder}/{stage}.json"
        if self.storage.exists(name):
            _log.info("stage %s of %s is done", stage, self.folder)
            return dict(json.loads(self.storage.read(name)))
        document = make()
        self.storage.publish(name, json.dumps(document, sort_keys=True, allow_nan=False).encode(), kind=stage)
        return document

    @cached_property
    def groups(self) -> dict[str, tuple[Group, ...]]:
        """Row groups with rows to train on and to validate on."""
        return plan_groups(self._scan(), label=self.settings.label, splits=("train", "validation"))

    def _scan(self) -> Scan:
        scan = plan_scan(self.tables, self.training_set.snapshot)
        if scan is None:
            raise ContractError(
                f"training set `{self.training_set.snapshot.table}` with deletion vectors, column mapping or another feature that Spark alone reads",
                expected="plain Parquet files, as a training set is written",
                mend="build it anew (its sources may have any of these)",
            )
        return scan

    def frame(self) -> DataFrame:
        """All rows of the training set."""
        return self.tables.read(self.training_set.snapshot.table, self.training_set.snapshot.version)


def plans_of(groups: Mapping[str, Sequence[Group]], settings: TrainingSection) -> dict[str, Plan]:
    """The order of the rows to train on and, where there are such, to validate on."""
    plans = {"train": Plan(tuple(groups["train"]), settings.shards, settings.batch_size, settings.seed)}
    if groups["validation"]:
        plans["validation"] = Plan(tuple(groups["validation"]), settings.shards, _VALIDATION_BATCH, settings.seed, shuffle=False)
    return plans


def launch_settings(spark: SparkSession | None, settings: TrainingSection) -> LaunchSettings:
    """How the ranks of a training are launched."""
    local = settings.backend == "local"
    slot = 1 if local or spark is None else int(spark.conf.get("spark.task.cpus", "1") or 1)
    return LaunchSettings(
        workers=1 if local else settings.workers,
        backend=settings.backend,
        start_timeout=settings.start_timeout,
        hang_timeout=settings.hang_timeout,
        attempts=settings.attempts,
        threads=settings.threads or slot,
        collectives=Collectives(**settings.collectives.model_dump(exclude={"local_steps"})),
    )


def _fingerprint(settings: TrainingSection, training_set: TrainingSet, warm_start: WarmStart | None, module: MakeModule | None = None) -> str:
    document: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude=_FREE),
        "training_set": training_set.id,
        "rows": training_set.content_hash,
    }
    if settings.collectives.local_steps > 1:
        document["workers"] = 1 if settings.backend == "local" else settings.workers
    if warm_start is not None:
        document["warm_start"] = warm_start.digest
        if warm_start.moments is not None:
            document["moments"] = warm_start.moments
    if module is not None:
        document["module"] = source_of(module)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


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
