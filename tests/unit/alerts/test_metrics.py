"""Metrics for Prometheus: true to the tables, few labels, and rules that fire when they should."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result
from watched_project import Watched

from sparkml_ops.cli.app import app
from sparkml_ops.errors import RetryableError
from sparkml_ops.monitoring.exposition import METRICS, Metric, push
from sparkml_ops.monitoring.fairness import DISPARITIES
from sparkml_ops.verbs import alerts as verb
from sparkml_ops.window import instant

CONF = Path(__file__).resolve().parents[3] / "conf" / "monitoring"
PROMTOOL = shutil.which("promtool")
PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus in PATH: the Debian package prometheus has it")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool in PATH: the Debian package prometheus has it")


@pytest.fixture
def measured(watched: Watched) -> Watched:
    """Two windows, drift, a figure with its interval, and an alert."""
    watched.score("2020-01", as_of="2020-02-01", rows=900)
    watched.score("2020-02", as_of="2020-03-01", rows=990, quarantined=10)
    watched.compared("2020-02", {"distance": "drift", "amount": "no drift", "customer": "fault"}, as_of="2020-03-01", effect=2.5)
    watched.measured("2020-02", 0.5, as_of="2020-03-01")
    watched.measured("2020-02", 0.6, as_of="2020-03-01", segment="origin=JFK")
    watched.measured("2020-02", 0.6, as_of="2020-03-01", segment="origin=LGA")
    verb.check(watched.work, as_of="2020-03-01")
    watched.overrides = (*watched.overrides, 'metrics={"columns": ["distance"], "segments": ["origin=JFK"]}', "scoring.freshness=35d")
    return watched


def metrics(watched: Watched, *words: str) -> Result:
    settings = [word for override in watched.overrides for word in ("--set", override)]
    return CliRunner().invoke(
        app, ["metrics", "--project", "tiny", "--conf", str(watched.place.folder / "conf"), "--as-of", "2020-03-02", *words, *settings]
    )


def values(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of its labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "project")): sample.value for sample in samples}


def test_a_textfile_says_what_the_tables_say(measured: Watched, tmp_path: Path) -> None:
    """Each value is found again by the client's own parser."""
    assert metrics(measured, "--textfile", str(tmp_path / "tiny.prom")).exit_code == 0

    found = values((tmp_path / "tiny.prom").read_text())
    assert found["sparkml_window_rows", "tiny"] == 990
    assert found["sparkml_window_quarantine_ratio", "tiny"] == pytest.approx(0.01)
    assert [found["sparkml_drift_columns", "tiny", verdict] for verdict in ("drift", "fault", "no drift", "undecided")] == [1, 1, 1, 0]
    assert found["sparkml_drift_effect_ratio", "distance", "tiny"] == pytest.approx(2.5)
    assert [found["sparkml_performance" + end, "realised", "auc", "tiny", ""] for end in ("_lower", "", "_upper")] == pytest.approx([0.49, 0.5, 0.51])
    assert found["sparkml_performance", "realised", "auc", "tiny", "origin=JFK"] == 0.6
    assert found["sparkml_table_newest_timestamp_seconds", "scores", "tiny_scores"] == instant("2020-03-01").timestamp()
    assert found["sparkml_table_promise_seconds", "scores", "tiny_scores"] == 35 * 86_400
    assert found["sparkml_alerts_open", "poor-scores", "page"] == 1
    assert found["sparkml_alerts_open", "late-scores", "page"] == 0
    assert found["sparkml_run_seconds", "score"] == 12


def test_labels_are_what_the_configuration_names(measured: Watched, tmp_path: Path) -> None:
    """A column or segment that nobody watches is no label, however many there are."""
    metrics(measured, "--textfile", str(tmp_path / "tiny.prom"))

    text = (tmp_path / "tiny.prom").read_text()
    assert "origin=LGA" not in text
    assert "customer" not in text


@needs_promtool
def test_promtool_finds_nothing_to_say(measured: Watched, tmp_path: Path) -> None:
    """Names, units and help as Prometheus wants them."""
    metrics(measured, "--textfile", str(tmp_path / "tiny.prom"))

    linted = subprocess.run([str(PROMTOOL), "check", "metrics"], input=(tmp_path / "tiny.prom").read_bytes(), capture_output=True, timeout=60)

    assert (linted.returncode, linted.stderr) == (0, b"")


@needs_promtool
def test_the_rules_fire_when_they_should() -> None:
    """Prometheus' own engine over series with known ends."""
    checked = subprocess.run([str(PROMTOOL), "check", "rules", str(CONF / "rules.yml")], capture_output=True, timeout=60)
    fired = subprocess.run([str(PROMTOOL), "test", "rules", str(CONF / "rules_test.yml")], capture_output=True, timeout=60)

    assert (checked.returncode, fired.returncode) == (0, 0), checked.stderr + fired.stderr


