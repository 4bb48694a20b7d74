"""A real Spark cluster of processes on loopback: a master, workers, and the drivers that use them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pyspark

__all__ = ["StandaloneCluster"]

_DEPLOY = "org.apache.spark.deploy"
_OWN = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": "127.0.0.1"}


class StandaloneCluster:
    """A master and its workers; `close` ends them and every process started beside them.

    Args:
        folder: For logs and the workers' files.
        workers: How many.
        cores: Slots of each worker.
        environment: The whole environment of master and workers; executors inherit it. By default this process's.
        spark_home: The Spark that they run; by default the one that is imported here.
        gpus: GPUs that each worker says it has, whether the machine has them or not.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int,
        cores: int,
        environment: Mapping[str, str] | None = None,
        spark_home: Path | None = None,
        gpus: int = 0,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "log").open("w")
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.master = f"spark://127.0.0.1:{port}"
        spark_class = str((spark_home or Path(pyspark.__file__).parent) / "bin" / "spark-class")
        host = ["--host", "127.0.0.1", "--webui-port", "0"]
        self.start(spark_class, f"{_DEPLOY}.master.Master", *host, "--port", port, environment=environment)
        if gpus:
            environment = {**(os.environ if environment is None else environment), "SPARK_WORKER_OPTS": self._announce(gpus)}
        for number in range(workers):
            place = ["--cores", str(cores), "--memory", "1g", "--work-dir", str(folder / f"work-{number}")]
            self.start(spark_class, f"{_DEPLOY}.worker.Worker", *host, *place, self.master, environment=environment)

    def _announce(self, gpus: int) -> str:
        """Options of a worker whose administrator has given it GPUs."""
        script = self.folder / "gpus.sh"
        script.write_text("#!/bin/sh\necho '" + json.dumps({"name": "gpu", "addresses": [str(number) for number in range(gpus)]}) + "'\n")
        script.chmod(0o755)
        return f"-Dspark.worker.resource.gpu.amount={gpus} -Dspark.worker.resource.gpu.discoveryScript={script}"

    @property
    def log(self) -> str:
        """What all of them have said, its end."""
        return (self.folder / "log").read_text()[-5000:]

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process that ends with the cluster."""
        environment = {**(os.environ if environment is None else environment), **_OWN}
        process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=self._log, stderr=self._log, start_new_session=True)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End what was started."""
        for process in reversed(self._processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        self._log.close()
