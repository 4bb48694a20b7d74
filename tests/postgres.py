"""A PostgreSQL of a test's own, below a folder, on a socket of the file system and a port of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = ["absent", "driver_folder", "postgres"]

_USER = "postgres"


def absent() -> str:
    """What is missing for such a server; empty: nothing."""
    if not _program("initdb"):
        return "no PostgreSQL (initdb) on this machine"
    if os.getuid() == 0 and subprocess.run(["id", _USER], capture_output=True).returncode:
        return f"no user {_USER}, and PostgreSQL does not run as root"
    return "" if find_spec("psycopg2") or driver_folder() else "no psycopg2 on this machine"


def driver_folder() -> Path | None:
    """Where the system's own Python has psycopg2, if it is of our version."""
    if (python := shutil.which("python3", path=os.defpath)) is None:
        return None
    told = "import psycopg2, sys; print(tuple(sys.version_info[:2]), psycopg2.__path__[0], sep='\\n')"
    done = subprocess.run([python, "-c", told], capture_output=True, text=True)
    version, _, place = done.stdout.strip().partition("\n")
    return Path(place) if version == str(tuple(sys.version_info[:2])) else None


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a running server with an empty database.

    Args:
        folder: New; every folder above it can be entered by everybody.
    """
    folder.mkdir()
    user = {"user": _USER} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, _USER)
    data = folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _run(_program("initdb"), "-D", data, "-U", "mlflow", "--auth=trust", "--no-sync", cwd=folder, **user)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    _run(_program("pg_ctl"), "-D", data, "-w", "-l", folder / "log", "-o", options, "start", cwd=folder, **user)
    try:
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        _run(_program("pg_ctl"), "-D", data, "-m", "immediate", "stop", cwd=folder, **user)


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    if config := shutil.which("pg_config"):
        beside = Path(subprocess.run([config, "--bindir"], capture_output=True, text=True).stdout.strip(), name)
        return str(beside) if beside.is_file() else ""
    return ""


def _run(*command: str | Path, cwd: Path, **user: str) -> None:
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **user)
    assert done.returncode == 0, done.stderr