def test_rules_and_dashboard_name_metrics_that_are_there() -> None:
    """A renamed metric would leave an empty picture and a rule that never fires."""
    texts = [(CONF / name).read_text() for name in ("rules.yml", "grafana_dashboard.json")]
    named = {name for text in texts for name in re.findall(r"\bsparkml_(?!ops)\w+", text)}
    recorded = re.findall(r"record: (\S+)", texts[0])

    assert named <= METRICS.keys()
    assert {name for text in texts for name in re.findall(r"\bsparkml:[\w:]+", text)} <= set(recorded)
    assert {panel["id"] for panel in json.loads(texts[1])["panels"]} == set(range(1, 13))
    assert re.findall(r'metric=~\\"([\w|]+)\\"', texts[1]) == ["|".join(DISPARITIES)]


@needs_prometheus
@pytest.mark.timeout(120)
def test_a_real_server_reads_what_is_written_and_fires(measured: Watched, tmp_path: Path) -> None:
    """Prometheus scrapes the textfile over HTTP, records and alerts by our rules, and answers every query of the dashboard without an error."""
    folder = tmp_path / "served"
    folder.mkdir()
    assert metrics(measured, "--textfile", str(folder / "tiny.prom")).exit_code == 0
    rules = yaml.safe_load((CONF / "rules.yml").read_text())
    rules["groups"][0]["interval"] = "250ms"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    serve = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server, free_port() as port:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        job = {"job_name": "files", "metrics_path": "/tiny.prom", "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}]}
        settings = {"global": {"scrape_interval": "250ms"}, "rule_files": ["rules.yml"], "scrape_configs": [job]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
        with prometheus(tmp_path, port) as ask:
            alerts = until(lambda: [item for item in ask("alerts")["alerts"] if item["labels"]["alertname"] == "SparkmlPageOpen"])
            (rows,) = ask("query", query="sparkml_window_rows")["result"]
            (share,) = ask("query", query="sparkml:drift_columns:ratio")["result"]
            answers = [ask("query", query=query) for query in dashboard_queries()]
        server.shutdown()

    assert {(item["labels"]["policy"], item["state"]) for item in alerts} == {("broken-data", "firing"), ("poor-scores", "firing")}
    assert (rows["metric"]["project"], rows["value"][1]) == ("tiny", "990")
    assert float(share["value"][1]) == pytest.approx(1 / 3)
    assert len(answers) >= 12
    assert sum(bool(answer["result"]) for answer in answers) >= len(answers) / 2


def dashboard_queries() -> list[str]:
    """Of all panels, with its variables filled in."""
    panels = json.loads((CONF / "grafana_dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [query.replace("$project", "tiny").replace("$metric", "auc").replace("$__rate_interval", "1m") for query in queries]


class _Files(http.server.SimpleHTTPRequestHandler):
    extensions_map: ClassVar[dict[str, str]] = {".prom": "text/plain; version=0.0.4"}  # type: ignore[misc]

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens at; another process may take it in the next moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    yield port


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Callable[..., Any]]:
    """A server with the configuration of a folder, and what asks its interface; ended with the block."""
    options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log, subprocess.Popen([str(PROMETHEUS), *options], stdout=log, stderr=log) as server:

        def ask(what: str, **words: str) -> Any:
            address = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(words)}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]

        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
            yield ask
        finally:
            server.terminate()


def answers(address: str) -> bool:
    """Whether somebody answers there with success."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def until(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What is found, as soon as there is something."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)
    return value


class _Gateway(http.server.BaseHTTPRequestHandler):
    taken: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_PUT(self) -> None:
        self.taken.append((self.command, self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(202)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_push_replaces_the_projects_group(measured: Watched) -> None:
    """Under the job and the project; a gateway that is away is tried again later."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Gateway) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        pushed = metrics(measured, "--push", address)
        server.shutdown()

    ((_, path, body),) = _Gateway.taken
    assert (pushed.exit_code, path) == (0, "/metrics/job/sparkml_ops/project/tiny")
    assert values(body.decode())["sparkml_window_rows", "tiny"] == 990
    with pytest.raises(RetryableError, match="did not take the metrics"):
        push(address, "tiny", [Metric("sparkml_alerts_undelivered", 0.0)], timeout=2)


def test_bad_places_are_refused_and_an_empty_project_has_metrics(tmp_path: Path) -> None:
    """A file that no collector reads, an address that is none; before the first run only what is known is written."""
    empty = Watched(tmp_path / "p")

    shown = json.loads(metrics(empty, "--json").stdout)

    assert {item["name"] for item in shown} == {"sparkml_metrics_written_timestamp_seconds", "sparkml_alerts_undelivered"}
    assert [metrics(empty, *words).exit_code for words in (("--textfile", str(tmp_path / "x.txt")), ("--push", "nowhere"))] == [2, 2]
