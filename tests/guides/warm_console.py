"""`sparkml-ops` for a shell, without a start of Python and a JVM for each command.

A server that has imported everything forks a process for each call; it attaches to a running JVM, as a notebook's Python does.
A call is a small program on the shell's PATH that hands over its arguments, folder and streams, and ends with the exit code.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

from pyspark.sql import SparkSession
from running_session import attach, keys
from warm_imports import warm

__all__ = ["WarmConsole"]

CALL = """#!{python} -IS
import json, os, socket, sys

door = socket.socket(socket.AF_UNIX)
door.connect({door!r})
socket.send_fds(door, [json.dumps({{"argv": sys.argv[1:], "folder": os.getcwd()}}).encode()], [0, 1, 2])
sys.exit(int(door.recv(16)))
"""


class WarmConsole:
    """A folder with the program, and the server behind it.

    Args:
        spark: A session of the JVM.
        folder: An empty one.
    """

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.folder = folder
        program, door = folder / "sparkml-ops", str(folder / "door")
        program.write_text(CALL.format(python=sys.executable, door=door))
        program.chmod(0o755)
        self._server = subprocess.Popen([sys.executable, __file__, door], env=keys(spark), stdout=subprocess.PIPE, text=True)
        assert self._server.stdout
        assert self._server.stdout.readline() == "open\n"

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.communicate(timeout=60)


def serve(path: str) -> None:
    """Answer calls, one after the other."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen()
    print("open", flush=True)
    while True:
        call, _ = door.accept()
        message, streams, _, _ = socket.recv_fds(call, 65_536, 3)
        if not (child := os.fork()):
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            os._exit(run(**json.loads(message)))
        call.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
        for stream in streams:
            os.close(stream)
        call.close()


def run(argv: list[str], folder: str) -> int:
    """The console script's `main` in the caller's folder; its exit code."""
    from sparkml_ops.cli import main

    os.chdir(folder)
    sys.argv = ["sparkml-ops", *argv]
    try:
        attach()
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 5
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    warm()
    serve(sys.argv[1])
