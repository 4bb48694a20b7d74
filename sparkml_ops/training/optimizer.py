"""The optimisers as torch has them, without torch's compiler.

The methods of torch's optimisers are wrapped for `torch.compile`, and the wrappers import the whole compiler when they are first called: five
seconds of CPU time in each rank, and memory, for a model that nobody compiles. What they wrap is the same code.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import nn

from sparkml_ops.config.optimizer import OptimizerSection

__all__ = ["SGD", "AdamW", "build_optimizer"]


class _Uncompiled(torch.optim.Optimizer):
    """What all of torch's optimisers share, unwrapped."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class AdamW(_Uncompiled, torch.optim.AdamW):
    """torch's AdamW; `step`, state and hooks are its own.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = AdamW([weight], lr=0.5, weight_decay=0.0)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> round(weight.item(), 3)
    0.5
    """

    # The wrapper that is left out switches gradients off, too.
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SGD(_Uncompiled, torch.optim.SGD):
    """torch's SGD; `step`, state and hooks are its own.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = SGD([weight], lr=0.5)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> weight.item()
    0.5
    """

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def build_optimizer(settings: OptimizerSection, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that the configuration names."""
    if settings.kind == "sgd":
        momentum = settings.momentum
        return SGD(parameters, lr=settings.lr, momentum=momentum, nesterov=momentum > 0, weight_decay=settings.weight_decay)
    return AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
