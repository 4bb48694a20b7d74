"""What a launch may be asked for."""

from __future__ import annotations

import pytest

from sparkml_ops.errors import ConfigurationError
from sparkml_ops.training.launch import LaunchSettings


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


def test_local_is_one_worker() -> None:
    """The backend `local` is this process, and there is one of it."""
    with pytest.raises(ConfigurationError, match=r"training\.workers=2 with training\.backend=local"):
        LaunchSettings(workers=2, backend="local")
