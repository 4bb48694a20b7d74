"""An object store on loopback, and a Spark session that knows it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from object_store import BUCKET, SECRET, ObjectStore
from pyspark.sql import SparkSession
from tiny_plans import FEW_ROWS
from tiny_project import Place

from sparkml_ops import session


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A server with an empty bucket; a process of its own, since its clients do not let go of Python's lock."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("moto") / "log"
    own = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    own |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
    with pytest.MonkeyPatch.context() as patch, log.open("w") as said:
        for name, value in own.items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with subprocess.Popen(command, stdout=said, stderr=said) as server:
            try:
                _wait(port, log)
                boto3.client("s3").create_bucket(Bucket=BUCKET)
                yield ObjectStore(endpoint)
            finally:
                server.terminate()


@pytest.fixture(scope="session")
def spark(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of this lane."""
    section = store.spark
    settings: Mapping[str, str] = {"spark.local.dir": str(tmp_path_factory.mktemp("spark")), **FEW_ROWS, **section["conf"]}
    built = session.build(session.SparkSection(master="local[2]", driver_memory="1g", packages=section["packages"], conf=dict(settings)))
    yield built
    built.stop()


@pytest.fixture(scope="session")
def places(store: ObjectStore, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Place]:
    """The same project twice, up to its training set: in the object store, and in a folder."""
    folder = tmp_path_factory.mktemp("places")
    found = Place(folder / "store", base=store.base("tiny"), spark=store.spark), Place(folder / "disk")
    for place in found:
        place.prepare(spark, train=False)
    return found


def _wait(port: int, log: Path) -> None:
    limit = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.1)
        else:
            return
