"""One record between two rooms: what each verb hands on, printed as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal

from feature_store.records import Snapshot, TrainingSet

__all__ = [
    "GateReport",
    "GateResult",
    "ModelVersion",
    "MonitorReport",
    "Performance",
    "Reproduction",
    "RetrainDecision",
    "ScoredWindow",
    "Snapshot",
    "TrainingResult",
    "TrainingSet",
    "TuningResult",
    "Withdrawal",
    "to_document",
    "to_json",
]


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Args:
        run_id: MLflow's id of the run.
        training_set: What it was trained and evaluated on.
        metrics: Flat names to values; `evaluation_*` are on the evaluation split.
        checkpoint: Folder of the artifact under `storage.root`.
        warm_start: The version whose weights and preprocessing it went on from; None where it began anew.
        stateful: Whether it went on with the optimiser's state too.
    """

    run_id: str
    training_set: TrainingSet
    metrics: Mapping[str, float]
    checkpoint: str
    warm_start: ModelVersion | None = None
    stateful: bool = False


@dataclass(frozen=True)
class Reproduction:
    """An earlier training, done once more from what it recorded.

    Args:
        reproduces: MLflow's id of the earlier run.
        run_id: MLflow's id of this one.
        training_set: What both were trained and evaluated on.
        rows: Whether these were `rebuilt from their inputs` with the same content, or taken `as stored`, and why.
        digest: SHA-256 over the files of the earlier artifact.
        digest_again: The same of the new one.
        metrics: Metrics that differ, (then, now); None for one that only the other run has.
        environment: Packages, code, Java and hardware that differ, likewise.
        equal: Whether the weights are the same to the last bit, and so are all metrics.
    """

    reproduces: str
    run_id: str
    training_set: TrainingSet
    rows: str
    digest: str
    digest_again: str
    metrics: Mapping[str, tuple[float | None, float | None]]
    environment: Mapping[str, tuple[Any, Any]]
    equal: bool


