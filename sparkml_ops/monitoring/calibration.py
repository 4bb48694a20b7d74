"""What a model's scores mean: the rate of label 1 at each score, from rows that it was not trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from sparkml_ops.errors import ContractError
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import ModelVersion
from sparkml_ops.storage import Storage

__all__ = ["Calibration", "calibration_name", "calibration_of"]

_FORMAT = 1


@dataclass(frozen=True)
class Calibration:
    """A rising map from scores to probabilities, straight between its points.

    Args:
        digest: Of the model's files.
        rows: Evaluation rows that it was fitted on.
        scores: Points, rising.
        probabilities: Rate of label 1 at each.
    """

    digest: str
    rows: int
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    @classmethod
    def fit(cls, labelled: ScoreCounts, digest: str) -> Calibration:
        """Isotonic regression of the labels on the scores (Zadrozny & Elkan 2002), by scikit-learn.

        Args:
            labelled: Evaluation rows by score and label; at least one.
            digest: Of the model's files.

        >>> counts = ScoreCounts.of(np.array([0.1, 0.1, 0.6, 0.9]), np.array([0, 1, 1, 1]))
        >>> Calibration.fit(counts, "").probability(np.array([0.0, 0.1, 0.35, 0.7])).tolist()
        [0.5, 0.5, 0.75, 1.0]
        """
        from sklearn.isotonic import IsotonicRegression  # seconds that no finished run waits for

        rows = labelled.negatives + labelled.positives
        fitted = IsotonicRegression(out_of_bounds="clip").fit(labelled.scores, labelled.positives / rows, sample_weight=rows)
        return cls(digest, int(rows.sum()), tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))

    def probability(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The calibrated probability of label 1 at each score; outside the points that of the nearest."""
        return np.interp(scores, self.scores, self.probabilities)

    def to_json(self) -> bytes:
        """The stored form."""
        return json.dumps({"format": _FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            ContractError: It is of a newer format.
        """
        document = json.loads(data)
        if document.pop("format") != _FORMAT:
            raise ContractError("a calibration of another format", expected=f"format {_FORMAT}", mend="upgrade sparkml-ops")
        return cls(document["digest"], document["rows"], tuple(document["scores"]), tuple(document["probabilities"]))


def calibration_name(model: ModelVersion) -> str:
    """The object that holds a version's calibration."""
    return f"monitoring/{model.name}/{model.version}/calibration.json"


def calibration_of(storage: Storage, model: ModelVersion, counts: Callable[[], ScoreCounts]) -> Calibration | None:
    """A version's calibration, fitted once and kept; None where there is no row to fit it on.

    Args:
        storage: Keeps it.
        model: The version; another model under the same number is fitted anew.
        counts: Its labelled evaluation rows by score, asked for only where they are needed.
    """
    name = calibration_name(model)
    if storage.exists(name) and (kept := Calibration.from_json(storage.read(name))).digest == model.digest:
        return kept
    labelled = counts()
    if not len(labelled.scores):
        return None
    fitted = Calibration.fit(labelled, model.digest)
    storage.publish(name, fitted.to_json(), kind="calibration")
    return fitted
