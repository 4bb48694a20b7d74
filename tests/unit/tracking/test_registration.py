"""Registration: one version for one artifact of one run, that plain MLflow can use."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import date
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from feature_store import hooks
from feature_store.records import TrainingSet
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import digest, load, save
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ArrayInput, ModelSpec, NumericInput
from sparkml_ops.tracking import Tracking

INPUTS = (("distance", "double"), ("seats", "int"), ("carrier", "string"))
OUTPUTS = (("probability", "double"),)
FRAME = pd.DataFrame({"distance": [500.0, None, 2000.0], "seats": [100, None, 180], "carrier": ["AA", None, "ZZ"]})

# An audit hook sees each class or function that an unpickler looks up; torch and others announce nothing else.
WATCHED = """
import pathlib, pickle, sys
pickled = pickle.dumps(pathlib.Path)
def watch(event, arguments):
    if event == "pickle.find_class":
        raise RuntimeError(f"unpickled {arguments}")
import mlflow.pyfunc, sparkml_ops.model.predictor, pandas as pd, json
sys.addaudithook(watch)
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/flights/1")
frame = pd.read_json(sys.argv[2], dtype={"distance": float, "seats": float})
print(json.dumps(model.predict(frame)["probability"].tolist()))
try:
    pickle.loads(pickled)
except RuntimeError:
    print("watched")
"""


def register(tracking: Tracking, artifact: Path, training_set: TrainingSet, key: str = "train/flights/1") -> int:
    """A verb's way: the run of its key, then the registration."""
    run = tracking.run(key, "a")
    return tracking.register(run.run_id, artifact, name="flights", training_set=training_set, inputs=INPUTS, outputs=OUTPUTS)


def client_of(tracking: Tracking) -> MlflowClient:
    """MLflow's own view of the store."""
    return MlflowClient(tracking_uri=tracking.uri)


def restarted(tracking: Tracking) -> Tracking:
    """The same store, opened by another process."""
    return Tracking(tracking.uri, tracking.experiment, tracking.artifact_root)


