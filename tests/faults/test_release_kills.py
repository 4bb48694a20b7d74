"""Register, approve and promote, killed at each named hook one after the other, and where they end.

A process that has imported everything forks one for each start: Delta's library refuses to go on in a fork of a process that has used it, as the tests' own has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mlflow_store import artifact, mlflow_template, training_set

from feature_store import hooks
from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import Snapshot, TrainingSet
from sparkml_ops import release
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.records import TrainingResult
from sparkml_ops.release.approval import approvals
from sparkml_ops.release.reports import reports_on
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

__all__ = ["artifact", "mlflow_template", "training_set"]

AT = datetime(2013, 8, 1, tzinfo=UTC)
GATES = {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.7}, "size": {"kind": "artifact_size", "at_most": 1}}
SETTINGS = ReleaseSection.model_validate({"model": "flights", "gates": {**GATES, "safe": {"kind": "security"}, "second": {"kind": "approval"}}})
# What each of them writes: a hook that is no longer passed would be no case any more.
NEEDED = {
    *("mlflow.create_version", "mlflow.log_artifact", "mlflow.set_alias", "mlflow.set_tag"),
    *(f"delta.commit.{table}" for table in ("gate_reports", "model_approvals", "model_events")),
}


class Place:
    """Tables, registry and objects below a folder; no Spark."""

    def __init__(self, folder: Path) -> None:
        def nobody() -> Any:
            raise AssertionError("no Spark for a few rows")

        self.tables = Tables(nobody, Warehouse(root=str(folder / "warehouse")))
        self.tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", "flights", str(folder / "artifacts"))
        self.storage = Storage(str(folder / "storage"))

    def release(self) -> None:
        """From a training result to the champion."""
        run = self.tracking.run("train/flights", "train")
        rows = TrainingSet("flights_1a2b", Snapshot("training_set_flights_1a2b", 0), {}, "0123456789abcdef", 20_000)
        result = TrainingResult(run.run_id, rows, {"evaluation_auc": 0.75, "evaluation_rows": 28_000.0}, "training/artifact")
        version, _ = release.register(self.tables, self.tracking, self.storage, result, SETTINGS, "c0ffee", AT, author="ada")
        release.approve(self.tables, SETTINGS, version, "c0ffee", "grace", AT + timedelta(days=7), AT)
        release.promote(self.tables, self.tracking, SETTINGS, version, "c0ffee", AT + timedelta(days=1), "ada")

    def state(self) -> dict[str, Any]:
        """Everything that lasts, but for ids that are drawn."""
        (entry,) = self.tracking.versions("flights")
        assert entry.registered is not None
        run = entry.registered.run_id
        listed = [item.path for folder in ("cards", "gates", "model") for item in self.tracking.open().list_artifacts(run, folder)]
        runs = self.tracking.open().search_runs([self.tracking.open().get_run(run).info.experiment_id])
        return {
            "versions": (entry.version, entry.aliases, entry.registered.digest),
            "reports": [(stored.id, stored.report.passed) for stored in reports_on(self.tables, "flights")],
            "approvals": [(line.kind, line.person, line.report_id) for line in approvals(self.tables, "flights")],
            "events": [(event.to_version, event.reason, event.gate_report) for event in release.history(self.tables, "flights")],
            "alias": release.alias_state(self.tables, self.tracking, "flights").state,
            "artifacts": sorted(listed),
            "runs": len(runs),
        }


def made(folder: Path, template: Path, trained: Path) -> Place:
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(template.read_bytes())
    place = Place(folder)
    for path in trained.iterdir():
        place.storage.publish_file(f"training/artifact/{path.name}", path, kind="artifact")
    return place


def test_a_release_killed_anywhere_ends_as_an_unbroken_one(mlflow_template: Path, artifact: Path, tmp_path: Path) -> None:
    """Each start goes on from what the killed one before it left; nothing is there twice, and the champion is approved."""
    _, whole, broken = (made(tmp_path / name, mlflow_template, artifact) for name in ("warm", "whole", "broken"))
    # The tests' own modules are no packages: a process of its own finds them by path.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))}
    forks = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path / "warm")], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def start(folder: str, hooking: Mapping[str, str]) -> int:
        assert forks.stdin
        assert forks.stdout
        print(json.dumps({"folder": str(tmp_path / folder), "hooking": hooking}), file=forks.stdin, flush=True)
        return int(forks.stdout.readline())

    assert start("whole", {"record": str(tmp_path / "names.txt")}) == 0
    passed = (tmp_path / "names.txt").read_text().split()
    # Up to its version a registration is killed in tests/unit/tracking/test_registration.py.
    later = passed[passed.index("mlflow.create_version:before") :]
    names = list(dict.fromkeys([*(name for name in later if name.endswith(":before")), passed[-1]]))
    assert {name.partition(":")[0] for name in names} >= NEEDED
    for number, name in enumerate(names):
        assert start("broken", {"kill": name, "once": str(tmp_path / f"killed.{number}")}) == -signal.SIGKILL, name
    assert start("broken", {"kill": "nothing", "once": ""}) == 0
    forks.communicate(timeout=60)

    assert broken.state() == whole.state()
    assert whole.state()["alias"] == "follows"
    assert len(whole.state()["artifacts"]) == 4


def main() -> None:
    """Release in a fork for each line of JSON; answer with its exit status."""
    for line in sys.stdin:
        if not (child := os.fork()):
            request = json.loads(line)
            os.environ[hooks.VARIABLE] = json.dumps(request["hooking"])
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            Place(Path(request["folder"])).release()
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    # What each start would load again: everything but Delta's own threads.
    at = Place(Path(sys.argv[1]))
    done = at.tracking.run("warm", "warm")
    columns = {"inputs": (("distance", "double"),), "outputs": (("probability", "double"),)}
    rows = TrainingSet("t", Snapshot("t", 0), {}, "0" * 16, 1)
    number = at.tracking.register(done.run_id, Path(at.storage.path("training/artifact")), name="warm", training_set=rows, **columns)
    at.tracking.fetch(at.tracking.resolve("warm", number), Path(sys.argv[1]) / "fetched")
    main()
