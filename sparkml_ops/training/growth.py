"""A vocabulary that grows while a model lives: values that are frequent now and were not known when it was first trained.

They get the next positions, so that known values keep theirs, and begin with the weights that stood for them until now: those of unknown
values, or of rare ones where these have a bucket. So the model predicts at first as it did, but for crosses of rare values, whose bucket moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sparkml_ops.model.spec import CategoricalInput, ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["grow", "grown_moments", "grown_weights"]

# Weights with a row for each position of a category: of which list of layers they are.
_ROWS = ("embeddings.", "wide.categories.")


def grow(spec: ModelSpec, frequent: Mapping[str, Sequence[str]], most: int) -> ModelSpec:
    """The description with more values.

    Args:
        spec: The model's; a team's own network stays as it is, since it was made for so many positions.
        frequent: Category to its frequent values, the most frequent first.
        most: Values of a category in all.

    >>> spec = ModelSpec("linear", (), (CategoricalInput("c", "string", ("a", "b")),))
    >>> grow(spec, {"c": ["z", "a", "y"]}, 3).categorical[0].vocabulary
    ('a', 'b', 'z')
    """
    if spec.kind == "module":
        return spec
    return replace(spec, categorical=tuple(_more(column, frequent.get(column.name, ()), most) for column in spec.categorical))


def grown_weights(before: ModelSpec, after: ModelSpec, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A model's weights for the description with more values."""
    added = _added(before, after)
    return {name: value if name not in added else _inserted(value, *added[name], copied=True) for name, value in weights.items()}


def grown_moments(before: ModelSpec, after: ModelSpec, moments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An optimiser's state, as `load_moments` takes it, for the description with more values: of these it has seen nothing."""
    from sparkml_ops.model.network import Network

    added = _added(before, after)
    names = [name for name, _ in Network(before).named_parameters()] if added else []

    def fitting(key: str, value: torch.Tensor) -> torch.Tensor:
        name = names[int(key.split(".", maxsplit=1)[0])] if names else ""
        return value if name not in added or not value.dim() else _inserted(value, *added[name], copied=False)

    return {key: fitting(key, value) for key, value in moments.items()}


def _more(column: CategoricalInput, frequent: Sequence[str], most: int) -> CategoricalInput:
    if column.buckets:
        return column
    new = [value for value in frequent if value not in set(column.vocabulary)][: max(0, most - len(column.vocabulary))]
    return replace(column, vocabulary=(*column.vocabulary, *new))


def _added(before: ModelSpec, after: ModelSpec) -> dict[str, tuple[int, int, int]]:
    """Name of each weight that grows: rows that come, how many known values stand before them, and how many rare buckets behind."""
    found = {}
    for index, (old, new) in enumerate(zip(before.categorical, after.categorical, strict=True)):
        if count := new.size - old.size:
            found.update({f"{layers}{index}.weight": (count, len(old.vocabulary), int(old.rare)) for layers in _ROWS})
    return found


def _inserted(rows: torch.Tensor, count: int, known: int, rare: int, *, copied: bool) -> torch.Tensor:
    import torch

    like = rows[-1:] if rare else rows[:1]
    new = like.expand(count, *rows.shape[1:]) if copied else torch.zeros_like(like).expand(count, *rows.shape[1:])
    return torch.cat([rows[: 1 + known], new, rows[1 + known :]])
