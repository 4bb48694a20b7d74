"""What a launch may be asked for."""

from __future__ import annotations

import pytest

from sparkml_ops.errors import ConfigurationError
from sparkml_ops.training.launch import Collectives, LaunchSettings
from sparkml_ops.training.launch.order import Order


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    """The error lists what exists."""
    with pytest.raises(ConfigurationError, match="one of horovod, ddp, local") as caught:
        LaunchSettings(workers=2, backend="mpi")  # type: ignore[arg-type]

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["workers", "attempts", "threads", "start_timeout", "hang_timeout"])
def test_numbers_are_above_zero(name: str) -> None:
    """Zero ranks, attempts or seconds mean nothing."""
    with pytest.raises(ConfigurationError, match=rf"training\.{name}=0"):
        LaunchSettings(**{name: 0})


def test_collectives_that_mean_nothing_are_refused() -> None:
    """With the choices there are."""
    with pytest.raises(ConfigurationError, match=r"compression='int8'; expected one of none, fp16, bf16"):
        Collectives(compression="int8")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"training\.collectives\.cycle_ms=0"):
        Collectives(cycle_ms=0)
    with pytest.raises(ConfigurationError, match=r"timeline with training\.backend=ddp"):
        LaunchSettings(workers=2, backend="ddp", collectives=Collectives(timeline=True))


def test_a_rank_is_told_how_gradients_travel() -> None:
    """The order survives the way to its process."""
    collectives = Collectives(fusion_mib=2.5, cycle_ms=0.5, compression="bf16", timeline=True)
    order = Order("horovod", 0, 2, 0, "r", "/s", 1, "::1", 0, -1, 60.0, collectives)

    assert Order.from_json(order.to_json()) == order


def test_local_is_one_worker() -> None:
    """The backend `local` is this process, and there is one of it."""
    with pytest.raises(ConfigurationError, match=r"training\.workers=2 with training\.backend=local"):
        LaunchSettings(workers=2, backend="local")
