"""The guide on a model of one's own, each block as it stands there, on the tiny project."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession
from tiny_project import AS_OF, Place

from sparkml_ops.config.training import TrainingSection

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "bring_your_own_model.md"
BLOCKS = dict(re.findall(r"^```(toml|yaml)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL))


def test_the_guide_says_what_happens(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of output in the guide is the one that comes out; its package is installed as its pyproject says."""
    project = tomllib.loads(BLOCKS["toml"])["project"]
    points = "\n".join(f"{name} = {place}" for name, place in project["entry-points"]["sparkml_ops.models"].items())
    info = tmp_path / "site" / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text(f"[sparkml_ops.models]\n{points}\n")
    monkeypatch.syspath_prepend(str(info.parent))
    place = Place(tmp_path / "tiny", base={"warehouse": {"root": str(tmp_path / "tiny" / "data" / "warehouse")}})
    monkeypatch.chdir(place.folder)
    place.prepare(spark, train=False)
    found, attempted = doctest.testfile(
        str(GUIDE),
        module_relative=False,
        globs={"project": place.project(spark), "as_of": AS_OF},
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )

    assert (found, attempted > 8) == (0, True)
    assert TrainingSection(**yaml.safe_load(BLOCKS["yaml"])["training"]).model.module == "team-gated"
