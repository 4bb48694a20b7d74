"""How good a model is on the evaluation split, beside its baselines.

A binary model meets a logistic regression in a contest, and the base rate; a retrieval the most frequent items; a model of another task the
best constant, and where there is one a linear regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame

from sparkml_ops.errors import ContractError
from sparkml_ops.performance.assessment import Assessment, assess
from sparkml_ops.performance.bootstrap import Interval
from sparkml_ops.performance.contest import Contest, hold
from sparkml_ops.performance.decisions import Bin, Confusion, average_precision, calibration_error, confusion, reliability
from sparkml_ops.performance.measured import Measured
from sparkml_ops.performance.ranking_pass import Placed, RankingPass, rank

__all__ = ["CONSTANT", "LINEAR", "LOGISTIC", "MAIN", "MODEL", "POPULAR", "Evaluation", "evaluate", "evaluate_retrieval", "evaluate_task"]

MODEL, LOGISTIC, LINEAR, CONSTANT, POPULAR = "model", "logistic", "linear", "constant", "popular"
#: The figure of a task by which a model is compared with its baselines: the smaller the better.
MAIN = {"regression": "rmse", "count": "poisson_deviance", "quantile": "pinball", "multiclass": "log_loss", "multilabel": "log_loss"}
#: Of the calibration error and its picture.
BINS = 10


@dataclass(frozen=True)
class Evaluation:
    """What the pass found.

    Args:
        model: Scores of the model.
        logistic: Scores of the logistic regression.
        auc_gain: Interval of the model's AUC minus the logistic regression's.
        loss_gain: Interval of the logistic regression's log loss minus the model's.
        slices: `column=value` to the model's scores there.
    """

    model: Measured
    logistic: Measured
    auc_gain: Interval
    loss_gain: Interval
    slices: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def confusion(self) -> Confusion:
        """What the model's scores come to, acted on at 0.5."""
        return confusion(self.model.counts)

    def reliability(self) -> dict[str, tuple[Bin, ...]]:
        """What the scores of both mean."""
        return {name: reliability(found.counts, BINS) for name, found in ((MODEL, self.model), (LOGISTIC, self.logistic))}

    def by_slice(self) -> list[dict[str, Any]]:
        """The model's figures of each slice, the highest log loss first."""
        found = [{"slice": name, **_figures(measured)} for name, measured in self.slices.items()]
        return sorted(found, key=lambda cut: (-cut["log_loss"], cut["slice"]))

    def metrics(self, rate: float) -> dict[str, float]:
        """Flat names to values; an area that does not exist (one label only) has no entry.

        Args:
            rate: The constant prediction to compare with.
        """
        model, logistic = self.model, self.logistic
        base = -model.rate * math.log(rate) - (1 - model.rate) * math.log(1 - rate)
        found = {
            **{f"evaluation_{name}": value for name, value in _figures(model).items()},
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
    """Measure the model and the logistic regression on the labelled rows of a frame.

    Args:
        frame: Rows with the inputs, the label and `row_position`.
        contest: Of `MODEL` and `LOGISTIC`, in this order.

    Raises:
        ContractError: There is no labelled row, or one that has no prediction.
    """
    standing = hold(frame, contest)
    if standing.unscored:
        raise ContractError(f"{standing.unscored} evaluation rows without a prediction", expected="finite features", mend="make infinite values null")
    if standing.auc_gain is None or standing.loss_gain is None:
        raise ContractError(f"a contest of {contest.names}", expected=f"{MODEL} and {LOGISTIC}", mend="name both")
    slices = {name: cut[MODEL] for name, cut in standing.slices.items()}
    return Evaluation(standing.measured[MODEL], standing.measured[LOGISTIC], standing.auc_gain, standing.loss_gain, slices)


def _figures(found: Measured) -> dict[str, float]:
    """Of one model on some rows; an area that does not exist (one label only) is left out."""
    decided = confusion(found.counts)
    figures = {
        "rows": found.rows,
        "rate": found.rate,
        "auc": found.counts.auc,
        "auc_error": found.counts.auc_error,
        "log_loss": found.loss / found.rows,
        "brier": found.squared / found.rows,
        "average_precision": average_precision(found.counts),
        "calibration_error": calibration_error(found.counts, BINS),
        "accuracy": decided.accuracy,
        "f1": decided.f1,
    }
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def evaluate_task(frame: DataFrame, assessment: Assessment) -> dict[str, float]:
    """Measure a model that is not binary on the labelled rows of a frame.

    Args:
        frame: Rows with the inputs and the label.
        assessment: Of `MODEL`, perhaps `LINEAR`, and the constant `CONSTANT`.

    Returns:
        `evaluation_<figure>` of the model, `baseline_<name>_<figure>` of each other, and `<main figure>_gain_<name>`: how much smaller the model's
        is. A figure that does not exist has no entry.

    Raises:
        ContractError: There is no labelled row, or one that has no prediction.
    """
    found, main = assess(frame, assessment), MAIN[assessment.target.task]
    metrics = {f"evaluation_{name}": value for name, value in found[MODEL].items()}
    for baseline in (name for name in found if name != MODEL):
        metrics |= {f"baseline_{baseline}_{name}": value for name, value in found[baseline].items() if name not in ("rows", "auc_error")}
        metrics[f"{main}_gain_{baseline}"] = found[baseline][main] - found[MODEL][main]
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def evaluate_retrieval(frame: DataFrame, ranking: RankingPass) -> dict[str, Any]:
    """Measure a retrieval model on the rows of a frame, each of whose items is ranked among the whole catalogue.

    Args:
        frame: Rows with the query's inputs and the item.
        ranking: The model, and what is its catalogue.

    Returns:
        `metrics`: `evaluation_<figure>` (rows, log_loss over the catalogue, recall and ndcg at several cutoffs, mrr_at_100),
        `baseline_popular_<figure>` of recommending the items that are most frequent in the train split to everybody, and `<figure>_gain_popular`:
        how much larger the model's is. `slices`: the model's figures of each slice, the highest log loss first.

    Raises:
        ContractError: There is no row, or one that has no prediction.
    """
    found, items = rank(frame, ranking), len(ranking.target.items)
    mine, popular = _placement(found.model, items), found.popular.figures(items)
    slices = [{"slice": name, **_placement(placed, items)} for name, placed in found.slices.items()]
    metrics = {
        **{f"evaluation_{name}": value for name, value in mine.items()},
        **{f"baseline_{POPULAR}_{name}": value for name, value in popular.items()},
        **{f"{name}_gain_{POPULAR}": mine[name] - value for name, value in popular.items()},
    }
    return {"metrics": metrics, "slices": sorted(slices, key=lambda cut: (-float(cut["log_loss"]), cut["slice"]))}


def _placement(placed: Placed, items: int) -> dict[str, float]:
    counts = placed.counts
    return {"rows": float(counts.rows), "log_loss": placed.loss / counts.rows, **counts.figures(items)}
