"""The process that Python workers are forked from: what it has loaded, and when it leaves the work to Spark's own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sparkml_ops import daemon

PROGRAM = "import sparkml_ops.daemon as daemon\n{before}\ndaemon.main()"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()"

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the daemon counts its threads in /proc")


def started(before: str) -> tuple[str, int, str]:
    """Program, threads and loaded files of a daemon that answers; Spark ends it by closing its input."""
    command = [sys.executable, "-c", PROGRAM.format(before=before), "pyspark.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin
        assert running.stdout
        port = int.from_bytes(running.stdout.read(4), "big")  # where Spark asks for workers
        process = Path(f"/proc/{running.pid}")
        program, threads, maps = (process / "cmdline").read_bytes().decode(), len(list((process / "task").iterdir())), (process / "maps").read_text()
        running.stdin.close()
    assert port > 0
    return program, threads, maps


def test_what_workers_use_is_loaded_and_no_thread_runs() -> None:
    """A fork of a process with one thread is safe; the libraries are there before the first worker is."""
    program, threads, maps = started("")

    assert "sparkml_ops.daemon" in program
    assert threads == 1
    assert all(library in maps for library in ("libtorch", "libarrow", "/pandas/", "/deltalake/"))


def test_all_that_it_is_to_load_is_there() -> None:
    """A module that was renamed would be left out without a word."""
    assert [name for name in daemon.LOADED if find_spec(name) is None] == []


def test_with_a_second_thread_spark_s_own_daemon_takes_over() -> None:
    """Whatever started it: what Spark does by itself is always right."""
    program, threads, maps = started(f"{THREAD}\ndaemon.LOADED = ('pyarrow',)")

    assert "-m\0pyspark.daemon\0pyspark.worker" in program
    assert threads == 1
    assert "libarrow" not in maps
