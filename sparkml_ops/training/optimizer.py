"""AdamW as torch has it, without torch's compiler.

The methods of torch's optimisers are wrapped for `torch.compile`, and the wrappers import the whole compiler when they are first called: five
seconds of CPU time in each rank, and memory, for a model that nobody compiles. What they wrap is the same code.
"""

from __future__ import annotations

import inspect

import torch

__all__ = ["AdamW"]


class AdamW(torch.optim.AdamW):
    """torch's AdamW; `step`, state and hooks are its own.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = AdamW([weight], lr=0.5, weight_decay=0.0)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> round(weight.item(), 3)
    0.5
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    # The wrapper that is left out switches gradients off, too.
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
