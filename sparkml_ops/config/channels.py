"""Options of the channels by which people are told of alerts."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlparse

from pydantic import Field, model_validator

from sparkml_ops.config.section import Section

__all__ = ["AlertmanagerChannel", "Channel", "ChannelBase", "HttpChannel", "MailChannel", "Network", "WebhookChannel"]

Network = Literal["public", "private", "loopback"]
_REFERENCE = r"^secret://(env|file)/\S+$"


class ChannelBase(Section):
    """What every channel says."""

    severities: tuple[Literal["log", "ticket", "page"], ...] = Field(
        default=("ticket", "page"), min_length=1, description="alerts of which severity it takes"
    )
    timeout: float = Field(default=10.0, gt=0, le=120, description="seconds for one attempt to connect, to send, or to be answered")
    attempts: int = Field(default=3, ge=1, le=10, description="attempts in one check, with growing pauses; the next check tries again")
    ca_file: str | None = Field(default=None, description="file with the certificates that the other side's is checked by; null: the system's")


class HttpChannel(ChannelBase):
    """A channel that posts to an address, over addresses that are checked and then held."""

    url: str = Field(description="where to")
    hosts: tuple[str, ...] = Field(min_length=1, description="host names that may be posted to: the one in url must be among them")
    networks: tuple[Network, ...] = Field(
        default=("public",),
        min_length=1,
        description="where the host may resolve to: public addresses, private ones (10/8, 172.16/12, 192.168/16, fc00::/7), this machine",
    )
    token: str | None = Field(
        default=None, pattern=_REFERENCE, description="sent as `Authorization: Bearer`; secret://env/NAME or secret://file/PATH"
    )

    @model_validator(mode="after")
    def _allowed_host(self) -> Self:
        found = urlparse(self.url)
        if found.scheme not in self._schemes():
            raise ValueError(f"url with {found.scheme or 'no scheme'}: {' or '.join(self._schemes())} only")
        if found.username is not None or found.password is not None:
            raise ValueError("a password stands in the url: use token")
        if found.hostname is None or found.hostname not in self.hosts:
            raise ValueError(f"url goes to {found.hostname}, which hosts does not allow ({', '.join(self.hosts)})")
        return self

    def _schemes(self) -> tuple[str, ...]:
        return ("https",)


class WebhookChannel(HttpChannel):
    """A signed post for each event, over HTTPS; it holds names, figures and addresses, never a row."""

    kind: Literal["webhook"]
    secret: str = Field(pattern=_REFERENCE, description="key of the signature; secret://env/NAME or secret://file/PATH")
    path: str | None = Field(
        default=None,
        pattern=_REFERENCE,
        description="what follows url, where the address itself is the secret; secret://env/NAME or secret://file/PATH",
    )


class AlertmanagerChannel(HttpChannel):
    """Prometheus Alertmanager, version 2 of its interface; plain HTTP only where public addresses are not allowed."""

    kind: Literal["alertmanager"]

    def _schemes(self) -> tuple[str, ...]:
        return ("https",) if "public" in self.networks else ("https", "http")


class MailChannel(ChannelBase):
    """A mail for each check that has news."""

    kind: Literal["mail"]
    host: str = Field(min_length=1, description="the mail server")
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "implicit"] = Field(default="starttls", description="how the connection is made secret; there is no other way")
    user: str | None = Field(default=None, description="null: without signing in")
    password: str | None = Field(default=None, pattern=_REFERENCE, description="secret://env/NAME or secret://file/PATH")
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    recipients: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _signs_in_wholly(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password: both, or neither")
        return self


Channel = Annotated[WebhookChannel | AlertmanagerChannel | MailChannel, Field(discriminator="kind")]
