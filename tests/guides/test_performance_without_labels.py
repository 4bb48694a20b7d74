"""The guide "performance without labels": its figures as they stand there, its settings and commands on a project with a scored day."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import sys
from pathlib import Path

import yaml
from pyspark.sql import SparkSession
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "spark" / "monitoring"))  # whose project it is

from monitored_project import DAYS, Place  # noqa: E402

from sparkml_ops.cli.app import app  # noqa: E402

GUIDE = ROOT / "docs" / "guides" / "performance_without_labels.md"
BLOCKS = {name: text for _, name, text in re.findall(r"^```(bash|yaml) (\S+)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)}
HERE = {"2013-07": DAYS[0], "2013-08-01": "2020-01-02", "flights": "tiny"}


def typed(name: str, place: Place) -> list[str]:
    """Output of each command of a block."""
    found = []
    for line in BLOCKS[name].splitlines():
        for there, here in HERE.items():
            line = line.replace(there, here)  # noqa: PLW2901
        program, *words = shlex.split(line)
        ended = CliRunner().invoke(app, [*words, "--conf", str(place.folder / "conf")])
        assert (program, ended.exit_code) == ("sparkml-ops", 0), (line, ended.output)
        found.append(ended.stdout)
    return found


def test_the_figures_are_those_of_the_guide() -> None:
    """Every line of output is the one that comes out; no JVM."""
    found, attempted = doctest.testfile(str(GUIDE), module_relative=False)

    assert (found, attempted > 10) == (0, True)


def test_settings_and_commands_do_what_the_guide_says(spark: SparkSession, tmp_path: Path, mlflow_template: Path) -> None:
    """On a project of one scored day: worth and disparities are measured, a contract is learnt and checked, a replay finds no difference."""
    place = Place.make(tmp_path / "tiny", spark, mlflow_template, days=DAYS[:1])
    project = place.folder / "conf" / "projects" / "tiny"
    (project / "alerts.yaml").write_text(BLOCKS["alerts"])
    (project / "monitoring.yaml").write_text(BLOCKS["monitoring"])
    (report,) = typed("measured", place)
    figures = {(item["metric"], item["kind"]): item for item in json.loads(report)["performance"] if item["segment"] is None}
    learnt, shown = typed("learnt", place)
    (checked,) = typed("checked", place)
    (skewed,) = typed("skewed", place)

    assert figures["value", "estimated"]["lower"] < figures["value", "realised"]["value"] < figures["value", "estimated"]["upper"]
    assert {metric for metric, kind in figures if kind == "realised"} >= {"demographic_parity", "equal_opportunity", "equalised_odds"}
    assert "contract.yaml" in learnt
    assert len(yaml.safe_load((project / "contract.yaml").read_text())["scoring"]["contract"]["rules"]) > 3
    assert "x between" in shown
    assert "rules do not hold" in checked
    assert "0 of 300 rows of 2020-01-01 differ" in skewed
