"""Posting to a host whose address is checked, held, and looked at again once it is connected."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlparse

from sparkml_ops.config.channels import HttpChannel, Network

__all__ = ["Refused", "allowed_addresses", "network_of", "post"]

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_LONGEST_ANSWER = 300


class Refused(Exception):
    """The other side, or an address, is not to be talked to, or said no.

    Args:
        said: Why.
        final: Whether a further attempt would end so as well.
    """

    def __init__(self, said: str, *, final: bool = True) -> None:
        super().__init__(said)
        self.final = final


@dataclass(frozen=True)
class _Target:
    host: str
    port: int
    path: str
    secure: bool


def network_of(address: str) -> Network | None:
    """Which network an address is of; None for what nobody may post to: link-local (where clouds keep credentials), multicast, reserved.

    >>> [network_of(text) for text in ("127.0.0.1", "10.1.2.3", "93.184.215.14", "169.254.169.254", "::ffff:10.0.0.1", "0.0.0.0")]
    ['loopback', 'private', 'public', None, 'private', None]
    """
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return network_of(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found in _TRANSLATED:
            return None  # another address inside
    if found.is_loopback:
        return "loopback"
    if found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved:
        return None
    return "public" if found.is_global else "private" if found.is_private else None


def allowed_addresses(host: str, port: int, networks: tuple[Network, ...]) -> list[str]:
    """The addresses of a host, each of an allowed network.

    Raises:
        Refused: One is not: then none is used, because the next look-up may give that one alone.
    """
    try:
        found = list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    except OSError as error:
        raise Refused(f"{host} has no address ({error})", final=False) from error
    if bad := [address for address in found if network_of(address) not in networks]:
        raise Refused(f"{host} is at {bad[0]}, which is not {' or '.join(networks)}")
    return found


def post(channel: HttpChannel, path: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> None:
    """Post once; an answer that sends elsewhere is a refusal.

    Args:
        path: Added to that of the channel's url.
        timeout: Seconds for each step.

    Raises:
        Refused: An address is not allowed, the certificate is wrong, or the answer is not 2xx.
        OSError: The other side is away.
    """
    found = urlparse(channel.url)
    secure = found.scheme == "https"
    query = f"?{found.query}" if found.query else ""
    target = _Target(found.hostname or "", found.port or (443 if secure else 80), (found.path.rstrip("/") + path or "/") + query, secure)
    address = allowed_addresses(target.host, target.port, channel.networks)[0]
    connection = _Pinned(target, address, channel, timeout)
    try:
        connection.request("POST", target.path, body, {"Content-Type": "application/json", "User-Agent": "sparkml-ops", **headers})
        answer = connection.getresponse()
        said = answer.read(_LONGEST_ANSWER).decode(errors="replace").strip()
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"the certificate of {target.host}: {error.verify_message}") from error
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        raise Refused(f"{target.host} answers {answer.status} and sends elsewhere, which is not followed")
    if not 200 <= answer.status < 300:
        # 408 and 429 ask for another attempt, and so does what the server calls its own fault.
        raise Refused(f"{target.host} answers {answer.status}: {said}", final=answer.status < 500 and answer.status not in (408, 429))


class _Pinned(http.client.HTTPConnection):
    """A connection to one address that was checked; the name is for the certificate and the header alone."""

    def __init__(self, target: _Target, address: str, channel: HttpChannel, timeout: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout)
        self._target, self._address, self._channel = target, address, channel

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if (peer := str(self.sock.getpeername()[0])) != self._address or network_of(peer) not in self._channel.networks:
            raise Refused(f"{self._target.host} was to be {self._address} and is {peer}")
        if self._target.secure:
            context = ssl.create_default_context(cafile=self._channel.ca_file)
            self.sock = context.wrap_socket(self.sock, server_hostname=self._target.host)
