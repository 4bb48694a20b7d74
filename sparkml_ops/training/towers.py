"""Which features are the query's and which the item's, checked before any job starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import Towers

if TYPE_CHECKING:
    from sparkml_ops.config.training import TrainingSection
    from sparkml_ops.training.warm import WarmStart

__all__ = ["divided", "refuse_unfit_start"]


def divided(features: Sequence[str], settings: TrainingSection) -> Towers | None:
    """The two sides of a `two_tower` model; None for every other one.

    Args:
        features: All features of the training set.
        settings: `training`.

    Raises:
        ContractError: A side lists a column that is no feature, has none at all, or a feature belongs to neither.
    """
    model = settings.model
    if model.kind != "two_tower":
        return None
    query = model.query if model.query is not None else tuple(name for name in features if name not in model.item)
    if strange := [name for name in (*model.item, *query) if name not in features]:
        raise ContractError(
            f"training.model.item or .query with {strange[:5]}",
            expected=f"some of the features {sorted(features)[:20]}",
            mend="correct them, or list the columns in training.numeric or .categorical",
        )
    if settings.label in query:
        raise ContractError(f"the item's column `{settings.label}` among the query's", expected="it in neither or the item's", mend="take it out")
    if idle := [name for name in features if name not in model.item and name not in query]:
        raise ContractError(f"features {idle[:5]} of neither query nor item", expected="one of the two", mend="put them under training.exclude")
    if not query:
        raise ContractError("no feature left for the query", expected="at least one", mend="take some out of training.model.item")
    return Towers(tuple(query), model.temperature, model.normalised)


def refuse_unfit_start(start: WarmStart | None, *, own: bool) -> None:
    """Refuse what the task retrieval has no meaning for yet.

    Raises:
        ContractError: It is to go on from a model, or an object makes its network.
    """
    if start is not None:
        raise ContractError(f"task retrieval from {start.origin} on", expected="a training from scratch", mend="leave warm_start out")
    if own:
        raise ContractError("task retrieval with a network of one's own", expected="training.model.kind=two_tower", mend="leave the model out")
