"""The factor on a loss in half precision, whose gradients would else vanish below 2^-24 (Micikevicius et al. 2018, "Mixed precision training").

The ranks look at reduced gradients, which are the same on all of them: so all skip the same steps and change the factor alike, without asking.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

__all__ = ["LossScale", "finite"]

_FIRST, _PATIENCE = 2.0**16, 2000


def finite(gradients: Sequence[torch.Tensor], factor: float = 1.0) -> bool:
    """Divide gradients by a factor, in place, and say whether all numbers in them are finite.

    One pass by the kernel of torch's own scaler, a tenth of what a sum of each would take; and a sum may overflow where no number does.

    >>> gradients = [torch.tensor([4.0, 8.0]), torch.tensor([2.0])]
    >>> finite(gradients, 2.0), gradients
    (True, [tensor([2., 4.]), tensor([1.])])
    """
    if not gradients:
        return True
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    found = torch.zeros(1, device=values[0].device)
    torch._amp_foreach_non_finite_check_and_unscale_(values, found, _share(factor, values[0].device))
    return not found.item()


@lru_cache(maxsize=4)
def _share(factor: float, device: torch.device) -> torch.Tensor:
    return torch.full((1,), 1.0 / factor, device=device)


class LossScale:
    """A power of two that is halved when gradients overflow, and doubled after steps in which none did.

    Args:
        patience: So many of them.

    >>> scale = LossScale()
    >>> scale.overflowed(), scale.factor
    (True, 32768.0)
    """

    def __init__(self, patience: int = _PATIENCE) -> None:
        self.factor, self._patience, self._good = _FIRST, patience, 0

    def fitted(self) -> None:
        """Count a step whose gradients did not overflow."""
        self._good += 1
        if self._good >= self._patience:
            self.factor, self._good = 2.0 * self.factor, 0

    def overflowed(self) -> bool:
        """Halve the factor, so that the step is skipped; False where it is 1 already, and the fault another."""
        if self.factor <= 1.0:
            return False
        self.factor, self._good = self.factor / 2.0, 0
        return True

    def state(self) -> torch.Tensor:
        """For a checkpoint: [factor, good steps since it changed]."""
        return torch.tensor([self.factor, self._good], dtype=torch.float64)

    def restore(self, state: torch.Tensor) -> None:
        """Go on from a checkpoint."""
        self.factor, self._good = float(state[0]), int(state[1])
