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
    with pytest.raises(ContractError, match=r"monitoring of a model of the task regression; expected training.task binary or multiclass"):
        Project.open(tmp_path / "conf", "tiny", overrides=("training.task=regression",)).monitor("2020-02", as_of="2020-04-01")
