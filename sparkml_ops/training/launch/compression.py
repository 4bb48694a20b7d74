"""Sums over ranks whose values travel in 16 bits.

Each rank scales its values by a power of two, so that none overflows, rounds them to half precision, and sends to rank r the r-th
share of them. Rank r scales back, adds in full precision, rounds its share of the sum in the same way and sends it to all. So the scale of one
rank is of no concern to the others and costs no collective of its own, nothing overflows that would not overflow in full precision, but for
rounding at the very end of the type, each value is rounded twice however many ranks there are, and every rank ends with the same bits. An all-reduce in half precision, as of Horovod and of
torch's hooks, rounds at each of its additions and overflows at 65,504. The bytes are those of a ring at half the width (Patarasuk and
Yuan 2009): 2 (N - 1) / N times 2 bytes a value. They travel as bytes: Horovod takes no bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch

from sparkml_ops.training.launch.exchange import Exchange

__all__ = ["HALVES", "CompressedSum", "grow", "shrink"]

HALVES: dict[Literal["fp16", "bf16"], torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}
_TOP = 15  # values are scaled to below 2^15; half precision ends at 65,504


class CompressedSum:
    """Sums buffers over ranks at 16 bits a value.

    Args:
        exchange: The backend.
        half: `fp16` (a value is rounded by at most 2^-11 of itself plus 2^-39 of the largest in the buffer) or `bf16` (2^-8 and 2^-147).
    """

    def __init__(self, exchange: Exchange, half: Literal["fp16", "bf16"]) -> None:
        self._exchange, self._half = exchange, HALVES[half]

    def start(self, name: str, buffer: torch.Tensor, counts: int) -> Callable[[], Callable[[], None]]:
        """Start to sum a buffer in place.

        Args:
            name: Of the buffer.
            buffer: [values, then counts] of one floating-point type.
            counts: How many small whole numbers stand at its end; they are summed exactly.

        Returns:
            Waits for the others' shares and sends on their sum; what it returns waits for the end.
        """
        size, values = self._exchange.size, buffer[: len(buffer) - counts]
        each = -(-len(values) // size)
        exponent, bits = shrink(values, self._half)
        shares = torch.zeros(size, counts + 1 + each, dtype=torch.int16, device=buffer.device)
        shares[:, :counts] = buffer[len(values) :].to(torch.int16)
        shares[:, counts] = exponent
        shares[:, counts + 1 :] = torch.nn.functional.pad(bits, (0, size * each - len(bits))).view(size, each)
        swapped = self._exchange.swap(f"{name}.swap", shares.view(torch.uint8))

        def add() -> Callable[[], None]:
            received = swapped().view(torch.int16)
            total = torch.stack([self._grown(row[counts:], buffer.dtype) for row in received]).sum(0)
            exponent, bits = shrink(total, self._half)
            gathered = self._exchange.gather(f"{name}.gather", torch.cat([bits.new_tensor([exponent]), bits]).view(torch.uint8))

            def finish() -> None:
                rows = [self._grown(row, buffer.dtype) for row in gathered().view(torch.int16)]
                values.copy_(torch.cat(rows)[: len(values)])
                buffer[len(values) :] = received[:, :counts].sum(0).to(buffer.dtype)

            return finish

        return add

    def _grown(self, row: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return grow(int(row[0]), row[1:], self._half, dtype)


def shrink(values: torch.Tensor, half: torch.dtype) -> tuple[int, torch.Tensor]:
    """Values as an exponent and 16 bits each; infinite values and NaN stay what they are.

    Args:
        values: [n] float32 or float64.

    Returns:
        The exponent, and [n] int16.

    >>> exponent, bits = shrink(torch.tensor([3e30, -1e30, 0.0]), torch.float16)
    >>> exponent, [f"{value:.3g}" for value in grow(exponent, bits, torch.float16, torch.float32).tolist()]
    (102, ['3e+30', '-1e+30', '0'])
    """
    largest = float(values.abs().amax()) if len(values) else 0.0
    if not math.isfinite(largest):
        finite = values[torch.isfinite(values)].abs()
        largest = float(finite.amax()) if len(finite) else 0.0
    # The factor must be a number of the values' own type: very small values get a smaller one.
    exponent = max(math.frexp(largest)[1], math.frexp(torch.finfo(values.dtype).smallest_normal)[1] - 1 + _TOP)
    if half == torch.bfloat16 and values.dtype == torch.float32:
        exponent = min(exponent, _TOP)  # both end at the same place: made smaller, small values would only be lost beside large ones
    return exponent, (values * 2.0 ** (_TOP - exponent)).to(half).view(torch.int16)


def grow(exponent: int, bits: torch.Tensor, half: torch.dtype, dtype: torch.dtype) -> torch.Tensor:
    """What `shrink` made small, in another type."""
    return bits.view(half).to(dtype) * 2.0 ** (exponent - _TOP)
