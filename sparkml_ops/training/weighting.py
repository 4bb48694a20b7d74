"""How much a row counts in training: the set's `sample_weight` times the weight of its class.

Weights are scaled to a mean of 1 over the train split, once for the whole run. So the learning rate means what it means without them, and a
batch needs no further collective to know the weight of the others' rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_ops.errors import ContractError

__all__ = ["RowWeights", "row_weights"]


@dataclass(frozen=True)
class RowWeights:
    """Weights of the rows of the train split.

    Args:
        column: Whether rows have a weight of their own, in `sample_weight`.
        by_label: What that is multiplied by for label 0, for label 1 and so on; one number: for any label.
    """

    column: bool
    by_label: tuple[float, ...]

    def of(self, label: npt.NDArray[np.float64], own: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        """Weights of some rows.

        Args:
            label: [rows] the position of its class; any number where all count the same.
            own: [rows] `sample_weight`; None where there is none.

        >>> RowWeights(True, (0.5, 2.0)).of(np.array([0.0, 1.0]), np.array([1.0, 3.0])).tolist()
        [0.5, 6.0]
        """
        several = len(self.by_label) > 1
        factors = np.asarray(self.by_label)[label.astype(np.int64)] if several else np.full(len(label), self.by_label[0])
        return factors if own is None else factors * own


def row_weights(class_weights: str | tuple[float, float] | None, rows: tuple[int, ...], means: tuple[float, ...] | None = None) -> RowWeights | None:
    """The weights of a run; None where all rows count the same.

    Args:
        class_weights: `balanced` (n / (k n_c), as scikit-learn has it, of the summed weights), one for each label, or None.
        rows: Rows of each of the k classes in the train split; of a label that is no class, one number.
        means: Mean `sample_weight` of these rows; None without such a column.

    Raises:
        ContractError: All weights of a label are 0, so that nothing is learned of it.

    >>> row_weights("balanced", (30, 10))
    RowWeights(column=False, by_label=(0.6666666666666666, 2.0))
    """
    if class_weights is None and means is None:
        return None
    own = means or (1.0,) * len(rows)
    if min(own) <= 0:
        which = f" for label {own.index(min(own))}" if len(rows) > 1 else ""
        raise ContractError(
            f"only weights of 0 in `sample_weight`{which} of the train split",
            expected="rows of each label that count",
            mend="correct the weight of the training set's spine",
        )
    sums = [count * mean for count, mean in zip(rows, own, strict=True)]
    if class_weights == "balanced":
        factors = [sum(sums) / (len(sums) * each) for each in sums]
    else:
        factors = [1.0] * len(rows) if class_weights is None else [float(each) for each in class_weights]
    scale = sum(rows) / sum(factor * each for factor, each in zip(factors, sums, strict=True))
    return RowWeights(means is not None, tuple(factor * scale for factor in factors))
