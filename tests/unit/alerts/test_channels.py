"""Channels against real servers: what leaves the house, who may be talked to, and that nothing is lost or doubled."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest
from receivers import Certificate, Received, alertmanager, certificate, https, mail
from watched_project import COMMON, POLICIES, Watched

from sparkml_ops import alerts, clock
from sparkml_ops.alerts import outbox
from sparkml_ops.alerts.address import Refused, allowed_addresses, post
from sparkml_ops.config.channels import WebhookChannel
from sparkml_ops.config.load import load
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.verbs import alerts as verb

ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(made: Certificate) -> Iterator[Received]:
    with https(made) as received:
        yield received


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_PAUSE", 0.01)
    monkeypatch.setenv("HOOK_KEY", "a shared key")
    monkeypatch.setenv("MAIL_WORD", "pass")


def webhook(server: Received, made: Certificate, **changes: Any) -> dict[str, Any]:
    where = {"url": f"https://localhost:{server.port}/hook", "hosts": ["localhost"], "networks": ["loopback"], "ca_file": str(made.file)}
    return {"kind": "webhook", "secret": "secret://env/HOOK_KEY", "timeout": 5, **where, **changes}


def project(tmp_path: Path, channels: dict[str, Any], **policies: dict[str, Any]) -> Watched:
    rules = policies or {"poor": POLICIES["poor-scores"]}
    section = {"policies": rules, "channels": channels, "delivery_seconds": 20}
    return Watched(tmp_path / "p", f"alerts={json.dumps(section)}")


def poor(watched: Watched, as_of: str = "2020-03-01") -> verb.AlertCheck:
    watched.measured("2020-02", 0.5, as_of=as_of)
    return verb.check(watched.work, as_of=as_of)


class TestWebhook:
    def test_a_post_is_signed_and_says_no_more_than_it_should(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """A receiver that knows the key can tell that it is ours; names, figures and addresses, nothing else."""
        found = poor(project(tmp_path, {"ops": webhook(server, made)}))

        ((path, headers, body),) = server.posts
        stamp, document = headers["X-Sparkml-Timestamp"], json.loads(body)
        expected = hmac.new(b"a shared key", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert (path, found.delivered, found.waiting) == ("/hook", 1, 0)
        assert headers["X-Sparkml-Signature"] == f"sha256={expected}"
        assert headers["Idempotency-Key"] == document["event_id"] == found.opened[0].id
        assert document.keys() == {
            *("event_id", "project", "at", "causes", "kind", "policy", "subject", "severity", "owner", "runbook", "meaning"),
            *("model", "version", "window", "value", "limit", "said", "note"),
        }
        assert b"shared" not in body

    def test_an_opening_and_its_end_come_once_each(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """However often it is checked."""
        watched = project(tmp_path, {"ops": webhook(server, made)})
        poor(watched)
        watched.measured("2020-03", 0.9, as_of="2020-04-01")
        for _ in range(3):
            verb.check(watched.work, as_of="2020-04-01")

        assert [document["kind"] for document in server.documents()] == ["opened", "resolved"]

    def test_a_channel_that_is_away_gets_it_later_and_the_check_does_not_fail(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """What was not taken stays in the table, in order, under the same key."""
        watched = project(tmp_path, {"ops": webhook(server, made)})
        server.gone = True
        away = poor(watched)
        watched.measured("2020-03", 0.9, as_of="2020-04-01")
        still = verb.check(watched.work, as_of="2020-04-01")
        server.gone = False
        back = verb.check(watched.work, as_of="2020-04-01")

        assert [(found.delivered, len(found.failed), found.waiting) for found in (away, still, back)] == [(0, 1, 1), (0, 2, 2), (2, 0, 0)]
        assert [document["event_id"][-2:] for document in server.documents()] == [away.opened[0].id[-2:], still.resolved[0].id[-2:]]

    def test_busy_answers_are_tried_again_and_a_no_is_not(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """503 and 429 ask for patience; 403 will be the same at the next attempt; a redirect is not followed."""
        watched = project(tmp_path, {"ops": webhook(server, made)})
        server.answers = [503, 429]
        patient = poor(watched)
        watched.measured("2020-03", 0.9, as_of="2020-04-01")
        server.answers = [403]
        refused = verb.check(watched.work, as_of="2020-04-01")
        server.answers = [307]
        sent_on = verb.check(watched.work, as_of="2020-04-02")

        assert (patient.delivered, len(server.posts)) == (1, 5)
        assert "answers 403" in refused.failed[0]
        assert "sends elsewhere, which is not followed" in sent_on.failed[0]
        assert {path for path, _, _ in server.posts} == {"/hook"}

    def test_a_storm_is_told_in_portions_the_gravest_first(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """Thirty alerts at once: ten a check, none lost, none doubled."""
        columns = {f"c{number:02}": "drift" for number in range(29)}
        rules = {"columns": {"signal": "drift", "by": "column", **COMMON}, "poor": POLICIES["poor-scores"]}
        watched = project(tmp_path, {"ops": webhook(server, made)}, **rules)
        section = json.loads(watched.overrides[0].partition("=")[2]) | {"deliveries": 10}
        watched.overrides = (f"alerts={json.dumps(section)}",)
        watched.compared("2020-02", columns, as_of="2020-03-01")

        told = [poor(watched), *(verb.check(watched.work, as_of="2020-03-01") for _ in range(3))]

        assert [found.delivered for found in told] == [10, 10, 10, 0]
        assert server.documents()[0]["severity"] == "page"
        assert len({document["event_id"] for document in server.documents()}) == len(server.posts) == 30

    def test_who_died_while_telling_is_followed_by_another(
        self, tmp_path: Path, server: Received, made: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A claim keeps others away while it lasts; afterwards the same event is told under the same key."""
        watched = project(tmp_path, {"ops": webhook(server, made)})
        with monkeypatch.context() as dying:
            dying.setattr(verb.alerts, "deliver", lambda *_: [])  # killed before the first post: nothing is entered
            poor(watched)
        soon = verb.check(watched.work, as_of="2020-03-02")
        later = clock.wall() + timedelta(hours=1)
        monkeypatch.setattr(verb.clock, "wall", lambda: later)
        after = verb.check(watched.work, as_of="2020-03-02")

        assert (soon.delivered, soon.waiting, after.delivered) == (0, 1, 1)
        assert len(server.posts) == 1

    def test_a_channel_that_hangs_holds_nobody_up(self, tmp_path: Path, made: Certificate) -> None:
        """It takes the connection and says nothing: the check ends in its time, and the event waits."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = Received(port=silent.getsockname()[1])
            watched = project(tmp_path, {"ops": webhook(server, made, timeout=60)})
            section = json.loads(watched.overrides[0].partition("=")[2]) | {"delivery_seconds": 0.2}
            watched.overrides = (f"alerts={json.dumps(section)}",)
            found = poor(watched)

        assert (found.delivered, found.waiting, len(found.opened)) == (0, 1, 1)

    def test_what_happened_before_a_channel_was_declared_is_not_told(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """A new channel begins with what comes."""
        watched = project(tmp_path, {})
        poor(watched)
        with_channel = {"policies": {"poor": POLICIES["poor-scores"]}, "channels": {"ops": webhook(server, made)}}
        watched.overrides = (f"alerts={json.dumps(with_channel)}",)

        found = verb.check(watched.work, as_of="2020-03-02")

        assert (found.delivered, found.waiting, server.posts) == (0, 0, [])

    def test_a_muted_alert_is_not_told(self, tmp_path: Path, server: Received, made: Certificate) -> None:
        """Nor that it is over."""
        watched = project(tmp_path, {"ops": webhook(server, made)})
        verb.mute(watched.work, poor(watched).opened[0].fingerprint, until="2020-12-01", as_of="2020-03-01")
        watched.measured("2020-03", 0.9, as_of="2020-04-01")
        verb.check(watched.work, as_of="2020-04-01")

        assert [document["kind"] for document in server.documents()] == ["opened"]


class TestAddress:
    @pytest.mark.parametrize(("networks", "said"), [(["public"], "is not public"), (["private"], "is not private")])
    def test_this_machine_must_be_allowed(self, server: Received, made: Certificate, networks: list[str], said: str) -> None:
        """A name that leads inside is refused before a byte is sent."""
        channel = WebhookChannel.model_validate(webhook(server, made, networks=networks))

        with pytest.raises(Refused, match=said):
            post(channel, "", b"{}", {}, timeout=5)
        assert server.posts == []

    def test_one_bad_address_spoils_the_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name with a public and an inner address is not talked to: the next look-up may give the inner one alone."""
        entries = [(2, 1, 6, "", (address, 443)) for address in ("93.184.215.14", "169.254.169.254")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)

        with pytest.raises(Refused, match=r"hooks.example is at 169.254.169.254, which is not public"):
            allowed_addresses("hooks.example", 443, ("public",))

    def test_the_connection_goes_to_the_address_that_was_checked(self, server: Received, made: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that changes between the check and the connection changes nothing; its certificate still counts."""
        answers = iter([[(2, 1, 6, "", ("127.0.0.1", server.port))], [(2, 1, 6, "", ("127.9.9.9", server.port))]])
        whole = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: next(answers) if host == "localhost" else whole(host, *rest, **more))
        channel = WebhookChannel.model_validate(webhook(server, made))

        post(channel, "", b"{}", {}, timeout=5)

        assert len(server.posts) == 1

    def test_a_certificate_of_nobody_is_refused(self, server: Received, made: Certificate) -> None:
        """Without the authority's file the system's certificates count, and ours is not among them."""
        channel = WebhookChannel.model_validate(webhook(server, made, ca_file=None))

        with pytest.raises(Refused, match="the certificate of localhost"):
            post(channel, "", b"{}", {}, timeout=5)
        assert server.posts == []


def test_alertmanager_is_told_in_its_own_words(tmp_path: Path, server: Received, made: Certificate) -> None:
    """One post for a check; the same labels when it is over, with an end that has come."""
    channel = {name: value for name, value in webhook(server, made).items() if name != "secret"} | {
        "kind": "alertmanager",
        "url": f"https://localhost:{server.port}",
    }
    watched = project(tmp_path, {"am": channel})
    poor(watched)
    watched.measured("2020-03", 0.9, as_of="2020-04-01")
    verb.check(watched.work, as_of="2020-04-01")

    (begun,), (over,) = server.documents()
    now = clock.wall().isoformat()
    assert {path for path, _, _ in server.posts} == {"/api/v2/alerts"}
    assert begun["labels"] == over["labels"]
    assert (begun["labels"]["alertname"], begun["labels"]["severity"], begun["annotations"]["runbook_url"]) == ("poor", "page", COMMON["runbook"])
    assert begun["startsAt"] == over["startsAt"] < over["endsAt"] < now < begun["endsAt"]


@pytest.mark.skipif(ALERTMANAGER is None, reason="no Alertmanager in PATH: the Debian package prometheus-alertmanager has it")
def test_a_real_alertmanager_holds_what_is_open(tmp_path: Path) -> None:
    """It groups by our labels, and lets an alert go when we say that it is over."""
    with alertmanager(str(ALERTMANAGER), tmp_path) as address:
        channel = {"kind": "alertmanager", "url": address, "hosts": ["127.0.0.1"], "networks": ["loopback"]}
        watched = project(tmp_path, {"am": channel})
        delivered = poor(watched).delivered
        during = json.loads(urllib.request.urlopen(f"{address}/api/v2/alerts", timeout=5).read())
        watched.measured("2020-03", 0.9, as_of="2020-04-01")
        verb.check(watched.work, as_of="2020-04-01")
        after = json.loads(urllib.request.urlopen(f"{address}/api/v2/alerts", timeout=5).read())

    assert (delivered, [alert["labels"]["alertname"] for alert in during], after) == (1, ["poor"], [])
    assert during[0]["annotations"]["runbook_url"] == COMMON["runbook"]


def test_a_mail_for_each_check_with_news(tmp_path: Path, made: Certificate) -> None:
    """Over TLS and signed in; two alerts in one mail, whose identity is that of its events."""
    with mail(made) as server:
        channel = {"kind": "mail", "host": "localhost", "port": server.port, "tls": "implicit", "user": "ada", "password": "secret://env/MAIL_WORD"}
        who = {"sender": "alerts@example.org", "recipients": ["ada@example.org"], "ca_file": str(made.file)}
        rules = {"poor": POLICIES["poor-scores"], "broken": POLICIES["broken-data"]}
        watched = project(tmp_path, {"post": {**channel, **who}}, **rules)
        watched.compared("2020-02", {"amount": "fault"}, as_of="2020-03-01")
        found = poor(watched)
        verb.check(watched.work, as_of="2020-03-01")

    (text,) = server.mails
    message = message_from_string(text)
    digest = hashlib.sha256(" ".join(event.id for event in found.opened).encode()).hexdigest()[:32]
    assert (found.delivered, message["Subject"]) == (2, "[page] tiny: poor opened and 1 more")
    assert message["Message-ID"] == f"<{digest}@example.org>"
    assert all(event.said.split(",")[0].split(";")[0][:40] in text for event in found.opened)


def test_a_secret_that_is_not_there_is_said_and_nothing_fails(tmp_path: Path, server: Received, made: Certificate) -> None:
    """The check stands; the event waits for the secret."""
    found = poor(project(tmp_path, {"ops": webhook(server, made, secret="secret://env/NOBODY_SET_IT")}))

    assert (len(found.opened), found.waiting, server.posts) == (1, 1, [])
    assert "NOBODY_SET_IT" in found.failed[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "http://localhost:1/x"}, "https only"),
        ({"hosts": ["elsewhere"]}, "which hosts does not allow"),
        ({"url": "https://me:word@localhost/x"}, "a password stands in the url"),
        ({"secret": "a plain one"}, "secret"),
        ({"severities": ["log"]}, "takes log and no page"),
    ],
)
def test_a_channel_that_is_not_safe_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """When the configuration is read."""
    channel = {"kind": "webhook", "url": "https://localhost:1/x", "hosts": ["localhost"], "secret": "secret://env/K", **changes}
    section = {"policies": {"poor": {**POLICIES["poor-scores"], "channels": ["ops"]}}, "channels": {"ops": channel}}

    with pytest.raises(ConfigurationError, match=said):
        load(Watched(tmp_path / "p").place.folder / "conf", "tiny", overrides=(f"alerts={json.dumps(section)}",))


def test_the_outbox_keeps_the_order_of_an_alert() -> None:
    """While an opening is on its way nobody tells that it is over; once the claim has ended, both are told."""
    wall = clock.wall()
    opened = alerts.AlertEvent("f", 1, "opened", wall, "poor", severity="page", notify=True, channels=("ops",))
    claimed = replace(opened, number=2, kind="claimed", notify=False, channels=(), channel="ops", about=1, until=wall + timedelta(minutes=1))
    over = replace(opened, number=3, kind="resolved")
    rule = {"kind": "webhook", "url": "https://h/x", "hosts": ["h"], "secret": "secret://env/K"}
    settings = outbox.AlertsSection.model_validate({"channels": {"ops": rule}})
    book = alerts.Book("p", 1, (opened, claimed, over))

    held, free = (alerts.pending(book, settings, at) for at in (wall, wall + timedelta(minutes=2)))

    assert held == []
    assert [item.event.number for item in free] == [1, 3]
