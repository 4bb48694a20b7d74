"""The GPUs that Spark gives to a task (`spark.task.resource.gpu.amount`), one for each of its ranks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparkml_ops.errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from sparkml_ops.training.launch.settings import Device

__all__ = ["addresses", "assign", "gpus_of_a_task", "refuse_without_cuda"]

_AMOUNT = "spark.task.resource.gpu.amount"
_MEND = f"set spark.executor.resource.gpu.amount and {_AMOUNT} (docs/guides/gpu.md), or training.device=cpu"


def gpus_of_a_task(spark: SparkSession) -> int:
    """How many GPUs Spark gives to each task of a session; 0 where it gives none, or a task a part of one."""
    return int(float(spark.conf.get(_AMOUNT, "0") or 0))


def addresses(context: Any) -> tuple[str, ...]:
    """The GPUs of this task.

    Args:
        context: Spark's `TaskContext`.
    """
    found = context.resources().get("gpu")
    return () if found is None else tuple(found.addresses)


def assign(device: Device, gpus: Sequence[str], ranks: int) -> tuple[str | None, ...]:
    """The GPU of each rank of a task; None where a rank computes on the processor.

    Args:
        device: The setting `training.device`.
        gpus: Those of the task.
        ranks: Of the task.

    Raises:
        ConfigurationError: GPUs are wished for, and Spark gave none, or too few.

    >>> assign("auto", ["0", "1"], 2)
    ('0', '1')
    >>> assign("auto", [], 1)
    (None,)
    """
    if device == "cpu" or (device == "auto" and not gpus):
        return (None,) * ranks
    if len(gpus) < ranks:
        raise ConfigurationError(f"training.device={device} and {len(gpus)} GPUs of a task with {ranks} ranks", expected="a GPU a rank", mend=_MEND)
    return tuple(gpus[:ranks])


def refuse_without_cuda() -> None:
    """Say that a rank cannot use the GPU that it has.

    Raises:
        ConfigurationError: torch is built without CUDA, or sees no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise ConfigurationError(
            f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', '')} of this rank, which torch {torch.__version__} does not see",
            expected="a torch built for the CUDA version of the driver",
            mend="see docs/guides/gpu.md, or set training.device=cpu",
        )
