"""The guide on tuning, as a newcomer types it, on a small training set."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

from finished_work import Night
from pyspark.sql import SparkSession
from training_rows import table
from typer.testing import CliRunner

import sparkml_ops as ops
from feature_store.records import TrainingSet
from sparkml_ops.cli.app import app

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "tune_a_model.md"


def test_the_guide_says_what_happens(spark: SparkSession, mlflow_template: Path, tmp_path: Path) -> None:
    """Its file is a configuration, its commands end well and go on with one study, its lines of Python give what stands below them."""
    night = Night(tmp_path / "p")
    conf, text = night.place.folder / "conf", GUIDE.read_text()
    (night.place.folder / "data").mkdir(exist_ok=True)
    shutil.copyfile(mlflow_template, night.place.folder / "data" / "mlflow.db")
    data = table(800).to_pandas()
    rows = data.astype(object).where(data.notna(), None)
    frame = spark.createDataFrame(rows, "x double, n bigint, c string, label int, split string, row_position bigint")
    snapshot = night.place.tables(spark).overwrite("training_set_t", frame.coalesce(1).sortWithinPartitions("row_position")).snapshot
    made = TrainingSet("t", snapshot, {}, "0" * 16, len(data))
    night.enter("training-set", asdict(made), as_of="2020-02-01", target="tiny", window="..2020-01-01T00:00:00+00:00")
    (written,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (conf / "projects" / "tiny" / "tuning.yaml").write_text(written)

    said = []
    for command in "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines():
        program, *words = shlex.split(command)
        done = CliRunner().invoke(app, [*words, "--conf", str(conf)])
        assert (program, done.exit_code) == ("sparkml-ops", 0), done.output
        said.append(done.stderr)
    globs = {"ops": ops, "conf": conf, "project": ops.Project.open(conf, "tiny", spark=spark)}
    found, attempted = doctest.testfile(str(GUIDE), module_relative=False, globs=globs)

    assert "the best of 4 trials (4 complete, 0 pruned, 0 failed)" in said[1]
    assert "the best of 6 trials" in said[2]
    assert (found, attempted) == (0, 4)
    study = night.work.storage.list("tuning")
    assert sum(name.endswith("/finished.json") for name in study) == 6
