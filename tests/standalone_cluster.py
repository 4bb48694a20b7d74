"""A real Spark cluster of processes on loopback: a master, workers, and the drivers that use them."""

from __future__ import annotations

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
    """

    def __init__(
        self, folder: Path, *, workers: int, cores: int, environment: Mapping[str, str] | None = None, spark_home: Path | None = None
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
        for number in range(workers):
            place = ["--cores", str(cores), "--memory", "1g", "--work-dir", str(folder / f"work-{number}")]
            self.start(spark_class, f"{_DEPLOY}.worker.Worker", *host, *place, self.master, environment=environment)

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
