"""What a trained model is worth: on the evaluation split beside its baselines, and on old rows beside the model that it went on from."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.records import TrainingSet
from sparkml_ops.performance.assessment import Assessment
from sparkml_ops.performance.contest import Contest, Contestant, hold
from sparkml_ops.performance.measured import Measured
from sparkml_ops.performance.ranking_pass import RankingPass
from sparkml_ops.training.baseline import best_constant, linear_fits
from sparkml_ops.training.evaluation import CONSTANT, LINEAR, LOGISTIC, MODEL, evaluate, evaluate_retrieval, evaluate_task
from sparkml_ops.training.plan import SPLIT
from sparkml_ops.training.preprocessing import Fitted

if TYPE_CHECKING:
    from sparkml_ops.training.job import Job

__all__ = ["evaluated", "forgetting"]

_BEFORE = "before"


def evaluated(job: Job, fitted: Fitted) -> dict[str, Any]:
    """Figures on the evaluation split, as `Job.evaluate` says."""
    if fitted.spec.target.task == "retrieval":
        return _recommended(job, fitted)
    if fitted.spec.target.task != "binary":
        return {"metrics": _assessed(job, fitted)}
    rows = job.frame().where(F.col(SPLIT) == "evaluation")
    found = evaluate(rows, _contest(job, fitted, LOGISTIC, job.baseline(fitted), _present(job, rows)))
    bins = {name: [asdict(part) for part in parts] for name, parts in found.reliability().items()}
    return {
        "metrics": found.metrics(fitted.splits["train"].rate),
        "confusion": asdict(found.confusion),
        "reliability": bins,
        "slices": found.by_slice(),
    }


def forgetting(job: Job, fitted: Fitted, old: TrainingSet) -> dict[str, Any]:
    """Figures of the new model minus those of the one before, on old rows that neither was trained on.

    Args:
        job: Of a training that went on from a binary model.
        old: What that was trained on. Its validation rows were held out by their keys, which no replay takes up again.

    Returns:
        `metrics`, flat: `forgetting_auc_change` below 0 says that the new model orders old rows worse, `forgetting_log_loss_change` above 0 that
        its probabilities of them are worse; each with `_lower` and `_upper`. `slices`: rows and both changes of each value, the most forgotten
        first. Both are empty where the old set has no validation rows.
    """
    rows = job.tables.read(old.snapshot.table, old.snapshot.version).where(F.col(SPLIT) == "validation")
    if rows.isEmpty():
        return {"metrics": {}, "slices": []}
    standing = hold(rows, _contest(job, fitted, _BEFORE, f"{job.folder}/start", _present(job, rows)))
    assert standing.auc_gain is not None
    assert standing.loss_gain is not None
    found = {
        "rows": standing.measured[MODEL].rows,
        **_changes(standing.measured[MODEL], standing.measured[_BEFORE]),
        "auc_change_lower": standing.auc_gain.lower,
        "auc_change_upper": standing.auc_gain.upper,
        "log_loss_change_lower": -standing.loss_gain.upper,
        "log_loss_change_upper": -standing.loss_gain.lower,
    }
    cuts: list[dict[str, Any]] = [
        {"slice": name, "rows": cut[MODEL].rows, **_changes(cut[MODEL], cut[_BEFORE])} for name, cut in standing.slices.items()
    ]
    worst = sorted(cuts, key=lambda cut: (-cut["log_loss_change"], cut["slice"]))
    return {"metrics": {f"forgetting_{name}": float(value) for name, value in found.items() if math.isfinite(value)}, "slices": worst}


def _contest(job: Job, fitted: Fitted, other: str, folder: str, slices: tuple[str, ...] = ()) -> Contest:
    """The model and another that reads the same inputs."""
    inputs, settings = tuple(name for name, _ in fitted.spec.inputs), job.settings
    return Contest(
        job.storage,
        (Contestant(MODEL, f"{job.folder}/artifact", inputs, module=job.module), Contestant(other, folder, inputs)),
        settings.label,
        replicates=settings.replicates,
        confidence=settings.confidence,
        seed=settings.seed,
        slices=slices,
    )


def _present(job: Job, rows: DataFrame) -> tuple[str, ...]:
    return tuple(name for name in job.settings.slices if name in rows.columns)


def _changes(new: Measured, old: Measured) -> dict[str, float]:
    """New minus old; an area that does not exist (one label only) is left out."""
    found = {"auc_change": new.counts.auc - old.counts.auc, "log_loss_change": (new.loss - old.loss) / new.rows}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _recommended(job: Job, fitted: Fitted) -> dict[str, Any]:
    """Figures of a retrieval beside those of recommending the most frequent items to everybody."""
    rows = job.frame().where(F.col(SPLIT) == "evaluation")
    model = Contestant(MODEL, f"{job.folder}/artifact", tuple(name for name, _ in fitted.spec.requested))
    return evaluate_retrieval(rows, RankingPass(job.storage, model, fitted.spec.target, job.settings.label, _present(job, rows)))


def _assessed(job: Job, fitted: Fitted) -> dict[str, float]:
    """Figures of a model that is not binary, beside its baselines'."""
    spec, rows = fitted.spec, job.frame().where(F.col(SPLIT) == "evaluation")
    inputs = tuple(name for name, _ in spec.inputs)
    contestants = [Contestant(MODEL, f"{job.folder}/artifact", inputs, module=job.module)]
    if linear_fits(spec):
        contestants.append(Contestant(LINEAR, job.baseline(fitted), inputs))
    constants = {CONSTANT: best_constant(job.train_rows(fitted), spec.target, fitted.splits["train"])}
    return evaluate_task(rows, Assessment(job.storage, tuple(contestants), spec.target, job.settings.label, constants))
