"""Runs: one for each key, whatever happens to the process that logs."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow.artifacts
import pytest
from mlflow import MlflowClient

from sparkml_ops.errors import ContractError
from sparkml_ops.tracking import Tracking


def restarted(tracking: Tracking) -> Tracking:
    """The same store, opened by another process."""
    return Tracking(tracking.uri, tracking.experiment, tracking.artifact_root)


def client_of(tracking: Tracking) -> MlflowClient:
    """MLflow's own view of the store."""
    return MlflowClient(tracking_uri=tracking.uri)


def test_a_restarted_verb_continues_its_run(tracking: Tracking) -> None:
    """The run of a key is found again and is running again, although it had ended."""
    first = tracking.run("train/flights/1", "first try", {"verb": "train"})
    first.finish("FAILED")

    again = restarted(tracking).run("train/flights/1", "second try", {"verb": "train"})

    assert again.run_id == first.run_id
    found = client_of(tracking).get_run(again.run_id)
    assert found.info.status == "RUNNING"
    assert found.data.tags["sparkml_ops.run_key"] == "train/flights/1"
    assert (found.info.run_name, found.data.tags["verb"]) == ("first try", "train")


def test_another_key_is_another_run(tracking: Tracking) -> None:
    """Two pieces of work have two runs."""
    assert tracking.run("train/flights/1", "a").run_id != tracking.run("train/flights/2", "a").run_id


def test_of_two_first_runs_both_drivers_take_the_older(tracking: Tracking) -> None:
    """Where two drivers made a run at once, everybody continues the same one."""
    first = tracking.run("train/flights/1", "a").run_id
    client = client_of(tracking)
    client.create_run(client.get_run(first).info.experiment_id, tags={"sparkml_ops.run_key": "train/flights/1"})

    assert restarted(tracking).run("train/flights/1", "a").run_id == first


@pytest.mark.parametrize("key", ["", "it's", "a`b", "a\nb", "x" * 501])
def test_a_key_that_cannot_be_searched_is_refused(tracking: Tracking, key: str) -> None:
    """MLflow's filter has no escape for quotes."""
    with pytest.raises(ContractError, match="run key"):
        tracking.run(key, "a")


def test_the_experiment_keeps_its_artifacts_where_it_was_told(tracking: Tracking, tmp_path: Path) -> None:
    """MLflow's own default would be a folder of the first caller's working directory."""
    run = tracking.run("train/flights/1", "a")
    run.log_document("report", {"auc": 0.75})

    assert list((tmp_path / "artifacts").rglob("report.json"))


def test_metrics_of_a_repeated_step_are_not_doubled(tracking: Tracking) -> None:
    """A resumed training reports its last epoch again; the curve keeps one point a step, the first one."""
    run = tracking.run("train/flights/1", "a")
    run.log_metrics({"loss": 0.7, "auc": 0.6}, 0)
    run.log_metrics({"loss": 0.6}, 1)

    again = restarted(tracking).run("train/flights/1", "a")
    again.log_metrics({"loss": 0.65, "auc": 0.7}, 1)
    again.log_metrics({"loss": 0.5}, 2)
    again.log_metrics({"loss": 0.4}, 2)

    client = client_of(tracking)
    assert [(point.step, point.value) for point in client.get_metric_history(run.run_id, "loss")] == [(0, 0.7), (1, 0.6), (2, 0.5)]
    assert [(point.step, point.value) for point in client.get_metric_history(run.run_id, "auc")] == [(0, 0.6), (1, 0.7)]


def test_a_parameter_that_changed_on_resume_is_kept_beside_the_first(tracking: Tracking) -> None:
    """MLflow never changes a parameter; a run may be resumed on another number of workers."""
    tracking.run("train/flights/1", "a").log_params({"workers": 2, "seed": 7})

    again = restarted(tracking).run("train/flights/1", "a")
    again.log_params({"workers": 3, "seed": 7, "epochs": 4})

    data = client_of(tracking).get_run(again.run_id).data
    assert data.params == {"workers": "2", "seed": "7", "epochs": "4"}
    assert {key: value for key, value in data.tags.items() if "resumed" in key} == {"sparkml_ops.resumed.workers": "3"}


def test_more_than_one_request_of_metrics_and_parameters(tracking: Tracking) -> None:
    """MLflow takes 1,000 metrics or 100 parameters at once."""
    run = tracking.run("train/flights/1", "a")
    run.log_params({f"p{index}": index for index in range(101)})
    run.log_metrics({f"m{index}": index for index in range(1001)}, 0)

    data = client_of(tracking).get_run(run.run_id).data
    assert (len(data.params), len(data.metrics)) == (101, 1001)


def test_figures_and_documents_have_the_names_they_are_given(tracking: Tracking, tmp_path: Path) -> None:
    """A picture is named by its place in the run, not by the file that it came from."""
    picture = tmp_path / "tmp123.png"
    picture.write_bytes(b"\x89PNG")
    run = tracking.run("train/flights/1", "a")
    run.log_figure("learning_curve", picture)
    run.log_figure("figures/roc.png", picture)
    run.log_document("reports/gates", {"passed": True})

    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.run_id, tracking_uri=tracking.uri, dst_path=str(tmp_path / "down")))
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "figures/roc.png",
        "learning_curve.png",
        "reports/gates.json",
    ]
    assert json.loads((folder / "reports/gates.json").read_text()) == {"passed": True}


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", ""])
def test_an_artifact_stays_under_its_run(tracking: Tracking, name: str) -> None:
    """A name that climbs out of the run is refused."""
    with pytest.raises(ContractError, match="artifact name"):
        tracking.run("train/flights/1", "a").log_document(name, {})


def test_an_unknown_run_is_an_error(tracking: Tracking) -> None:
    """Registration asks for a run by its id."""
    tracking.run("train/flights/1", "a")
    with pytest.raises(ContractError, match="no run '0000'"):
        tracking.existing("0000")
