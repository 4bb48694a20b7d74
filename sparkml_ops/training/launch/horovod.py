"""The communicator on Horovod's ring all-reduce (Gloo on processors, NCCL on GPUs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sparkml_ops.errors import ConfigurationError, ContractError
from sparkml_ops.training.launch.errors import PeerLost
from sparkml_ops.training.launch.gradients import GradientSum
from sparkml_ops.training.launch.settings import Collectives

__all__ = ["HorovodCommunicator", "load"]


def load() -> Any:
    """The module `horovod.torch`.

    Raises:
        ConfigurationError: Horovod is not installed, or was built without torch.
    """
    try:
        import horovod.torch as hvd
    except ImportError as error:
        raise ConfigurationError(
            f"training.backend=horovod and no usable Horovod ({error})",
            expected="the package horovod, built with torch and Gloo, on every executor",
            mend="install sparkml-ops[horovod], or set training.backend=ddp",
        ) from error
    return hvd


class HorovodCommunicator:
    """A group that meets at the rendezvous server named by the environment (`HOROVOD_GLOO_RENDEZVOUS_ADDR`).

    A process makes one and no other: a second `hvd.init` aborts it in most long runs.

    Args:
        collectives: How gradients travel; what Horovod itself must know of it, it reads from the environment.
        gpu: Whether tensors lie on the GPU that this process sees.

    Raises:
        ConfigurationError: `gpu`, and Horovod was built without NCCL.
    """

    def __init__(self, collectives: Collectives = Collectives(), *, gpu: bool = False) -> None:  # noqa: B008 - frozen
        self._hvd, self._collectives = load(), collectives
        if gpu and not self._hvd.nccl_built():
            raise ConfigurationError(
                "training.backend=horovod on a GPU, and a Horovod without NCCL",
                expected="one built with HOROVOD_GPU_OPERATIONS=NCCL",
                mend="build it so (docs/guides/gpu.md), or set training.backend=ddp or training.device=cpu",
            )
        with _peers():
            self._hvd.init()
        self.rank: int = self._hvd.rank()
        self.size: int = self._hvd.size()
        self._exchange = _Exchange(self._hvd, "")
        self._sums: dict[Optimizer, GradientSum] = {}

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, as a new tensor of the same dtype and shape."""
        # One name for all: calls follow each other, and a known name spares Horovod's negotiation.
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        self._exchange.sum("all_reduce", result)()
        return result

    def broadcast(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        """The root's tensor, as a new tensor on every rank."""
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            self._hvd.synchronize(self._hvd.broadcast_async_(result, root, name="broadcast"))
        return result

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, one rank after the other, as a new tensor."""
        return self._exchange.gather_rows("all_gather", tensor)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        with _peers():
            self._hvd.barrier()

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> Optimizer:
        """The same optimiser, whose `step()` now uses gradients summed over ranks."""
        exchange = _Exchange(self._hvd, f"optimizer.{len(self._sums)}.")
        self._sums[optimizer] = GradientSum(model, optimizer, exchange, self._collectives)
        return optimizer

    def synchronize(self, optimizer: Optimizer) -> None:
        """Finish the sums, so that each `p.grad` is the sum over ranks."""
        if optimizer not in self._sums:
            raise ContractError("an optimiser that was not wrapped", expected="what wrap() returned", mend="call wrap(model, optimizer) first")
        self._sums[optimizer].synchronize()

    def close(self) -> None:
        """Leave the group; no call follows."""
        self._hvd.shutdown()


class _Exchange:
    """Collectives under names that begin in the same way."""

    def __init__(self, hvd: Any, prefix: str) -> None:
        self.size: int = hvd.size()
        self._hvd, self._prefix = hvd, prefix

    def sum(self, name: str, buffer: torch.Tensor) -> Callable[[], None]:
        with _peers():
            handle = self._hvd.allreduce_async_(buffer, name=self._prefix + name, op=self._hvd.Sum)

        def wait() -> None:
            self._wait(handle)

        return wait

    def swap(self, name: str, shares: torch.Tensor) -> Callable[[], torch.Tensor]:
        with _peers():
            handle = self._hvd.alltoall_async(shares, name=self._prefix + name)
        return lambda: self._wait(handle)[0]

    def gather(self, name: str, share: torch.Tensor) -> Callable[[], torch.Tensor]:
        with _peers():
            handle = self._hvd.allgather_async(share[None], name=self._prefix + name)
        return lambda: self._wait(handle)

    def gather_rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        with _peers():
            handle = self._hvd.allgather_async(rows.detach().contiguous(), name=self._prefix + name)
        gathered: torch.Tensor = self._wait(handle)
        return gathered

    def _wait(self, handle: int) -> Any:
        with _peers():
            return self._hvd.synchronize(handle)


@contextmanager
def _peers() -> Iterator[None]:
    """Tell a lost peer from a fault of this rank."""
    from horovod.common.exceptions import HorovodInternalError

    try:
        yield
    except HorovodInternalError as error:
        if "ismatch" in str(error):  # ranks that submit different shapes or types: a fault of the task, which will come again
            raise
        raise PeerLost(f"a broken collective: {error}", expected="all ranks to answer") from error
