"""The registry on a tracking server with PostgreSQL behind it, under names of three parts, as Unity Catalog has them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import MlflowServer
from postgres import absent, driver_folder, postgres

from feature_store.records import TrainingSet
from sparkml_ops.errors import ContractError
from sparkml_ops.tracking import Tracking, parse_uri

NAME = "main.travel.flights"
INPUTS = (("distance", "double"), ("seats", "int"), ("carrier", "string"))


@pytest.fixture(scope="module")
def server() -> Iterator[MlflowServer]:
    if missing := absent():
        pytest.skip(missing)
    # Not below pytest's own folders, which the database's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="mlflow-postgres-"))
    folder.chmod(0o755)
    try:
        with postgres(folder / "database") as address:
            found, drivers = driver_folder(), folder / "drivers"
            drivers.mkdir()
            if found is not None:
                (drivers / "psycopg2").symlink_to(found)
            server = MlflowServer(folder, address, drivers)
            try:
                yield server
            finally:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_version_goes_its_way_through_the_server(server: MlflowServer, artifact: Path, training_set: TrainingSet, tmp_path: Path) -> None:
    """Run, registration (twice the same), aliases that move and go, files that are verified, the list, and an error that says what is there."""
    tracking = Tracking(server.uri, "flights", None)
    run = tracking.run("train/flights/1", "a")
    told = {"name": NAME, "training_set": training_set, "inputs": INPUTS, "outputs": (("probability", "double"),), "units": {"distance": "mi"}}

    first = tracking.register(run.run_id, artifact, **told)
    assert tracking.register(run.run_id, artifact, **told) == first
    second = tracking.register(tracking.run("train/flights/2", "b").run_id, artifact, **told)
    tracking.set_alias(NAME, "champion", first)
    tracking.set_alias(NAME, "champion", second)
    tracking.set_alias(NAME, "canary-2", first)

    address = parse_uri(f"models:/{NAME}@champion")
    champion = tracking.resolve(address.name, address.which)
    assert (champion.version, champion.training_set, champion.units) == (second, training_set, {"distance": "mi"})
    folder = tracking.fetch(champion, tmp_path / "fetched")
    assert (folder / "weights.safetensors").read_bytes() == (artifact / "weights.safetensors").read_bytes()
    assert [(listed.version, listed.aliases) for listed in tracking.versions(NAME)] == [(first, ("canary-2",)), (second, ("champion",))]
    tracking.delete_alias(NAME, "canary-2")
    assert tracking.alias(NAME, "canary-2") is None
    with pytest.raises(ContractError, match=rf"no alias canary-2 of `{NAME}`; expected aliases champion; versions {second}, {first}"):
        tracking.resolve(NAME, "canary-2")
