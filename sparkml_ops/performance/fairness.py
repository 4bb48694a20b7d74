"""Whether decisions fall on groups of rows alike: fairlearn's figures, from four counts a group."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from sparkml_ops.errors import ContractError
from sparkml_ops.performance.decisions import Confusion

__all__ = ["disparities", "need_fairlearn"]


def need_fairlearn() -> None:
    """Refuse before any work where the package is missing.

    Raises:
        ContractError: It is not installed.
    """
    if find_spec("fairlearn") is None:
        raise ContractError("no package fairlearn", expected="it for a gate of kind fairness", mend="install sparkml-ops[fairness]")


def disparities(groups: Mapping[str, Confusion]) -> dict[str, float]:
    """Largest differences between groups: `demographic_parity`, `equal_opportunity`, `equalised_odds`, each from 0 (alike) to 1.

    Demographic parity is about the share that is decided for 1, equal opportunity about that share among rows of label 1 (Hardt et al. 2016,
    "Equality of opportunity in supervised learning"), equalised odds about either label. fairlearn takes weights, so that four rows a group,
    weighted by the counts, stand for all rows of the data.

    Args:
        groups: Value of the sensitive column to the decisions there; at least two, each with rows of both labels.

    Raises:
        ContractError: fairlearn is not installed.

    >>> disparities({"a": Confusion(60, 20, 10, 10), "b": Confusion(40, 40, 5, 15)})["equal_opportunity"]
    0.25
    """
    need_fairlearn()
    from fairlearn.metrics import demographic_parity_difference, equal_opportunity_difference, equalized_odds_difference

    cells = [
        (label, decision, name, count)
        for name, found in groups.items()
        for label, decision, count in (
            (0, 0, found.true_negatives),
            (0, 1, found.false_positives),
            (1, 0, found.false_negatives),
            (1, 1, found.true_positives),
        )
    ]
    true, decided, sensitive, weights = (list(column) for column in zip(*cells, strict=True))
    measures = {
        "demographic_parity": demographic_parity_difference,
        "equal_opportunity": equal_opportunity_difference,
        "equalised_odds": equalized_odds_difference,
    }
    return {name: float(measure(true, decided, sensitive_features=sensitive, sample_weight=weights)) for name, measure in measures.items()}
