"""Monitoring is of binary models: for others it says so instead of measuring something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import Place

from sparkml_ops.errors import ContractError
from sparkml_ops.project import Project


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    """Before Spark starts."""
    Place(tmp_path)
    with pytest.raises(
        ContractError, match=r"monitoring of a model of the task quantile; expected training.task binary or multiclass or regression or count"
    ):
        Project.open(tmp_path / "conf", "tiny", overrides=("training.task=quantile",)).monitor("2020-02", as_of="2020-04-01")


@pytest.mark.parametrize(
    ("task", "setting", "what"),
    [
        ("multiclass", "monitoring.sensitive=[shop]", "sensitive"),
        ("regression", "monitoring.value={true_positive: 1}", "value"),
        ("binary", "monitoring.value={classes: {a: {a: 1}}}", "value"),
    ],
)
def test_worth_and_fairness_belong_to_a_task(tmp_path: Path, task: str, setting: str, what: str) -> None:
    """Before Spark starts: what would silently measure nothing is refused."""
    Place(tmp_path)
    with pytest.raises(ContractError, match=rf"monitoring\.{what} of a model of the task {task}"):
        Project.open(tmp_path / "conf", "tiny", overrides=(f"training.task={task}", setting)).monitor("2020-02", as_of="2020-04-01")
