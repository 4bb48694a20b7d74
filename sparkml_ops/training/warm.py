"""A training that goes on from a registered model: its weights and its preprocessing, on other rows.

torch is imported where weights are read: executors that count rows import this module too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from feature_store.records import TrainingSet
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import DEEP, Cross, ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["WarmStart", "continued"]


@dataclass(frozen=True)
class WarmStart:
    """The model that a training goes on from.

    Args:
        origin: `<name> version <number>`, for messages and the run's parameters.
        digest: Of its registered artifact.
        spec: Its description: preprocessing and layers.
        weights: By name.
        moments: Storage name of the optimiser's state after its last step, to go on with; None: the optimiser begins anew.
        training_set: What it was trained on, to tell what is forgotten of it; None: it is not there any more.
    """

    origin: str
    digest: str
    spec: ModelSpec
    weights: Mapping[str, torch.Tensor]
    moments: str | None = None
    training_set: TrainingSet | None = None

    @classmethod
    def read(cls, origin: str, digest: str, folder: Path, moments: str | None = None, training_set: TrainingSet | None = None) -> WarmStart:
        """Read a fetched artifact.

        Raises:
            ContractError: Its files are not those of the digest, or no model.
        """
        import safetensors.torch

        if (found := artifact.digest(folder)) != digest:
            raise ContractError(f"files of {origin} with digest {found}", expected=digest, mend="do not use it; register the model again")
        return cls(origin, digest, artifact.load(folder).spec, safetensors.torch.load_file(folder / artifact.WEIGHTS), moments, training_set)


def continued(start: WarmStart, numeric: Mapping[str, str], categorical: Mapping[str, str], settings: TrainingSection) -> ModelSpec:
    """The description to go on with: the model's own, with the dropout of the settings.

    Args:
        numeric: Name to type of the training set's numeric features.
        categorical: Name to type of its categorical features.

    Raises:
        ContractError: The training set has other features, or the settings describe another network.
    """
    spec, model = start.spec, settings.model
    wanted = {
        **{column.name: ("numeric", column.type) for column in spec.numeric},
        **{column.name: ("numeric", column.type) for column in spec.arrays},
        **{column.name: ("category", column.type) for column in spec.categorical},
    }
    found = {**{name: ("numeric", kind) for name, kind in numeric.items()}, **{name: ("category", kind) for name, kind in categorical.items()}}
    changed = [
        f"`{name}` {_told(found.get(name))} (was {_told(wanted.get(name))})"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if changed:
        raise ContractError(
            f"features that {start.origin} was not trained on: {', '.join(changed[:5])}{', …' if len(changed) > 5 else ''}",
            expected=f"its {len(wanted)} inputs",
            mend="train from scratch, without warm_start",
        )
    hidden = tuple(model.hidden) if model.kind in DEEP else ()
    crosses = tuple(Cross(*cross.columns, cross.buckets) for cross in model.crosses)
    if (model.kind, hidden, model.module, crosses) != (spec.kind, spec.hidden, spec.module, spec.crosses):
        raise ContractError(
            f"training.model of kind {model.kind} with {model.module or f'hidden {list(hidden)}'}",
            expected=f"kind {spec.kind} with {spec.module or f'hidden {list(spec.hidden)}'}, as {start.origin} has",
            mend="change training.model back, or train from scratch",
        )
    if (settings.task, settings.quantiles if settings.task == "quantile" else ()) != (spec.target.task, spec.target.quantiles):
        raise ContractError(
            f"training.task {settings.task}{f' of levels {list(settings.quantiles)}' if settings.task == 'quantile' else ''}",
            expected=f"{spec.target.task}{f' of levels {list(spec.target.quantiles)}' if spec.target.quantiles else ''}, as {start.origin} has",
            mend="change it back, or train from scratch",
        )
    widths = {column.dimension for column in spec.categorical}
    if model.kind in DEEP and model.embedding is not None and widths - {model.embedding}:
        raise ContractError(
            f"training.model.embedding {model.embedding}",
            expected=f"{sorted(widths)}, as {start.origin} has",
            mend="take it out, or train from scratch",
        )
    return replace(spec, dropout=model.dropout if spec.kind in DEEP else 0.0)


def _told(role: tuple[str, str] | None) -> str:
    return "absent" if role is None else " ".join(role)
