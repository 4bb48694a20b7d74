"""How each kind of channel says what happened."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

from sparkml_ops import clock
from sparkml_ops.alerts.address import post
from sparkml_ops.alerts.stored import AlertEvent
from sparkml_ops.config.channels import AlertmanagerChannel, Channel, MailChannel, WebhookChannel
from sparkml_ops.config.secret import reveal

__all__ = ["Notice", "send", "signature"]

_TOLD = (
    "kind policy subject severity owner runbook meaning model version window value limit said note".split()  # noqa: SIM905  (a list of twelve words)
)
_LASTS = timedelta(days=365)  # Alertmanager resolves by itself what nobody ends: we say when it is over


@dataclass(frozen=True)
class Notice:
    """An event on its way to people.

    Args:
        project: Whose alert it is.
        event: What happened.
        opened: Wall clock of the opening.
    """

    project: str
    event: AlertEvent
    opened: datetime

    def to_document(self) -> dict[str, Any]:
        """What leaves the house: names, figures and addresses; no row, no key."""
        figures = ("column", "segment", "statistic", "value", "lower", "upper", "threshold", "effect", "table")
        causes = [{name: cause[name] for name in figures if name in cause} for cause in self.event.causes]
        told = {name: getattr(self.event, name) for name in _TOLD}
        return {"event_id": self.event.id, "project": self.project, "at": self.event.at.isoformat(), "causes": causes, **told}


def send(channel: Channel, notices: Sequence[Notice], timeout: float) -> None:
    """Say some events by a channel, all or none.

    Args:
        notices: In the order in which they are said; of a webhook one.
        timeout: Seconds for each step.

    Raises:
        Exception: None was taken, as far as anybody can tell.
    """
    if isinstance(channel, WebhookChannel):
        (notice,) = notices
        _post_signed(channel, notice, timeout)
    elif isinstance(channel, AlertmanagerChannel):
        body = json.dumps([_alert(notice) for notice in notices]).encode()
        post(channel, "/api/v2/alerts", body, _bearer(channel.token), timeout=timeout)
    else:
        _mail(channel, notices, timeout)


def signature(secret: str, stamp: str, body: bytes) -> str:
    """What a receiver computes anew: HMAC-SHA256 of `<timestamp>.<body>` by the shared secret, in hexadecimal digits.

    A receiver compares it in constant time, refuses old timestamps, and drops an `Idempotency-Key` that it has seen.

    >>> signature("key", "1700000000", b"{}")[:16]
    '9d713ed406bb7076'
    """
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()


def _post_signed(channel: WebhookChannel, notice: Notice, timeout: float) -> None:
    body, stamp = json.dumps(notice.to_document(), sort_keys=True).encode(), str(int(clock.wall().timestamp()))
    headers = {
        "Idempotency-Key": notice.event.id,
        "X-Sparkml-Timestamp": stamp,
        "X-Sparkml-Signature": f"sha256={signature(reveal(channel.secret), stamp, body)}",
        **_bearer(channel.token),
    }
    post(channel, "" if channel.path is None else reveal(channel.path), body, headers, timeout=timeout)


def _alert(notice: Notice) -> dict[str, Any]:
    """In Alertmanager's words; its labels are the alert's identity there, so they do not change while it lasts."""
    event = notice.event
    ends = clock.wall() if event.kind == "resolved" else clock.wall() + _LASTS
    labels = {
        "alertname": event.policy,
        "project": notice.project,
        "model": event.model,
        "subject": event.subject,
        "severity": event.severity,
        "owner": event.owner,
        "fingerprint": event.fingerprint,
    }
    notes = {"summary": event.said, "description": event.meaning, "runbook_url": event.runbook, "window": event.window, "event_id": event.id}
    return {"labels": labels, "annotations": notes, "startsAt": notice.opened.isoformat(), "endsAt": ends.isoformat()}


def _mail(channel: MailChannel, notices: Sequence[Notice], timeout: float) -> None:
    context = ssl.create_default_context(cafile=channel.ca_file)
    if channel.tls == "implicit":
        server: smtplib.SMTP = smtplib.SMTP_SSL(channel.host, channel.port, timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(channel.host, channel.port, timeout=timeout)
    with server:
        if channel.tls == "starttls":
            server.starttls(context=context)
        if channel.user is not None and channel.password is not None:
            server.login(channel.user, reveal(channel.password))
        server.send_message(_message(channel, notices))


def _message(channel: MailChannel, notices: Sequence[Notice]) -> EmailMessage:
    """One mail; sent twice it has the same Message-ID, by which mail programs show it once."""
    message, first = EmailMessage(), notices[0]
    more = f" and {len(notices) - 1} more" if len(notices) > 1 else ""
    message["Subject"] = _line(f"[{first.event.severity}] {first.project}: {first.event.policy} {first.event.kind}{more}")
    message["From"], message["To"] = channel.sender, ", ".join(channel.recipients)
    digest = hashlib.sha256(" ".join(notice.event.id for notice in notices).encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@{channel.sender.partition('@')[2]}>"
    message.set_content("\n\n".join(_paragraph(notice) for notice in notices))
    return message


def _paragraph(notice: Notice) -> str:
    event = notice.event
    lines = (
        f"{event.kind} ({event.severity}): {event.policy}{f', {event.subject}' if event.subject else ''}",
        event.said or event.note,
        event.meaning,
        f"owner {event.owner}, runbook {event.runbook}",
        f"sparkml-ops alerts show {event.fingerprint} --project {notice.project}",
    )
    return "\n".join(line for line in lines if line)


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {reveal(token)}"}


def _line(text: str) -> str:
    return " ".join(text.split())
