"""Gradients summed over ranks, while backward still runs.

Gradients are gathered into buckets in the reverse order of the model's parameters, about the order in which backward makes them; a full bucket
goes out at once. Beside its values a bucket carries one flag per parameter that says whether the rank had a gradient: so a rank without rows
counts as zero, and a parameter that no rank used keeps what it had, as in one process (plain `hvd.join` divides by all ranks instead).
Sparse gradients of embeddings go apart, once backward is done: see `sparse.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sparkml_ops.errors import ContractError
from sparkml_ops.training.launch.compression import CompressedSum
from sparkml_ops.training.launch.exchange import Exchange
from sparkml_ops.training.launch.settings import Collectives
from sparkml_ops.training.launch.sparse import SparseSum, sparse_weights

__all__ = ["GradientSum"]

_Start = Callable[[str, torch.Tensor, int], Callable[[], Callable[[], None] | None]]
# Start summing a buffer in place, that many flags at its end. What it returns waits for the end, or for the middle, and returns what waits for it.


class GradientSum:
    """Keeps an optimiser's gradients equal to their sums over ranks at each step.

    Args:
        model: Gives the order of the parameters.
        optimizer: Gets hooks before and after `step()`; its class, state and methods stay what they are.
        exchange: The backend's collectives.
        collectives: Bytes of a bucket, and compression.

    Raises:
        ContractError: Two backward passes before a step, a closure, a sparse gradient of no embedding, or parameters added later.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, exchange: Exchange, collectives: Collectives) -> None:
        self._optimizer, self._exchange, self._start = optimizer, exchange, _start(exchange, collectives)
        owned, sparse = _ordered(model, optimizer), sparse_weights(model)
        self._sparse = [SparseSum(parameter) for parameter in owned if parameter in sparse]
        self._buckets = _fill([parameter for parameter in owned if parameter not in sparse], collectives.capacity)
        self._known = sum(len(group["params"]) for group in optimizer.param_groups)
        self._sent = 0
        self._synchronized = False
        for bucket in self._buckets:
            for index, parameter in enumerate(bucket.parameters):
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, bucket, index))  # type: ignore[no-untyped-call]
        for embedding in self._sparse:
            embedding.weight.register_post_accumulate_grad_hook(partial(self._arrived_sparse, embedding))  # type: ignore[no-untyped-call]
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)

    def synchronize(self) -> None:
        """Finish all sums and put them into `p.grad`."""
        if sum(len(group["params"]) for group in self._optimizer.param_groups) != self._known:
            raise ContractError(
                "parameters added to the optimiser after wrap()", expected="the parameters it had", mend="add all parameters before wrap()"
            )
        self._send(complete_only=False)
        for number, embedding in enumerate(self._sparse):
            embedding.receive(f"sparse.{number}", self._exchange.gather_rows)
        for bucket in self._buckets:
            bucket.advance()
        for bucket in self._buckets:
            bucket.receive()
        self._sent = 0
        self._synchronized = True

    def _arrived(self, bucket: _Bucket, index: int, parameter: torch.Tensor) -> None:
        self._synchronized = False
        bucket.put(index, parameter)
        self._send(complete_only=True)

    def _arrived_sparse(self, embedding: SparseSum, weight: torch.Tensor) -> None:
        self._synchronized = False
        embedding.put(weight)

    def _send(self, *, complete_only: bool) -> None:
        # Always in the order of the buckets: collectives match by order, and a rank without rows sends all of them at the end.
        for number in range(self._sent, len(self._buckets)):
            bucket = self._buckets[number]
            if complete_only and not bucket.complete:
                return
            bucket.wait = self._start(f"gradients.{number}", bucket.buffer, len(bucket.parameters))
            self._sent = number + 1

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # args[0] is the optimiser where torch hands over the bound call as it is.
        if kwargs.get("closure") is not None or any(callable(argument) for argument in args if argument is not optimizer):
            raise ContractError(
                "step(closure)", expected="step()", mend="call backward() and then step(): the closure's gradients would not be summed"
            )
        if not self._synchronized:
            self.synchronize()

    def _after_step(self, *_: Any) -> None:
        self._synchronized = False


class _Bucket:
    """Some parameters, one buffer of their gradients and flags, and the sum on its way."""

    def __init__(self, parameters: Sequence[nn.Parameter], dtype: torch.dtype) -> None:
        self.parameters = tuple(parameters)
        sizes = [parameter.numel() for parameter in parameters]
        self.buffer = torch.zeros(sum(sizes) + len(sizes), dtype=dtype, device=parameters[0].device)
        *values, self._flags = torch.split(self.buffer, [*sizes, len(sizes)])
        self._values = [value.view_as(parameter) for value, parameter in zip(values, parameters, strict=True)]
        self._arrived: set[int] = set()
        self.wait: Callable[[], Callable[[], None] | None] | None = None

    @property
    def complete(self) -> bool:
        """Whether every gradient of this backward pass is here."""
        return len(self._arrived) == len(self.parameters)

    def put(self, index: int, parameter: torch.Tensor) -> None:
        """Take this rank's gradient of a parameter."""
        if index in self._arrived:
            raise ContractError(
                "a second backward pass before step()",
                expected="one backward pass a step",
                mend="add the losses of the parts of a batch and call backward() once",
            )
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse:
            raise ContractError(
                "a sparse gradient of no embedding",
                expected="sparse ones of nn.Embedding and nn.EmbeddingBag only",
                mend="build it with sparse=False",
            )
        with torch.no_grad():
            self._values[index].copy_(gradient)
            self._flags[index] = 1
        self._arrived.add(index)

    def advance(self) -> None:
        """Wait for the first half of a sum that has two, and start the second."""
        if self.wait is not None:
            self.wait = self.wait()

    def receive(self) -> None:
        """Wait for the sums, hand them to the parameters, and be empty for the next pass."""
        if self.wait is not None:
            self.wait()
        with torch.no_grad():
            for parameter, value, flag in zip(self.parameters, self._values, self._flags.tolist(), strict=True):
                if not flag:
                    continue
                if parameter.grad is None:
                    parameter.grad = value.to(parameter.dtype, copy=True)
                else:
                    parameter.grad.copy_(value)
            self.buffer.zero_()
        self._arrived.clear()
        self.wait = None


def _start(exchange: Exchange, collectives: Collectives) -> _Start:
    if collectives.compression == "none" or exchange.size == 1:
        return lambda name, buffer, _flags: exchange.sum(name, buffer)
    return CompressedSum(exchange, collectives.compression).start


def _ordered(model: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    owned = {parameter: None for group in optimizer.param_groups for parameter in group["params"] if parameter.requires_grad}
    of_model = [parameter for parameter in model.parameters() if parameter in owned]
    return [*reversed(of_model), *(parameter for parameter in owned if parameter not in set(of_model))]


def _fill(parameters: Sequence[nn.Parameter], capacity: int) -> list[_Bucket]:
    buckets: list[_Bucket] = []
    waiting: dict[tuple[torch.device, torch.dtype], list[nn.Parameter]] = {}
    for parameter in parameters:
        # Half precision travels as float32: Horovod refuses bfloat16, and the sum loses nothing.
        kind = (parameter.device, parameter.dtype if parameter.dtype == torch.float64 else torch.float32)
        group = waiting.setdefault(kind, [])
        group.append(parameter)
        if sum(member.numel() for member in group) * kind[1].itemsize >= capacity:
            buckets.append(_Bucket(waiting.pop(kind), kind[1]))
    return [*buckets, *(_Bucket(group, kind[1]) for kind, group in waiting.items())]