@dataclass(frozen=True)
class TuningResult:
    """A finished search for a better training.

    Args:
        run_id: MLflow's id of the parent run; each trial is a run below it.
        training_set: What was trained on and judged by: its splits train and validation.
        study: Folder of the trials under `storage.root`.
        metric: What trials were judged by.
        value: That of the best trial.
        overrides: The best trial's values as `key=value`: each can follow `--set`, all can be `overrides` of `Project.open`.
        trials: Number of trials by state: complete, pruned, failed.
        leaders: The ten best trials, the best first: number, value, params, seconds and number of epochs of each.
        importances: Share of each key in how much the metric varies; empty where there is too little to tell.
        candidates: With `tuning.automl` the best of each family and a logistic regression: value and microseconds of a prediction.
        family: That of the candidates which was chosen; `overrides` are its trial's, or the best linear trial's for `logistic`.
    """

    run_id: str
    training_set: TrainingSet
    study: str
    metric: str
    value: float
    overrides: tuple[str, ...]
    trials: Mapping[str, int]
    leaders: tuple[Mapping[str, Any], ...]
    importances: Mapping[str, float]
    candidates: tuple[Mapping[str, Any], ...] = ()
    family: str | None = None


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model; it carries its training set.

    Args:
        name: Registered name.
        version: MLflow's number.
        digest: SHA-256 over the artifact's files.
        training_set: Its reference for drift, so that nothing ever searches for it.
    """

    name: str
    version: int
    digest: str
    training_set: TrainingSet


@dataclass(frozen=True)
class GateResult:
    """What one gate found.

    Args:
        champion: `<version> <digest>` of the champion that it compared with, `none` where there was none; empty where it compared with none.
    """

    gate: str
    verdict: Literal["pass", "fail", "no evidence"]
    found: Mapping[str, float]
    limit: Mapping[str, float]
    message: str
    champion: str = ""


@dataclass(frozen=True)
class GateReport:
    """All gates of one model version, bound to what was judged and by which rules."""

    model: str
    version: int
    digest: str
    evaluation_hash: str
    config_hash: str
    passed: bool
    results: tuple[GateResult, ...]


@dataclass(frozen=True)
class ScoredWindow:
    """The predictions of one window in one slot.

    Args:
        rows: Scored rows.
        quarantined: Rows set aside with a reason; both together are the window's rows.
    """

    model: ModelVersion
    window: str
    slot: str
    snapshot: Snapshot
    rows: int
    quarantined: int


@dataclass(frozen=True)
class Withdrawal:
    """A scoring that was taken back: its window and slot hold again what they held before it.

    Args:
        run_id: The scoring's run.
        withdrawn: Its generation.
        snapshot: The version of the target that this made.
        rows: Scored rows that are there again; 0 where nothing had been scored before.
        quarantined: Rows that are in quarantine again.
    """

    run_id: str
    window: str
    slot: str
    withdrawn: int
    snapshot: Snapshot
    rows: int
    quarantined: int


@dataclass(frozen=True)
class Performance:
    """One number about the predictions of a window.

    Args:
        segment: `name=value`, a sensitive column between whose values the figure compares, or None for all rows.
        metric: `auc`, `log_loss` (nats a row), `brier`, `calibration_error` or `rate` (share of label 1); `accuracy`, `macro_f1`, `macro_auc` of several
            classes; `mae`, `rmse`, `r2` of a number; `value`, `reward` and disparities as `monitoring.value` and `monitoring.sensitive` say; of
            kind `predicted` the concentration of scores or classes: `entropy`, `herfindahl`, `gini`, `top_share`.
        kind: `realised` from the rows whose truth is known, `estimated` from calibrated scores, or expected errors, of all rows,
            `predicted` of the scores themselves.
        value: None where it does not exist (one label only, no rows).
        lower: End of its interval; None where there is none.
        upper: The other end.
        rows: Rows that it is about.
    """

    segment: str | None
    metric: str
    kind: Literal["realised", "estimated", "predicted"]
    value: float | None
    lower: float | None
    upper: float | None
    rows: int


@dataclass(frozen=True)
class MonitorReport:
    """How good the predictions of a window are, as far as the truth is known at `as_of`.

    Args:
        model: The version that scored the window.
        as_of: ISO 8601, UTC: truth that was known then.
        rows: Scored rows.
        labelled: Rows whose truth is known.
        completeness: labelled / rows.
        final: Whether the window counts as complete: later truth would not be waited for.
        performance: All numbers of this window.
        lag: Share of the labels known within some hours of the spine time, (hours, share), rising.
        findings: What is odd in the truth: contradictions, truth for rows that were never scored.
        snapshot: The version of `performance_metrics` that holds them.
    """

    model: ModelVersion
    window: str
    slot: str
    as_of: str
    rows: int
    labelled: int
    completeness: float
    final: bool
    performance: tuple[Performance, ...]
    lag: tuple[tuple[float, float], ...]
    findings: tuple[str, ...]
    snapshot: Snapshot

    def value(self, metric: str, kind: Literal["realised", "estimated", "predicted"] = "realised", segment: str | None = None) -> float | None:
        """One of the numbers, or None where it does not exist."""
        return next((item.value for item in self.performance if (item.metric, item.kind, item.segment) == (metric, kind, segment)), None)


@dataclass(frozen=True)
class RetrainDecision:
    """Whether a new model is due, and what came of it.

    Args:
        decision: `yes` or `no`.
        trigger: What spoke for it: `schedule`, `drift`, `performance`, `labels`, `on demand`; empty where nothing did.
        reason: One sentence for people.
        evidence: What every trigger and every brake saw.
        champion: Version before the decision.
        challenger: The version that was trained, if any.
        promoted: Whether it became the champion; its gates may have refused it.
    """

    window: str
    as_of: str
    decision: Literal["yes", "no"]
    trigger: str
    reason: str
    evidence: Mapping[str, Any]
    champion: int | None
    challenger: ModelVersion | None = None
    promoted: bool = False


def to_document(record: Any) -> Any:
    """A record as plain JSON types."""
    if hasattr(record, "to_document"):
        return record.to_document()
    if is_dataclass(record) and not isinstance(record, type):
        return asdict(record)
    if isinstance(record, list | tuple):
        return [to_document(item) for item in record]
    if isinstance(record, Mapping):
        return {str(key): to_document(value) for key, value in record.items()}
    return record


def to_json(record: Any) -> str:
    """A record as one line of JSON."""
    return json.dumps(to_document(record), sort_keys=True, default=str)
