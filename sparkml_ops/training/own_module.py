"""A team's own network in the loop: what it leaves out in training is drawn for each shard apart, as our own networks' is."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import nn

from sparkml_ops.errors import ContractError
from sparkml_ops.model.module import MakeModule, build_module, check_module, draws, seeded
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.training.loader import Batch

__all__ = ["forward", "network", "refuse_unfit", "shard_seeds"]


def network(spec: ModelSpec, seed: int, dtype: torch.dtype, make: MakeModule | None) -> nn.Module:
    """The network of a description with its first weights: ours, or a team's own.

    Args:
        make: The object that makes a team's own; None: the entry point that the description names.
    """
    return build(spec, seed, dtype) if spec.kind != "module" else build_module(spec, seed, dtype, make)


def refuse_unfit(spec: ModelSpec, seed: int, make: MakeModule | None, *, parts: int) -> None:
    """Make a team's network once, before any worker starts, and refuse one that would end in a wrong model.

    Args:
        parts: In how many parts a batch is computed.

    Raises:
        ContractError: `check_module` says what; or it leaves units out and a batch is computed in parts, which no shard has to itself.
    """
    module = build_module(spec, seed, torch.float32, make)
    check_module(spec, module)
    if parts > 1 and draws(module):
        raise ContractError(
            f"a module with dropout and training.accumulate={parts}",
            expected="one of the two",
            mend="set training.accumulate=1, or take a smaller batch",
        )


def shard_seeds(module: nn.Module, batch: Batch, seed: int, epoch: int) -> tuple[torch.Tensor, ...]:
    """A seed for each row's shard: ([rows],); nothing where the module leaves nothing out."""
    if not draws(module):
        return ()
    seeds = [int(np.random.default_rng((seed, epoch, batch.step, shard, 1)).integers(2**63)) for shard, _ in batch.shards]
    return (torch.from_numpy(np.repeat(np.array(seeds, np.int64), [rows for _, rows in batch.shards])),)


def forward(spec: ModelSpec, model: nn.Module, batch: Batch, masks: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Outputs of a batch.

    Args:
        spec: The model's description.
        model: What `network` made.
        batch: Rows.
        masks: Of our own networks the factors of each hidden layer; of a team's own what `shard_seeds` gave.
    """
    outputs: torch.Tensor
    if spec.kind != "module":
        outputs = model(batch.numeric, batch.categories, masks)
        return outputs
    if not masks or not batch.shards:
        # Without rows still a gradient, of zeros, for every weight: the other workers wait for it.
        outputs = model(batch.numeric, batch.categories)
        return outputs
    ends = [0, *accumulate(rows for _, rows in batch.shards)]
    parts = []
    for start, stop in pairwise(ends):
        # A shard's rows meet the same random numbers on whichever worker they are.
        with seeded(int(masks[0][start])):
            parts.append(model(batch.numeric[start:stop], batch.categories[start:stop]))
    return torch.cat(parts)
