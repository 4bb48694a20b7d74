"""The communicator on torch.distributed (Gloo on processors, NCCL on GPUs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import torch
from torch import distributed, nn
from torch.optim import Optimizer

from sparkml_ops.errors import ContractError
from sparkml_ops.training.launch.errors import PeerLost
from sparkml_ops.training.launch.gradients import GradientSum
from sparkml_ops.training.launch.settings import Collectives

__all__ = ["DdpCommunicator"]


class DdpCommunicator:
    """A group that meets at rank 0's store.

    Args:
        host: Address of rank 0.
        port: Port of rank 0's store.
        listener: File descriptor of the socket that rank 0 already listens on; -1 elsewhere.
        timeout: Seconds that a collective may take.
        collectives: How gradients travel.
        gpu: Whether gradients lie on the GPU that this process sees; what lies in memory travels by Gloo all the same.
    """

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        host: str,
        port: int,
        listener: int = -1,
        timeout: float = 1800.0,
        collectives: Collectives = Collectives(),  # noqa: B008 - frozen
        gpu: bool = False,
    ) -> None:
        self._backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        self.rank, self.size, self._collectives = rank, size, collectives
        limit = timedelta(seconds=timeout)
        with _peers():
            # A socket bound beforehand: the store itself would listen on every interface, and its port could be taken in between.
            store = distributed.TCPStore(  # type: ignore[attr-defined]
                host, port, size, is_master=rank == 0, timeout=limit, wait_for_workers=False, master_listen_fd=listener if rank == 0 else None
            )
            distributed.init_process_group(self._backend, store=store, rank=rank, world_size=size, timeout=limit)
        self._exchange = _Exchange(size, None)
        self._sums: dict[Optimizer, GradientSum] = {}

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, as a new tensor of the same dtype and shape."""
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        self._exchange.sum("all_reduce", result)()
        return result

    def broadcast(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        """The root's tensor, as a new tensor on every rank."""
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            distributed.broadcast(result, root)
        return result

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, one rank after the other, as a new tensor."""
        return self._exchange.gather_rows("all_gather", tensor)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        with _peers():
            distributed.barrier()

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> Optimizer:
        """The same optimiser, whose `step()` now uses gradients summed over ranks."""
        with _peers():
            # A group of its own: collectives match by order, and backward's must not mix with the caller's.
            group = distributed.new_group(backend=self._backend)
        self._sums[optimizer] = GradientSum(model, optimizer, _Exchange(self.size, group), self._collectives)
        return optimizer

    def synchronize(self, optimizer: Optimizer) -> None:
        """Finish the sums, so that each `p.grad` is the sum over ranks."""
        if optimizer not in self._sums:
            raise ContractError("an optimiser that was not wrapped", expected="what wrap() returned", mend="call wrap(model, optimizer) first")
        self._sums[optimizer].synchronize()

    def close(self) -> None:
        """Leave the group; no call follows."""
        distributed.destroy_process_group()


class _Exchange:
    """Collectives of one process group, which match by their order; names are not needed."""

    def __init__(self, size: int, group: distributed.ProcessGroup | None) -> None:
        self.size, self._group = size, group

    def sum(self, _name: str, buffer: torch.Tensor) -> Callable[[], None]:
        with _peers():
            work = distributed.all_reduce(buffer, group=self._group, async_op=True)
        return partial(_wait, work)

    def swap(self, _name: str, shares: torch.Tensor) -> Callable[[], torch.Tensor]:
        result = torch.empty_like(shares)
        with _peers():
            work = distributed.all_to_all_single(result, shares, group=self._group, async_op=True)
        return partial(_result, work, result)

    def gather(self, _name: str, share: torch.Tensor) -> Callable[[], torch.Tensor]:
        result = share.new_empty(self.size, *share.shape)
        with _peers():
            work = distributed.all_gather(list(result.unbind()), share, group=self._group, async_op=True)
        return partial(_result, work, result)

    def gather_rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        # Gloo gathers equal shapes only: the shorter ones are filled up to the longest and cut again.
        counts = self.gather(name, torch.tensor([len(rows)], device=rows.device))().flatten().tolist()
        filled = rows.new_zeros(max(counts), *rows.shape[1:])
        filled[: len(rows)] = rows.detach()
        gathered = self.gather(name, filled)()
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


def _wait(work: distributed.Work) -> None:
    with _peers():
        work.wait()


def _result(work: distributed.Work, result: torch.Tensor) -> torch.Tensor:
    _wait(work)
    return result


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
