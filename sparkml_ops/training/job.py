"""The stages of one training, each done once.

Each ends with one document under `training/<run>/`: `spec`, `start` (of a warm training), `catalogue` (of a retrieval), `trained`, `artifact`,
`baseline`, `evaluation`, `forgetting` (of a warm one). A run that was killed and is started again reads what is there and goes on with the rest, inside training from
the last checkpoint.
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
from typing import Any

import safetensors.torch
import torch
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.delta import Tables
from feature_store.names import quote
from feature_store.records import TrainingSet
from feature_store.scan import Scan, plan_scan
from sparkml_ops.config.training import OPERATIONAL, TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.module import MakeModule, source_of
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage
from sparkml_ops.training.baseline import TrainRows, fit_linear, fit_logistic
from sparkml_ops.training.catalogue import with_catalogue, write
from sparkml_ops.training.checkpoint import Checkpoints, Epoch, Progress
from sparkml_ops.training.conditions import conditions
from sparkml_ops.training.growth import grown_moments, grown_weights
from sparkml_ops.training.judgement import evaluated, forgetting
from sparkml_ops.training.labels import SplitCounts
from sparkml_ops.training.launch import Collectives, LaunchSettings, gpus_of_a_task, launch
from sparkml_ops.training.launch.slots import Slots
from sparkml_ops.training.loop import TrainingTask
from sparkml_ops.training.own_module import refuse_unfit
from sparkml_ops.training.plan import SPLIT, Group, Plan, plan_groups
from sparkml_ops.training.preprocessing import Fitted, fit
from sparkml_ops.training.sites import settle
from sparkml_ops.training.warm import WarmStart
from sparkml_ops.training.weighting import RowWeights, row_weights

__all__ = ["MOMENTS", "Job", "fingerprint", "launch_settings", "plans_of"]

_log = logging.getLogger(__name__)
_VALIDATION_BATCH = 4096
#: The optimiser's state, beside the artifact's folder.
MOMENTS = "moments.safetensors"


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

    def check(self) -> None:
        """Refuse, before the first job, sites or a session that cannot hold the ranks of a training that is still to be done."""
        if self.storage.exists(f"{self.folder}/trained.json"):
            return
        if self.settings.sites:
            plans_of(self.groups, self.settings)
        if self.settings.backend != "local":
            Slots.of(self.spark).refuse_unfit(launch_settings(self.spark, self.settings).tasks)

    def fit(self) -> Fitted:
        """Preprocessing, fitted once; a run that was begun with other settings or rows is refused."""
        mine = fingerprint(self.settings, self.training_set, self.warm_start, self.module)

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
            task = TrainingTask(
                spec, plans, settings, self.storage, checkpoints, start, weights, module=self.module, moments=moments, catalogue=self.catalogue(spec)
            )
            results = launch(self.spark, task, launch_settings(self.spark, settings), self.storage, run, on_report=say)
            return dict(json.loads(results[0] or b"null"))

        return Progress.from_json(json.dumps(self._once("trained", make)).encode()).history

    def publish_model(self, spec: ModelSpec, kept: Epoch) -> str:
        """The weights of the kept epoch as an artifact; returns its folder."""
        place, moments = Progress(kept.epoch + 1), f"{self.folder}/{MOMENTS}"

        def make() -> tuple[ModelSpec, dict[str, torch.Tensor]]:
            # Beside the model, for a training that goes on from it: scoring needs none of it.
            self.storage.publish(moments, self.checkpoints.moments(place), kind="artifact_file")
            return spec, with_catalogue(spec, self.checkpoints.weights(place), self.storage, self.catalogue(spec))

        return self._publish_artifact("artifact", make)

    def catalogue(self, spec: ModelSpec) -> tuple[str, ...]:
        """Storage names of the items of a retrieval, written once; none of another task."""
        if spec.kind != "two_tower":
            return ()
        folder, label = f"{self.folder}/catalogue", self.settings.label
        return tuple(self._once("catalogue", lambda: {"parts": write(self.frame(), spec, label, self.storage, folder)})["parts"])

    def evaluate(self, fitted: Fitted) -> dict[str, Any]:
        """`metrics` on the evaluation split, a baseline's beside the model's, and of a binary model `confusion` and `reliability`."""
        return self._once("evaluation", lambda: evaluated(self, fitted))

    def forgotten(self, fitted: Fitted) -> dict[str, Any]:
        """Of a training that went on from a model: `metrics` and `slices` of both on old rows; nothing where there are none to tell by."""
        old = None if self.warm_start is None else self.warm_start.training_set
        if old is None or fitted.spec.target.task != "binary" or fitted.spec.kind == "module":
            return {"metrics": {}, "slices": []}
        return self._once("forgetting", lambda: forgetting(self, fitted, old))

    def baseline(self, fitted: Fitted) -> str:
        """The logistic regression of a binary task, or the linear one of a number's or a count's, on the train split; returns its folder."""
        fit_it = fit_logistic if fitted.spec.target.task == "binary" else fit_linear
        return self._publish_artifact("baseline", lambda: fit_it(self.train_rows(fitted), fitted.spec))

    def train_rows(self, fitted: Fitted) -> TrainRows:
        """The labelled rows of the train split, for a baseline."""
        label = self.settings.label
        train = self.frame().where((F.col(SPLIT) == "train") & F.col(quote(label)).isNotNull())
        return TrainRows(train, self.groups["train"], label, self._weights(fitted))

    def _weights(self, fitted: Fitted) -> RowWeights | None:
        return row_weights(self.settings.class_weights, fitted.class_rows, fitted.weights)

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
    """The order of the rows to train on and, where there are such, to validate on.

    Raises:
        ContractError: Rows are to stay at their sites, and cannot.
    """
    plans = {"train": Plan(tuple(groups["train"]), settings.shards, settings.batch_size, settings.seed)}
    if groups["validation"]:
        plans["validation"] = Plan(tuple(groups["validation"]), settings.shards, _VALIDATION_BATCH, settings.seed, shuffle=False)
    return settle(plans, settings.ranks) if settings.sites else plans


def launch_settings(spark: SparkSession | None, settings: TrainingSection) -> LaunchSettings:
    """How the ranks of a training are launched."""
    local = settings.backend == "local"
    slot = 1 if local or spark is None else int(spark.conf.get("spark.task.cpus", "1") or 1)
    device = "cpu" if settings.model.kind == "two_tower" else settings.device  # what it is measured by is not on GPUs yet
    gpus = 0 if local or spark is None or device == "cpu" else gpus_of_a_task(spark)
    return LaunchSettings(
        workers=settings.ranks,
        ranks_per_task=max(1, gpus),
        device=device,
        backend=settings.backend,
        start_timeout=settings.start_timeout,
        hang_timeout=settings.hang_timeout,
        attempts=settings.attempts,
        threads=settings.threads or max(1, slot // max(1, gpus)),
        interface=settings.interface,
        collectives=Collectives(**settings.collectives.model_dump(exclude={"local_steps"})),
    )


def fingerprint(settings: TrainingSection, training_set: TrainingSet, warm_start: WarmStart | None, module: MakeModule | None = None) -> str:
    """Of all that decides what comes out: a run goes on with the same, or not at all."""
    document: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude=OPERATIONAL),
        "training_set": training_set.id,
        "rows": training_set.content_hash,
    }
    if settings.collectives.local_steps > 1:
        document["workers"] = settings.ranks
    if warm_start is not None:
        document["warm_start"] = warm_start.digest
        if warm_start.moments is not None:
            document["moments"] = warm_start.moments
    if module is not None:
        document["module"] = source_of(module)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
