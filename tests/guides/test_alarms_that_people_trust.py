"""The guide "alarms that people trust", block by block, over figures that two months left behind; no JVM."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "alerts"))  # whose project it is

from watched_project import Watched  # noqa: E402

from sparkml_ops.alerts.stored import _COLUMNS  # noqa: E402
from sparkml_ops.cli.app import app  # noqa: E402
from sparkml_ops.config.load import load  # noqa: E402
from sparkml_ops.verbs import alerts as verb  # noqa: E402

GUIDE = (ROOT / "docs" / "guides" / "alarms_that_people_trust.md").read_text()
BLOCKS = {name: text for _, name, text in re.findall(r"^```(bash|yaml) (\S+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)}
HERE = {"2013-09": "2020-03", "flights": "tiny"}


class Reader:
    """Somebody who types what the guide says."""

    def __init__(self, watched: Watched) -> None:
        self.watched, self.alert = watched, ""

    def block(self, name: str) -> list[str]:
        """Output of each command of a block."""
        text = BLOCKS[name].replace("ALERT", self.alert)
        for there, here in HERE.items():
            text = text.replace(there, here)
        return [self.type(line) for line in text.splitlines()]

    def type(self, line: str) -> str:
        program, *words = shlex.split(line)
        ended = CliRunner().invoke(app, [*words, "--conf", str(self.watched.place.folder / "conf")])
        assert (program, ended.exit_code) == ("sparkml-ops", 0), (line, ended.output)
        return ended.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Two months in which two columns drift, and a figure that was certainly too low in the second."""
    watched = Watched(tmp_path / "p")
    (watched.place.folder / "conf" / "projects" / "tiny" / "alerts.yaml").write_text(BLOCKS["policies"])
    for month, auc in ((1, 0.72), (2, 0.6)):
        window, as_of = f"2020-{month:02}", f"2020-{month + 1:02}-01"
        watched.score(window, as_of=as_of)
        watched.compared(window, {"amount": "drift", "distance": "drift"}, as_of=as_of)
        watched.measured(window, auc, as_of=as_of)
    yield Reader(watched)
    assert SparkSession.getActiveSession() is None


def test_the_guide_as_it_is_typed(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block does what the text beside it says."""
    monkeypatch.chdir(tmp_path)
    checked, listed = reader.block("check")
    assert "3 policies as of 2020-03-01T00:00: 2 alerts open" in checked
    assert "https" not in listed
    reader.alert = next(alert.fingerprint for alert in verb.open_alerts(reader.watched.work) if alert.opening.policy == "poor-scores")

    causes, concept, _ = reader.block("causes")
    assert "2 columns of 2020-02, ranked by effect alone" in causes
    assert "shift: none" in concept
    shown, acknowledged, muted, resolved = reader.block("look")
    assert json.loads(shown)["runbook"] == "https://wiki.example.org/poor-scores"
    assert [word in text for word, text in (("acknowledged", acknowledged), ("muted until 2020-03-16", muted), ("resolved", resolved))] == [True] * 3
    _, precision = reader.block("verdict")
    assert re.search(r"poor-scores\s+1\s+1\s+0\s+1\.00", precision)
    as_declared, laxer = reader.block("backtest")
    assert re.search(r"poor-scores\s+1\s+1\s+0\s+1\.00\s+\S+ to \S+\s+0", as_declared)
    assert re.search(r"poor-scores\s+0\s+0\s+0\s+1\s", laxer)
    reader.block("metrics")
    assert 'sparkml_alerts_open{policy="inputs-drift",project="tiny",severity="ticket"} 1.0' in Path("tiny.prom").read_text()


def test_what_the_guide_declares_is_a_configuration(reader: Reader) -> None:
    """Channels beside policies, and nothing is resolved or posted when they are read."""
    section: dict[str, Any] = yaml.safe_load(BLOCKS["channels"])["alerts"]

    found = load(reader.watched.place.folder / "conf", "tiny", overrides=(f"alerts.channels={json.dumps(section['channels'])}",)).sections.alerts

    assert found.told("poor-scores") == ("hook", "post", "manager")
    assert found.told("inputs-drift") == ("hook", "manager")


def test_the_guide_names_every_column_of_the_table() -> None:
    """Who reads the table in SQL finds each column there."""
    rows = GUIDE.partition("## The table")[2]

    assert set(_COLUMNS) <= set(re.findall(r"`(\w+)`", rows))
