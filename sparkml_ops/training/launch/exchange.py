"""What summing gradients needs of a backend: collectives that run while backward does.

Ranks start the same ones in the same order, with buffers of the same shape and type where nothing else is said. Each start returns at once;
what it returns waits for the end and gives the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

__all__ = ["Exchange"]


class Exchange(Protocol):
    """One rank's way to send buffers; a name belongs to one buffer for good, and marks it in messages and timelines."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    def sum(self, name: str, buffer: torch.Tensor) -> Callable[[], None]:
        """Sum a buffer over ranks, in place."""

    def swap(self, name: str, shares: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Send row r to rank r; gives the [size, bytes] rows that were meant for this rank, by sender.

        Args:
            shares: [size, bytes] uint8.
        """

    def gather(self, name: str, share: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Send to all; gives the [size, bytes] shares by rank.

        Args:
            share: [bytes] uint8.
        """

    def gather_rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, one rank after the other; waits.

        Args:
            rows: [any number, as many more dimensions as wanted, equal on all ranks].
        """
