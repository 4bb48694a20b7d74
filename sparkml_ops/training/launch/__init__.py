"""Ranks of a data-parallel training on Spark: launch, collectives, reports."""

from __future__ import annotations

from sparkml_ops.training.launch.communicator import Communicator
from sparkml_ops.training.launch.context import RankContext, Task
from sparkml_ops.training.launch.errors import RankFailed, StartTimeout
from sparkml_ops.training.launch.gpu import gpus_of_a_task
from sparkml_ops.training.launch.launcher import launch
from sparkml_ops.training.launch.settings import Backend, Collectives, LaunchSettings

__all__ = [
    "Backend",
    "Collectives",
    "Communicator",
    "LaunchSettings",
    "RankContext",
    "RankFailed",
    "StartTimeout",
    "Task",
    "gpus_of_a_task",
    "launch",
]
