"""A team's own network: made from a description of the features, by an object of a notebook or an entry point of an installed wheel.

torch is imported where a module is made: who only reads a description needs none.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["DRAWING", "GROUP", "FeatureDescription", "MakeModule", "build_module", "check_module", "draws", "find", "seeded", "source_of"]

#: Entry points of this group make modules.
GROUP = "sparkml_ops.models"
_ROWS = 3
#: Held by who draws from torch's random numbers or sets them: the trainings of a process, in threads, share them.
DRAWING = threading.Lock()


@dataclass(frozen=True)
class FeatureDescription:
    """What a team's network reads and gives.

    Args:
        numeric: Width of the numeric input: standardised values, then a 1 or 0 for each column that may be missing.
        cardinalities: Number of positions of each category; position 0 stands for null and for values that training did not keep.
        names: The columns of the features: those of single numbers in order, then the categories, then arrays of numbers.
        task: `binary`, `regression`, `count`, `quantile`, `multiclass` or `multilabel`.
        outputs: Outputs for each row: 1, or as many as there are classes or quantiles. They are logits, standardised values, or for counts
            logarithms of the factor on the mean.

    >>> from sparkml_ops.model.spec import CategoricalInput, NumericInput
    >>> spec = ModelSpec("linear", (NumericInput("x", "double", 0.0, 0.0, 1.0, indicator=True),), (CategoricalInput("c", "string", ("a",)),))
    >>> FeatureDescription.of(spec)
    FeatureDescription(numeric=2, cardinalities=(2,), names=('x', 'c'), task='binary', outputs=1)
    """

    numeric: int
    cardinalities: tuple[int, ...]
    names: tuple[str, ...]
    task: str
    outputs: int

    @classmethod
    def of(cls, spec: ModelSpec) -> FeatureDescription:
        """The features and the task of a model."""
        sizes = tuple(column.size for column in spec.categorical)
        return cls(spec.numeric_width, sizes, tuple(name for name, _ in spec.inputs), spec.target.task, spec.target.width)


MakeModule = Callable[[FeatureDescription], "nn.Module"]


def find(name: str) -> MakeModule:
    """The entry point of a name; only what is installed can be named, never a place to import from.

    Raises:
        ContractError: No installed package has one, or several have.
    """
    found = entry_points(group=GROUP)
    named = [point for point in found if point.name == name]
    if len(named) != 1:
        raise ContractError(
            f"{len(named)} entry points `{name}` in the group {GROUP}",
            expected=f"one; installed are {sorted({point.name for point in found}) or 'none'}",
            mend="install the wheel that has the model, on the executors too",
        )
    make: MakeModule = named[0].load()
    return make


def build_module(spec: ModelSpec, seed: int, dtype: torch.dtype, make: MakeModule | None = None) -> nn.Module:
    """A team's module with its first weights, which depend on the seed and the description only.

    Args:
        spec: Of kind `module`.
        seed: Of torch's random numbers while it is made.
        dtype: Of its weights.
        make: The object that makes it; None: the entry point that the description names.

    Raises:
        ContractError: There is no such entry point; or the description names none and no object is given.
    """
    if make is None:
        if spec.module is None:
            raise ContractError(
                "a model that an object of a notebook made", expected="that object", mend=f"put it into a wheel with an entry point in {GROUP}"
            )
        make = find(spec.module)
    with seeded(seed):
        return make(FeatureDescription.of(spec)).to(dtype)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch from a seed; afterwards they are as before. One at a time: trainings in threads share them."""
    import torch

    with DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_module(spec: ModelSpec, module: nn.Module) -> None:
    """Refuse a module that cannot be trained as every other model is.

    Raises:
        ContractError: It has no weights or idle ones, mixes the rows of a batch, or its outputs are not [rows, outputs].
    """
    import torch

    if not any(weight.requires_grad for weight in module.parameters()):
        raise ContractError("a module without weights", expected="parameters to train", mend="register its layers as attributes")
    if mixing := sorted({type(layer).__name__ for layer in module.modules() if isinstance(layer, torch.nn.modules.batchnorm._NormBase)}):
        raise ContractError(
            f"layers {mixing}, which mix the rows of a batch", expected="a model whose outputs depend on the row alone", mend="use LayerNorm"
        )
    dtype = next(module.parameters()).dtype
    numeric, categories = torch.zeros(_ROWS, spec.numeric_width, dtype=dtype), torch.zeros(_ROWS, len(spec.categorical), dtype=torch.int32)
    outputs = module.eval()(numeric, categories)
    module.train()
    if tuple(outputs.shape) != (_ROWS, spec.target.width):
        raise ContractError(
            f"outputs of shape {list(outputs.shape)} for {_ROWS} rows", expected=f"[{_ROWS}, {spec.target.width}]", mend="return [rows, outputs]"
        )
    outputs.sum().backward()
    if idle := [name for name, weight in module.named_parameters() if weight.requires_grad and weight.grad is None]:
        raise ContractError(f"weights {idle[:5]} that no output depends on", expected="a use of each", mend="take them out, or freeze them")
    module.zero_grad()


def draws(module: nn.Module) -> bool:
    """Whether a module leaves units out in training."""
    import torch

    return any(isinstance(layer, torch.nn.modules.dropout._DropoutNd) and layer.p > 0 for layer in module.modules())


def source_of(make: MakeModule) -> str:
    """What an object says it does, to see that a run goes on with the one that it was begun with."""
    named: Any = make
    try:
        return inspect.getsource(make)
    except (OSError, TypeError):  # typed at a prompt
        return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"
