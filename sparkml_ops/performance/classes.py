"""How good probabilities of several classes are: counts that merge, and the figures of scikit-learn from them."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_ops.performance.decisions import confusion
from sparkml_ops.performance.measured import log_losses
from sparkml_ops.performance.scores import LIMIT, ScoreCounts

__all__ = ["PARTS", "ClassErrors", "LabelErrors"]

Scores = npt.NDArray[np.float64]
_FEWEST = 1 << 12
# Of a row that is of several classes, each in part.
PARTS = 1 << 20


def _limit(classes: int) -> int:
    """Distinct scores of a class, so that all classes together need no more memory than one alone."""
    return max(_FEWEST, 1 << ((LIMIT // classes).bit_length() - 1))


@dataclass(frozen=True)
class ClassErrors:
    """Probabilities of one class of several against the truth; parts merge.

    Args:
        matrix: [classes, classes] rows by true class and likeliest class.
        loss: Sum of the log losses, in nats.
        scores: Counts by score of each class against all others.
    """

    matrix: npt.NDArray[np.int64]
    loss: float
    scores: tuple[ScoreCounts, ...]

    @classmethod
    def of(cls, predicted: Scores, true: npt.NDArray[np.int64]) -> ClassErrors:
        """Measure rows.

        Args:
            predicted: [rows, classes] probabilities.
            true: [rows] positions of the true classes.
        """
        classes = predicted.shape[1]
        matrix = np.bincount(true * classes + predicted.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
        tiny = np.finfo(np.float64).eps
        loss = -float(np.log(np.clip(predicted[np.arange(len(true)), true], tiny, 1 - tiny)).sum())
        scores = (ScoreCounts.of(predicted[:, index], (true == index).astype(np.int64), limit=_limit(classes)) for index in range(classes))
        return cls(matrix, loss, tuple(scores))

    @classmethod
    def expected(cls, predicted: Scores, chance: Scores) -> ClassErrors:
        """What to expect of rows whose truth nobody knows: each counts as a share of every class, in parts of 2^-20 of a row.

        Shares do not change what `figures` are, and whole parts merge to the last bit.

        Args:
            predicted: [rows, classes] probabilities as the model gave them.
            chance: [rows, classes] calibrated ones, whose rows sum to 1.
        """
        classes, chosen = predicted.shape[1], predicted.argmax(axis=1)
        parts = np.rint(chance * PARTS).astype(np.int64)
        parts[np.arange(len(parts)), chance.argmax(axis=1)] += PARTS - parts.sum(axis=1)  # what rounding left: rows stay whole
        matrix = np.zeros((classes, classes), np.int64)
        np.add.at(matrix.T, chosen, parts)
        tiny = np.finfo(np.float64).eps
        loss = -float((parts * np.log(np.clip(predicted, tiny, 1 - tiny))).sum())
        scores = (
            ScoreCounts.weighted(predicted[:, index], PARTS - parts[:, index], parts[:, index], limit=_limit(classes)) for index in range(classes)
        )
        return cls(matrix, loss, tuple(scores))

    @classmethod
    def empty(cls, classes: int) -> ClassErrors:
        """No rows: what a merge starts from."""
        return cls(np.zeros((classes, classes), np.int64), 0.0, (ScoreCounts.empty(_limit(classes)),) * classes)

    def merge(self, other: ClassErrors) -> ClassErrors:
        """Both parts of the rows together."""
        return ClassErrors(self.matrix + other.matrix, self.loss + other.loss, _merged(self.scores, other.scores))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.matrix.sum())

    def figures(self) -> dict[str, float]:
        """Figures by name.

        `log_loss` in nats, `accuracy`, `macro_f1` (over classes that occur or were predicted), `macro_auc` (each class against the others; NaN
        where one does not occur) and `auc_error`, the most by which rounded scores can have moved it.
        """
        right, of_class = np.diag(self.matrix), self.matrix.sum(axis=0) + self.matrix.sum(axis=1)
        return {
            "log_loss": self.loss / self.rows,
            "accuracy": float(right.sum()) / self.rows,
            "macro_f1": float(np.mean(2 * right[of_class > 0] / of_class[of_class > 0])),
            **_areas(self.scores),
        }

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        return _packed([self.matrix.astype(np.int64).tobytes(), struct.pack("d", self.loss), *(counts.to_bytes() for counts in self.scores)])

    @classmethod
    def from_bytes(cls, data: bytes) -> ClassErrors:
        """Read what `to_bytes` wrote."""
        matrix, loss, *scores = _unpacked(data)
        counts = np.frombuffer(matrix, np.int64).reshape(len(scores), len(scores))
        return cls(counts, float(struct.unpack("d", loss)[0]), tuple(map(ScoreCounts.from_bytes, scores)))


@dataclass(frozen=True)
class LabelErrors:
    """Probabilities of several classes, any of which may apply, against the truth; parts merge.

    Args:
        rows: Number of rows.
        loss: Sum of the log losses over rows and classes, in nats.
        scores: Counts by score of each class.
    """

    rows: int
    loss: float
    scores: tuple[ScoreCounts, ...]

    @classmethod
    def of(cls, predicted: Scores, true: Scores) -> LabelErrors:
        """Measure rows.

        Args:
            predicted: [rows, classes] probabilities.
            true: [rows, classes] of 0 and 1.
        """
        whole, classes = true.astype(np.int64), predicted.shape[1]
        scores = (ScoreCounts.of(predicted[:, index], whole[:, index], limit=_limit(classes)) for index in range(classes))
        return cls(len(true), float(log_losses(predicted, whole).sum()), tuple(scores))

    def merge(self, other: LabelErrors) -> LabelErrors:
        """Both parts of the rows together."""
        return LabelErrors(self.rows + other.rows, self.loss + other.loss, _merged(self.scores, other.scores))

    def figures(self) -> dict[str, float]:
        """`log_loss` of a row and class in nats, `macro_f1` at 0.5, `accuracy` of a row and class, `macro_auc` and `auc_error` as of `ClassErrors`."""
        decided = [confusion(counts) for counts in self.scores]
        return {
            "log_loss": self.loss / (self.rows * len(self.scores)),
            "accuracy": float(np.mean([found.accuracy for found in decided])),
            "macro_f1": float(np.mean([found.f1 for found in decided])),
            **_areas(self.scores),
        }

    def to_bytes(self) -> bytes:
        """For the way between processes."""
        return _packed([struct.pack("qd", self.rows, self.loss), *(counts.to_bytes() for counts in self.scores)])

    @classmethod
    def from_bytes(cls, data: bytes) -> LabelErrors:
        """Read what `to_bytes` wrote."""
        sums, *scores = _unpacked(data)
        rows, loss = struct.unpack("qd", sums)
        return cls(rows, loss, tuple(map(ScoreCounts.from_bytes, scores)))


def _merged(mine: Sequence[ScoreCounts], others: Sequence[ScoreCounts]) -> tuple[ScoreCounts, ...]:
    return tuple(first.merge(second) for first, second in zip(mine, others, strict=True))


def _areas(scores: Sequence[ScoreCounts]) -> dict[str, float]:
    return {"macro_auc": float(np.mean([counts.auc for counts in scores])), "auc_error": float(np.mean([counts.auc_error for counts in scores]))}


def _packed(parts: Sequence[bytes]) -> bytes:
    """Each part after its length."""
    return b"".join(struct.pack("q", len(part)) + part for part in parts)


def _unpacked(data: bytes) -> list[bytes]:
    source, found = io.BytesIO(data), []
    while head := source.read(8):
        found.append(source.read(struct.unpack("q", head)[0]))
    return found
