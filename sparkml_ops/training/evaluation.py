"""How good a model is on the evaluation split, beside its baselines.

A binary model meets a logistic regression in a contest, and the base rate; one of another task the best constant, and where there is one
a linear regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyspark.sql import DataFrame

from sparkml_ops.errors import ContractError
from sparkml_ops.performance.assessment import Assessment, assess
from sparkml_ops.performance.bootstrap import Interval
from sparkml_ops.performance.contest import Contest, hold
from sparkml_ops.performance.decisions import Bin, Confusion, average_precision, calibration_error, confusion, reliability
from sparkml_ops.performance.measured import Measured

__all__ = ["CONSTANT", "LINEAR", "LOGISTIC", "MAIN", "MODEL", "Evaluation", "evaluate", "evaluate_task"]

MODEL, LOGISTIC, LINEAR, CONSTANT = "model", "logistic", "linear", "constant"
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
    """

    model: Measured
    logistic: Measured
    auc_gain: Interval
    loss_gain: Interval

    @property
    def confusion(self) -> Confusion:
        """What the model's scores come to, acted on at 0.5."""
        return confusion(self.model.counts)

    def reliability(self) -> dict[str, tuple[Bin, ...]]:
        """What the scores of both mean."""
        return {name: reliability(found.counts, BINS) for name, found in ((MODEL, self.model), (LOGISTIC, self.logistic))}

    def metrics(self, rate: float) -> dict[str, float]:
        """Flat names to values; an area that does not exist (one label only) has no entry.

        Args:
            rate: The constant prediction to compare with.
        """
        model, logistic, decided = self.model, self.logistic, self.confusion
        base = -model.rate * math.log(rate) - (1 - model.rate) * math.log(1 - rate)
        found = {
            "evaluation_rows": model.rows,
            "evaluation_rate": model.rate,
            "evaluation_auc": model.counts.auc,
            "evaluation_auc_error": model.counts.auc_error,
            "evaluation_log_loss": model.loss / model.rows,
            "evaluation_brier": model.squared / model.rows,
            "evaluation_average_precision": average_precision(model.counts),
            "evaluation_calibration_error": calibration_error(model.counts, BINS),
            "evaluation_accuracy": decided.accuracy,
            "evaluation_f1": decided.f1,
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
    return Evaluation(standing.measured[MODEL], standing.measured[LOGISTIC], standing.auc_gain, standing.loss_gain)


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