def test_the_same_artifact_of_the_same_run_is_one_version(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """Registering twice gives the same number and nothing new."""
    first = register(tracking, artifact, training_set)
    again = register(restarted(tracking), artifact, training_set)

    assert (first, again) == (1, 1)
    assert len(client_of(tracking).search_model_versions("name = 'flights'")) == 1


def test_another_run_is_another_version(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """A repeated training is another version, although its weights are the same."""
    register(tracking, artifact, training_set)

    assert register(tracking, artifact, training_set, key="train/flights/2") == 2


def test_a_version_carries_its_digest_and_its_training_set(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """Nothing ever searches for the reference of a model."""
    register(tracking, artifact, training_set)

    found = tracking.resolve("flights", 1)

    assert found.digest == digest(artifact)
    assert found.training_set == training_set
    assert found.record.training_set == training_set
    assert found.run_id == tracking.run("train/flights/1", "a").run_id
    assert training_set.content_hash in (client_of(tracking).get_model_version("flights", "1").description or "")


def points(tracking: Tracking, artifact: Path, training_set: TrainingSet, settings: dict[str, str]) -> int | None:
    """Register in a process of its own under hook settings; its exit code."""

    def work() -> None:
        os.environ[hooks.VARIABLE] = json.dumps(settings)
        register(restarted(tracking), artifact, training_set)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def test_a_registration_killed_anywhere_ends_in_one_run_and_one_version(
    mlflow_template: Path, tmp_path: Path, artifact: Path, training_set: TrainingSet
) -> None:
    """Killed at each point that it passes and run again, it leaves what an unbroken one leaves."""

    def store(name: str) -> Tracking:
        (tmp_path / name).mkdir()
        database = tmp_path / name / "mlflow.db"
        database.write_bytes(mlflow_template.read_bytes())
        return Tracking(f"sqlite:///{database}", "flights", str(tmp_path / name / "artifacts"))

    names = tmp_path / "names.txt"
    assert points(store("whole"), artifact, training_set, {"record": str(names)}) == 0
    passed = names.read_text().split()
    assert {"mlflow.create_run:after", "mlflow.log_model:after", "mlflow.create_version:after"} <= set(passed)

    for number, point in enumerate(passed):
        tracking = store(f"kill{number}")
        settings = {"kill": point, "once": str(tmp_path / f"killed{number}")}
        assert points(tracking, artifact, training_set, settings) == -signal.SIGKILL, point
        assert register(tracking, artifact, training_set) == 1, point

        client = client_of(tracking)
        experiment = client.get_experiment_by_name("flights")
        assert experiment is not None
        assert len(client.search_runs([experiment.experiment_id])) == 1, point
        assert len(client.search_model_versions("name = 'flights'")) == 1, point
        assert tracking.fetch(tracking.resolve("flights", 1), tmp_path / f"fetched{number}").is_dir(), point


def test_plain_mlflow_loads_it_without_pickle_in_a_fresh_process(
    tracking: Tracking, artifact: Path, training_set: TrainingSet, tmp_path: Path
) -> None:
    """`mlflow.pyfunc.load_model("models:/flights/1")` gives our predictions, and unpickles nothing."""
    register(tracking, artifact, training_set)
    FRAME.to_json(tmp_path / "frame.json")

    done = subprocess.run(
        [sys.executable, "-c", WATCHED, tracking.uri, str(tmp_path / "frame.json")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )

    assert done.returncode == 0, done.stderr
    predictions, watched = done.stdout.split("\n")[:2]
    assert watched == "watched"
    assert json.loads(predictions) == load(artifact).predict(FRAME).tolist()


def test_the_signature_takes_rows_with_gaps_and_whole_numbers(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """A null in a whole-number column, which pandas turns into a double, is filled by the model, not refused by MLflow."""
    register(tracking, artifact, training_set)
    model = mlflow.pyfunc.load_model(f"{tracking.resolve('flights', 1).source}")
    whole = FRAME.dropna().astype({"seats": "int64"})

    assert model.predict(FRAME)["probability"].notna().all()
    assert np.array_equal(model.predict(whole)["probability"], model.predict(FRAME.loc[whole.index])["probability"])


def test_the_signature_takes_arrays_and_dates_that_may_be_missing(tracking: Tracking, training_set: TrainingSet, tmp_path: Path) -> None:
    """Plain MLflow gives what our own model gives, and knows that an array is one."""
    array = ArrayInput("e", "array<float>", (0.5, 1.0), (1.0, 2.0), indicator=True)
    spec = ModelSpec("linear", (NumericInput("day", "date", 0.0, 15800.0, 30.0),), (), arrays=(array,))
    state = build(spec, 3).state_dict()
    save(tmp_path / "listed", spec, {name: torch.randn(value.shape, generator=torch.Generator().manual_seed(1)) for name, value in state.items()})
    run = tracking.run("train/flights/1", "a")
    tracking.register(run.run_id, tmp_path / "listed", name="flights", training_set=training_set, inputs=spec.inputs, outputs=OUTPUTS)
    model = mlflow.pyfunc.load_model(f"{tracking.resolve('flights', 1).source}")
    frame = pd.DataFrame({"e": [[0.5, 1.5], None, [None, 2.0]], "day": [date(2013, 7, 1), None, date(2013, 7, 2)]})

    assert np.array_equal(model.predict(frame)["probability"], load(tmp_path / "listed").predict(frame))
    with pytest.raises(MlflowException, match="e"):
        model.predict(frame.assign(e=0.5))


def test_a_missing_column_is_refused_by_the_signature(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """Plain MLflow names the input that is not there."""
    register(tracking, artifact, training_set)
    model = mlflow.pyfunc.load_model(f"{tracking.resolve('flights', 1).source}")

    with pytest.raises(MlflowException, match="seats"):
        model.predict(FRAME.drop(columns="seats"))


def test_the_input_example_is_nobodys_row(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """The example beside the model is made up from the types alone."""
    register(tracking, artifact, training_set)
    model = mlflow.pyfunc.load_model(f"{tracking.resolve('flights', 1).source}")

    assert model.input_example.to_dict("records") == [{"distance": 0.0, "seats": 0, "carrier": "unknown"}]


def test_an_input_that_mlflow_cannot_describe_is_refused(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """Lists and structs have no place in a table of numbers and words."""
    run = tracking.run("train/flights/1", "a")
    with pytest.raises(ContractError, match="`stops` of type array<int>"):
        tracking.register(run.run_id, artifact, name="flights", training_set=training_set, inputs=(("stops", "array<int>"),), outputs=OUTPUTS)


def test_mlflow_serves_it(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> None:
    """`mlflow models serve --env-manager local` answers with our predictions."""
    register(tracking, artifact, training_set)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/flights/1", "--env-manager", "local", "-p", str(port), "-w", "1"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking.uri, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        answer = ask(f"http://127.0.0.1:{port}/invocations", {"dataframe_split": json.loads(FRAME.to_json(orient="split"))}, server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)

    served = [row["probability"] for row in answer["predictions"]]
    assert np.allclose(served, load(artifact).predict(FRAME), rtol=1e-12)


def ask(url: str, question: dict[str, object], server: subprocess.Popen[str]) -> dict[str, list[dict[str, float]]]:
    """Post a question as soon as the server listens."""
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    for _ in range(600):
        assert server.poll() is None, server.stderr.read() if server.stderr else ""
        try:
            with urllib.request.urlopen(request) as reply:
                answer: dict[str, list[dict[str, float]]] = json.load(reply)
                return answer
        except ConnectionError:
            time.sleep(0.2)
        except urllib.error.HTTPError as error:
            pytest.fail(error.read().decode())
        except urllib.error.URLError:
            time.sleep(0.2)
    pytest.fail("the server did not listen within two minutes")
