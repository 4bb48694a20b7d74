"""Where the ranks of one attempt meet, and where their tasks learn that one of them failed.

One small HTTP server in the task of rank 0. It speaks the key-value protocol of Horovod's Gloo rendezvous (GET, PUT, DELETE of `/scope/key`) as
Horovod's own server does, but listens on one interface only and answers only to paths that begin with the run's secret token.
"""

from __future__ import annotations

import hmac
import http.client
import json
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Literal, cast

__all__ = ["Rendezvous", "Verdict", "Watch", "note"]

Verdict = Literal["go on", "failed", "hung"]


class Watch:
    """Signs of life of all ranks, and what they say about the attempt.

    A sign is a rank's meeting the others or a report. The attempt hangs when no rank at all has given one for `limit` seconds: a rank that
    waits in a collective for a busy one is in order.

    Args:
        size: Number of ranks.
        limit: Seconds without any sign.
        clock: Seconds that never run backwards.

    >>> watch = Watch(2, limit=10)
    >>> watch.note(0, signs=1), watch.note(1, signs=1, state="failed"), watch.note(0, signs=1)
    ('go on', 'failed', 'failed')
    """

    def __init__(self, size: int, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._signs = [0] * size
        self._ended = [False] * size
        self._failed = self._hung = False
        self._limit, self._clock = limit, clock
        self._last = clock()
        self._lock = threading.Condition()

    def note(self, rank: int, *, signs: int, state: str = "running") -> Verdict:
        """Take a rank's count of signs and its state (`running`, `ended`, `failed`)."""
        with self._lock:
            if signs > self._signs[rank] or (state != "running" and not self._ended[rank]):
                self._last = self._clock()
            self._signs[rank] = max(signs, self._signs[rank])
            self._ended[rank] = self._ended[rank] or state != "running"
            self._failed = self._failed or state == "failed"
            self._lock.notify_all()
            return self._verdict()

    def wait_until_all_ended(self, seconds: float) -> bool:
        """Wait until every rank's task has said that it ended."""
        with self._lock:
            return self._lock.wait_for(lambda: all(self._ended), seconds)

    def _verdict(self) -> Verdict:
        met = all(self._signs)  # until then the driver's start timeout rules
        if not self._failed and met and not all(self._ended) and self._clock() - self._last > self._limit:
            self._hung = True
        if self._hung:
            return "hung"  # to every rank, since only the stacks of all show which one the others wait for
        return "failed" if self._failed else "go on"


class Rendezvous:
    """The server of one attempt.

    Args:
        host: Address of the one interface to listen on.
        watch: What the ranks' tasks report to.
    """

    def __init__(self, host: str, watch: Watch) -> None:
        self.watch = watch
        self.host = host
        self.token = secrets.token_hex(16)
        self._server = _Server((host, 0), watch, self.token)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="rendezvous")
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def note(host: str, port: int, token: str, rank: int, *, signs: int, state: str = "running") -> Verdict:
    """Tell the watch at a rendezvous how a rank is.

    Raises:
        OSError: Nobody answers there: the task of rank 0 is gone.
    """
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("POST", f"/{token}/watch/{rank}", json.dumps({"signs": signs, "state": state}))
        return cast("Verdict", json.loads(connection.getresponse().read())["verdict"])
    except (http.client.HTTPException, ValueError, KeyError) as error:
        raise ConnectionError(f"no answer from the rendezvous at {host}:{port}: {error!r}") from error
    finally:
        connection.close()


class _Server(socketserver.ThreadingTCPServer):
    # Not http.server.HTTPServer: it asks DNS for its own name before it listens.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], watch: Watch, token: str) -> None:
        self.watch, self.token = watch, token
        self.values: dict[str, bytes] = {}
        super().__init__(address, _Handler)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds that one request may take
    server: _Server

    def do_GET(self) -> None:
        """A value, or 404: Horovod's client asks again."""
        key = self._key()
        if key is not None:
            value = self.server.values.get(key)
            self._answer(404 if value is None else 200, value or b"")

    def do_PUT(self) -> None:
        """Store a value."""
        key = self._key()
        if key is not None:
            self.server.values[key] = self._body()
            self._answer(200)

    def do_DELETE(self) -> None:
        """Agree: a rank is done with a scope, which goes with the server anyway."""
        if self._key() is not None:
            self._answer(200)

    def do_POST(self) -> None:
        """Take a task's note of its rank and answer the verdict."""
        key = self._key()
        if key is not None:
            verdict = self.server.watch.note(int(key.removeprefix("watch/")), **json.loads(self._body()))
            self._answer(200, json.dumps({"verdict": verdict}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: ranks ask a hundred times a second while they meet."""

    def _key(self) -> str | None:
        # Horovod builds its addresses as http://<addr>:<port>/<scope>/<key>; with "<host>:<port>/<token>" for <addr> the first part is "<token>:<port>".
        first, _, key = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(first.partition(":")[0].encode(), self.server.token.encode()):
            self._answer(403)
            return None
        return key

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
