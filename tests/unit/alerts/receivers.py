"""Real servers on this machine that take alerts: HTTPS with a certificate made on the spot, and mail over TLS."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Certificate", "Received", "alertmanager", "certificate", "https", "mail"]


@dataclass(frozen=True)
class Certificate:
    """A certificate of its own authority, for localhost."""

    file: Path

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.file)
        return made


@dataclass
class Received:
    """What a server was sent, and what it answers next: 200 when nothing is said."""

    port: int = 0
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    gone: bool = False

    def documents(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.posts]


def certificate(folder: Path) -> Certificate:
    """A new one, for `localhost` alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "localhost.pem"
    file.write_bytes(plain + made.public_bytes(serialization.Encoding.PEM))
    return Certificate(file)


@contextmanager
def https(made: Certificate) -> Iterator[Received]:
    """A server that takes posts."""
    received = Received()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if received.gone:
                self.connection.close()
                return
            received.posts.append((self.path, dict(self.headers), body))
            self.send_response(received.answers.pop(0) if received.answers else 200)
            self.send_header("Location", f"https://localhost:{received.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = made.context().wrap_socket(server.socket, server_side=True)
    with _serving(server, received):
        yield received


@contextmanager
def mail(made: Certificate) -> Iterator[Received]:
    """A mail server over TLS that asks who is there."""
    received = Received()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.request.do_handshake()
            self.say("220 localhost")
            while line := self.rfile.readline().decode().strip():
                word = line.split()[0].upper()
                if word == "EHLO":
                    self.say("250-localhost")
                    self.say("250 AUTH PLAIN")
                elif word == "AUTH":
                    self.say("235 welcome" if line.endswith("AGFkYQBwYXNz") else "535 who is that")  # \0ada\0pass
                elif word == "DATA":
                    self.say("354 go on")
                    lines: list[str] = []
                    while (text := self.rfile.readline().decode()) != ".\r\n":
                        lines.append(text)
                    received.mails.append("".join(lines))
                    self.say("250 taken")
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 fine")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = made.context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with _serving(server, received):
        yield received


@contextmanager
def alertmanager(program: str, folder: Path) -> Iterator[str]:
    """Its address, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "alertmanager.yml"
    settings.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    options = (
        f"--config.file={settings}",
        f"--storage.path={folder / 'held'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/-/ready", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield address
        finally:
            process.terminate()


@contextmanager
def _serving(server: socketserver.TCPServer, received: Received) -> Iterator[None]:
    received.port = server.server_address[1]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that went away
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
