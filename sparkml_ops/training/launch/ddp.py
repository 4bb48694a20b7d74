"""The communicator on torch.distributed (Gloo on CPUs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.optim import Optimizer

from sparkml_ops.errors import ContractError
from sparkml_ops.training.launch.errors import PeerLost
from sparkml_ops.training.launch.gradients import GradientSum

__all__ = ["DdpCommunicator"]


class DdpCommunicator:
    """A group that meets at rank 0's store.

    Args:
        host: Address of rank 0.
        port: Port of rank 0's store.
        listener: File descriptor of the socket that rank 0 already listens on; -1 elsewhere.
        timeout: Seconds that a collective may take.
    """

    def __init__(self, *, rank: int, size: int, host: str, port: int, listener: int = -1, timeout: float = 1800.0) -> None:
        self.rank, self.size = rank, size
        limit = timedelta(seconds=timeout)
        with _peers():
            # A socket bound beforehand: the store itself would listen on every interface, and its port could be taken in between.
            store = distributed.TCPStore(  # type: ignore[attr-defined]
                host, port, size, is_master=rank == 0, timeout=limit, wait_for_workers=False, master_listen_fd=listener if rank == 0 else None
            )
            distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
        self._sums: dict[Optimizer, GradientSum] = {}

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, as a new tensor of the same dtype and shape."""
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            distributed.all_reduce(result)
        return result

    def broadcast(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        """The root's tensor, as a new tensor on every rank."""
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            distributed.broadcast(result, root)
        return result

    def barrier(self) -> None:
        """Wait until every rank is here."""
        with _peers():
            distributed.barrier()

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> Optimizer:
        """The same optimiser, whose `step()` now uses gradients summed over ranks."""
        with _peers():
            # A group of its own: collectives match by order, and backward's must not mix with the caller's.
            group = distributed.new_group(backend="gloo")

        def start(_name: str, buffer: torch.Tensor) -> Callable[[], None]:
            with _peers():
                work = distributed.all_reduce(buffer, group=group, async_op=True)

            def wait() -> None:
                with _peers():
                    work.wait()

            return wait

        self._sums[optimizer] = GradientSum(model, optimizer, start)
        return optimizer

    def synchronize(self, optimizer: Optimizer) -> None:
        """Finish the sums, so that each `p.grad` is the sum over ranks."""
        if optimizer not in self._sums:
            raise ContractError("an optimiser that was not wrapped", expected="what wrap() returned", mend="call wrap(model, optimizer) first")
        self._sums[optimizer].synchronize()

    def close(self) -> None:
        """Leave the group; no call follows."""
        distributed.destroy_process_group()


@contextmanager
def _peers() -> Iterator[None]:
    """Tell a lost peer from a fault of this rank."""
    try:
        yield
    except RuntimeError as error:
        # torch raises a plain RuntimeError for a closed connection; only the source path in it names gloo.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise PeerLost(f"a broken collective: {error}", expected="all ranks to answer") from error
