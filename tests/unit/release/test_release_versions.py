"""The list of a model's versions: registry, gates and events side by side, without Spark."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow_store import artifact, mlflow_template, tracking, training_set
from tiny_project import Place
from typer.testing import CliRunner

from feature_store.delta import Tables
from feature_store.records import TrainingSet
from sparkml_ops import embedded
from sparkml_ops.cli.app import app
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact as files
from sparkml_ops.records import GateReport, GateResult
from sparkml_ops.release import champion_at, store_report
from sparkml_ops.release.events import ModelEvent, append_event
from sparkml_ops.release.versions import Difference, differences, version_page, versions
from sparkml_ops.tracking import Tracking

__all__ = ["artifact", "mlflow_template", "tracking", "training_set"]

INPUTS, OUTPUTS = (("distance", "double"), ("seats", "int"), ("carrier", "string")), (("probability", "double"),)
FIRST, SECOND = datetime(2013, 8, 1, tzinfo=UTC), datetime(2013, 10, 1, tzinfo=UTC)


def no_spark() -> Any:
    raise AssertionError("Spark was asked for")


def event(number: int, old: int | None, new: int, at: datetime) -> ModelEvent:
    return ModelEvent(number, "tiny", "champion", old, new, at, "promote", f"report{new}", "me")


@pytest.fixture
def place(tracking: Tracking, artifact: Path, training_set: TrainingSet, tmp_path: Path) -> Place:
    """Two versions: the first was champion until the second, which one gate had refused at first."""
    place = Place(tmp_path / "place", base={"warehouse": {"root": "data/warehouse"}, "mlflow": {"tracking_uri": tracking.uri}})
    tables = Tables(no_spark, place.warehouse)
    other = replace(training_set, id="flights_ffff", inputs={**training_set.inputs, "planes": 1})
    for version, (data, rate) in enumerate(((training_set, "0.1"), (other, "0.2")), start=1):
        run = tracking.run(f"train/tiny/{version}", "a")
        run.log_params({"lr": rate, "epochs": 2})
        run.log_metrics({"auc": 0.7 + version / 100})
        tracking.register(run.run_id, artifact, name="tiny", training_set=data, inputs=INPUTS, outputs=OUTPUTS)
        for passed, at in ((version == 1, FIRST), (True, SECOND)):
            gates = (GateResult("auc", "pass" if passed else "fail", {"auc": 0.7}, {"at_least": 0.5}, ""),)
            report = GateReport("tiny", version, files.digest(artifact), f"rows{version}", "conf", passed, gates)
            store_report(tables, report, run_id=run.run_id, at=at)
    append_event(tables, event(1, None, 1, FIRST))
    append_event(tables, event(2, 1, 2, SECOND))
    tracking.set_alias("tiny", "champion", 2)
    return place


def test_each_version_has_the_last_word_of_its_gates(place: Place, tracking: Tracking) -> None:
    """And one that something else registered is listed too."""
    place_tables = Tables(no_spark, place.warehouse)
    tracking.open().create_model_version("tiny", source=str(place.folder), run_id=None)

    found = versions(place_tables, tracking, "tiny")

    assert [(entry.listed.version, entry.listed.aliases, entry.gates) for entry in found] == [
        (1, (), "passed"),
        (2, ("champion",), "passed"),
        (3, (), ""),
    ]
    assert found[2].listed.registered is None
    with pytest.raises(ContractError, match="version 3 of `tiny` without the tags"):
        version_page(place_tables, tracking, "tiny", 3)
    with pytest.raises(ContractError, match="no registered model `tny`"):
        versions(place_tables, tracking, "tny")


def test_two_versions_differ_in_what_made_them(place: Place, tracking: Tracking) -> None:
    """Equal files are no difference; of an alias its version counts."""
    tables = Tables(no_spark, place.warehouse)
    first, second = (version_page(tables, tracking, "tiny", which) for which in ("1", "champion"))

    assert differences(first, first) == ()
    assert differences(first, second) == (
        Difference("training set", "id", "flights_1a2b", "flights_ffff"),
        Difference("input", "planes", None, 1),
        Difference("parameter", "lr", "0.1", "0.2"),
        Difference("metric", "auc", 0.71, 0.72),
    )
    assert [item.to_version for item in first.events] == [1, 2]
    assert champion_at(tables, "tiny", datetime(2013, 9, 1, tzinfo=UTC)) == 1


def test_the_commands_say_the_same(place: Place) -> None:
    """As JSON and as a table; an instant before the first champion has none."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["models", *words, "--project", "tiny", "--conf", str(place.folder / "conf")])
        assert done.exit_code == 0, done.output
        return done.stdout

    listed = json.loads(run("list", "--json"))
    assert [(line["version"], line["aliases"], line["rows"]) for line in listed] == [(1, [], 20_000), (2, ["champion"], 20_000)]
    assert "flights_ffff" in run("list")
    shown = json.loads(run("show", "champion", "--json"))
    assert (shown["version"], shown["metrics"], shown["parameters"]["lr"]) == (2, {"auc": 0.72}, "0.2")
    assert [result["gate"] for result in shown["gate_results"]] == ["auc"]
    assert json.loads(run("diff", "1", "2", "--json"))[1] == {"kind": "input", "name": "planes", "before": None, "after": 1}
    assert "0.71" in run("diff", "1", "2")
    assert [item["to_version"] for item in json.loads(run("history", "--json"))] == [1, 2]
    assert [run("history", "--at", at).strip() for at in ("2013-07-01", "2013-09-01", "2013-10-01")] == ["none", "1", "2"]


def test_a_version_is_exported_or_not_written_at_all(place: Place, tmp_path: Path) -> None:
    """The file predicts what the registered artifact does; an approval that no gate asks for is refused with exit code 2."""
    options = ["--project", "tiny", "--conf", str(place.folder / "conf")]
    file = tmp_path / "out" / "tiny.onnx"
    done = CliRunner().invoke(app, ["models", "export", "champion", "--onnx", str(file), "--json", *options])
    asked = CliRunner().invoke(app, ["models", "approve", "champion", "--by", "grace", *options])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["version"], told["bytes"]) == (2, file.stat().st_size)
    assert told["difference"] < 1e-6
    assert embedded.load(file).digest == told["digest"]
    assert [path.name for path in file.parent.iterdir()] == ["tiny.onnx"]
    assert (asked.exit_code, "no gate of kind approval" in asked.output) == (2, True)
