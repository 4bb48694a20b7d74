"""The collectives of gradients among ranks that are threads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from training_rows import ThreadGroup

__all__ = ["ThreadExchange"]


class ThreadExchange:
    """One rank of a `ThreadGroup`; what ranks bring must have the same name, so that an order that differs between them is seen."""

    def __init__(self, group: ThreadGroup, rank: int) -> None:
        self.size, self._group, self._rank = group.size, group, rank

    def sum(self, name: str, buffer: torch.Tensor) -> Callable[[], None]:
        def wait() -> None:
            buffer.copy_(torch.stack(self._brought(name, buffer)).sum(0))

        return wait

    def swap(self, name: str, shares: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: torch.stack([brought[self._rank] for brought in self._brought(name, shares)])

    def gather(self, name: str, share: torch.Tensor) -> Callable[[], torch.Tensor]:
        return lambda: torch.stack(self._brought(name, share))

    def gather_rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(self._brought(name, rows))

    def _brought(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
        brought = self._group.exchange(self._rank, (name, tensor.clone()))
        assert {other for other, _ in brought} == {name}
        return [theirs for _, theirs in brought]
