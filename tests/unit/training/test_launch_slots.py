"""Slots of a session, and what Spark's refusals mean; the texts are Spark 4.2's."""

from __future__ import annotations

import pytest

from sparkml_ops.errors import ConfigurationError
from sparkml_ops.training.launch import RankFailed, StartTimeout
from sparkml_ops.training.launch.slots import Slots

CLUSTER = Slots.of_master("spark://host:7077")


@pytest.mark.parametrize(
    ("master", "cores", "total"),
    [
        ("local", 1, 1),
        ("local[4]", 1, 4),
        ("local[4, 2]", 1, 4),
        ("local[5]", 2, 2),
        ("local[*]", 1, None),
        ("local-cluster[2,1,512]", 1, None),
        ("yarn", 1, None),
    ],
)
def test_a_local_master_tells_its_slots(master: str, cores: int, total: int | None) -> None:
    """A task takes `spark.task.cpus` of the cores; other masters do not say."""
    assert Slots.of_master(master, cores).total == total


def test_too_few_slots_in_a_cluster_are_named() -> None:
    """Spark's slot check counts the slots in total."""
    text = """An error occurred while calling o67.collectToPython.
: org.apache.spark.scheduler.BarrierJobSlotsNumberCheckFailed: [SPARK-24819]: Barrier execution mode does not allow run a barrier stage that \
requires more slots than the total number of slots in the cluster currently."""

    refusal = CLUSTER.refusal(text, 3)

    assert isinstance(refusal, StartTimeout)
    assert "expected 3 free slots at once, one for each of training.workers=3 on spark://host:7077" in str(refusal)


def test_dynamic_allocation_is_a_fault_of_the_configuration() -> None:
    """Spark runs no barrier stage with it."""
    text = "[SPARK-24942]: Barrier execution mode does not support dynamic resource allocation for now."

    assert isinstance(CLUSTER.refusal(text, 2), ConfigurationError)


@pytest.mark.parametrize("master", ["spark://host:7077", "local-cluster[2,1,512]"])
def test_dynamic_allocation_is_refused_before_the_launch(master: str) -> None:
    """With what to do instead."""
    with pytest.raises(ConfigurationError, match=r"spark\.dynamicAllocation\.enabled=true.*training\.backend=local"):
        Slots.of_master(master, dynamic=True).refuse_unfit(1)


@pytest.mark.parametrize("master", ["local", "local[2]", "local[*]"])
def test_a_local_master_takes_no_notice_of_dynamic_allocation(master: str) -> None:
    """It has no executors to allocate, and Spark runs barrier stages there."""
    found = Slots.of_master(master, dynamic=True)

    found.refuse_unfit(1)
    assert found == Slots.of_master(master)


def test_executors_without_our_package_are_told_apart() -> None:
    """Every attempt would end the same."""
    text = "An error occurred.\nTraceback (most recent call last):\nModuleNotFoundError: No module named 'sparkml_ops'"

    refusal = CLUSTER.refusal(text, 2)

    assert isinstance(refusal, RankFailed)
    assert (refusal.message, refusal.type) == ("ModuleNotFoundError: No module named 'sparkml_ops'", "ImportError")


def test_the_loss_of_a_stage_is_no_refusal() -> None:
    """Another attempt may mend it."""
    assert CLUSTER.refusal("org.apache.spark.SparkException: Job aborted due to stage failure", 2) is None
