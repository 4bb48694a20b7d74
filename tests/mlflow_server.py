"""A real MLflow server on loopback, which can fall silent and answer again; a start of it costs many seconds, so that it is not ended in between."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["MlflowServer"]


class MlflowServer:
    """A server process with a store and a port of its own.

    Args:
        folder: Where its log lies, its artifacts, and its store, unless that is elsewhere.
        store: Address of another store.
        path: Folder with packages that the server needs besides ours.
    """

    def __init__(self, folder: Path, store: str | None = None, path: Path | None = None) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        kept = ["--backend-store-uri", store or f"sqlite:///{self._folder / 'mlflow.db'}", "--default-artifact-root", str(self._folder / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", *kept]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if path is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(path))))
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        limit = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < limit, self.log
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """What it has said, its end."""
        return (self._folder / "server.log").read_text()[-3000:]

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer what it was asked meanwhile."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
