"""One verb through every door: the same record, the same rows, the same exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import pytest
from ended import Ended, run
from installed import ROOT, Installed
from pyspark.sql import SparkSession
from standalone_cluster import StandaloneCluster
from tiny_plans import FEW_ROWS
from tiny_project import AS_OF, ROWS, WINDOW, Place, content

from sparkml_ops.cli.submit import submit_command

pytestmark = pytest.mark.timeout(3600)  # the first test waits for all doors, on a busy machine too

BINARIES = Path(sys.executable).parent
# What a run of its own decides: its number and the moment; all else is the same.
OWN = {"run_id"}
# As after `source .venv/bin/activate` in a fresh shell.
SHELL = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
SHELL |= {"PATH": f"{BINARIES}{os.pathsep}{SHELL['PATH']}", "SPARK_LOCAL_IP": "127.0.0.1"}
# Of the cluster's administrator, who has set another time zone: results do not depend on it. A folder with a spark-defaults.conf would come first
# on the class path, and with another class path Java leaves its archive of Spark's classes alone.
ZONE = "America/New_York"
DEFAULTS = " ".join(f"-D{name}={value}" for name, value in {"spark.sql.session.timeZone": ZONE, "spark.ui.enabled": "false", **FEW_ROWS}.items())
WHEEL_TASK = """
import sys
from importlib.metadata import entry_points

sys.argv = ["sparkml-ops", *sys.argv[1:]]
entry_points(group="console_scripts")["sparkml-ops"].load()()
"""


@dataclass(frozen=True)
class Doors:
    """The five ways to a verb.

    Args:
        installed: Where the wheel task runs, and the cluster's workers.
        cluster: Where spark-submit goes.
    """

    installed: Installed
    cluster: StandaloneCluster

    def console_script(self, place: Place, verb: str, options: Sequence[str]) -> Ended:
        """`sparkml-ops`, from another folder."""
        return run([str(BINARIES / "sparkml-ops"), verb, *place.options(), *options, "--json"], SHELL, place.folder)

    def module(self, place: Place, verb: str, options: Sequence[str]) -> Ended:
        """`python -m sparkml_ops`."""
        return run([sys.executable, "-m", "sparkml_ops", verb, *place.options(), *options, "--json"], SHELL, ROOT)

    def wheel_task(self, place: Place, verb: str, options: Sequence[str]) -> Ended:
        """The entry point of the installed wheel, called as a python_wheel_task calls it."""
        command = [self.installed.python, "-c", WHEEL_TASK, verb, *place.options(), *options, "--json"]
        return run(command, self.installed.environment, self.installed.home)

    def spark_submit(self, place: Place, verb: str, options: Sequence[str]) -> Ended:
        """The printed command in a shell, with this cluster's address; options that follow prevail over those of the example."""
        return self.submit(submit_command(verb), *place.options(), *options)

    def submit(self, command: str, *options: str) -> Ended:
        """Run a command line that submits to the cluster."""
        shell = ["/bin/sh", "-c", command.replace("spark://host:7077", self.cluster.master) + ' "$@"', "sh"]
        ended = run([*shell, *options], {**SHELL, "JAVA_TOOL_OPTIONS": f"{SHELL.get('JAVA_TOOL_OPTIONS', '')} {DEFAULTS}"}, ROOT)
        # spark-submit gives a program one stream for both; the record is its last line, an error is in the log.
        *log, last = ended.output.splitlines()
        said = "\n".join([ended.errors, *log])
        return Ended(ended.status, last, said) if ended.status == 0 else Ended(ended.status, "", f"{said}\n{last}")

    def notebook(self, place: Place, verb: str, options: Sequence[str]) -> Ended:
        """A notebook in Databricks' source format."""
        assert (verb, *options) == ("score", "--window", WINDOW)
        own = {"CONF": str(place.folder / "conf"), "WINDOW": WINDOW, "AS_OF": AS_OF}
        return run([sys.executable, str(Path(__file__).with_name("notebook.py"))], SHELL | own, place.folder)


NAMES = ("console_script", "module", "wheel_task", "spark_submit", "notebook")


@pytest.fixture(scope="module")
def doors(installed: Installed, cluster: StandaloneCluster) -> Doors:
    """All of them."""
    return Doors(installed, cluster)


@pytest.fixture(scope="module")
def copies(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    """The same tables for each door."""
    folder = tmp_path_factory.mktemp("copies")
    return {name: place.copy(folder / name) for name in NAMES}


@pytest.fixture(scope="module")
def scored(doors: Doors, copies: dict[str, Place]) -> dict[str, Ended]:
    """A window's scores through each door; two doors at a time."""

    def score(name: str) -> Ended:
        door: Callable[[Place, str, Sequence[str]], Ended] = getattr(doors, name)
        return door(copies[name], "score", ["--window", WINDOW])

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(NAMES, pool.map(score, NAMES), strict=True))


def rows(place: Place, table: str) -> list[dict[str, Any]]:
    """All rows of a table, in an order of their own, without what a run decides."""
    return sorted(({name: value for name, value in row.items() if name not in OWN} for row in place.rows(table)), key=repr)


@pytest.mark.parametrize("door", NAMES)
def test_each_door_gives_the_same_record_and_the_same_rows(door: str, scored: dict[str, Ended], copies: dict[str, Place]) -> None:
    """Standard output is one line of JSON with the verb's record; scoring set and predictions are equal, row by row."""
    record, expected = scored[door].record, scored["console_script"].record

    assert record == expected
    assert record["rows"] + record["quarantined"] == len(rows(copies[door], "tiny_scores"))
    assert record["quarantined"] == 1
    assert record["rows"] < ROWS
    for table in ("tiny_scores", "tiny_scores_scoring_set"):
        assert rows(copies[door], table) == rows(copies["console_script"], table), table


def test_what_one_door_finished_no_other_door_does_again(doors: Doors, scored: dict[str, Ended], copies: dict[str, Place]) -> None:
    """The finished run is found by any door, and nothing is written."""
    place = copies["spark_submit"]
    before = deltalake.DeltaTable(place.warehouse.path("tiny_scores")).version()

    again = doors.console_script(place, "score", ["--window", WINDOW])

    assert again.record == scored["spark_submit"].record
    assert "already done" in again.errors
    assert deltalake.DeltaTable(place.warehouse.path("tiny_scores")).version() == before


@pytest.mark.parametrize("door", ["console_script", "module", "wheel_task", "spark_submit"])
def test_each_door_refuses_with_the_same_exit_code(door: str, doors: Doors, copies: dict[str, Place]) -> None:
    """A misspelt key is exit code 2 and one line of JSON that names the nearest known key."""
    ended: Ended = getattr(doors, door)(copies[door], "drift", ["--window", WINDOW, "--set", "scoring.engin=arrow"])
    said = next(json.loads(line) for line in ended.errors.splitlines() if line.startswith('{"error"'))

    assert (ended.status, said["exit_code"], ended.output) == (2, 2, "")
    assert "engine" in said["found"]


def test_a_refused_gate_is_code_3_and_what_may_pass_code_4(doors: Doors, scored: dict[str, Ended], copies: dict[str, Place]) -> None:
    """No report of this model under these gates; scores older than promised. Neither starts Spark."""
    assert scored["console_script"].record
    place = copies["console_script"]
    refused = doors.console_script(place, "promote", ["--set", "release.minimum_rows=11"])
    stale = doors.console_script(place, "status", ["--set", "scoring.freshness=35d", "--as-of", "2031-01-01"])
    said = next(json.loads(line) for line in refused.errors.splitlines() if line.startswith('{"error"'))

    assert (refused.status, said["exit_code"], refused.output) == (3, 3, "")
    assert "no gate report of version 1" in said["found"]
    assert (stale.status, stale.records[-1]["stale"]) == (4, True)


@pytest.fixture(scope="module")
def trained(doors: Doors, place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two ranks of Horovod on the cluster: what executors see there, asked in the same application, and the record of `train`."""
    answers, (before, job) = tmp_path_factory.mktemp("where") / "answers", submit_command("train").split("jobs/")
    command = f"{before}{Path(__file__).with_name('where.py')} {answers} jobs/{job}"
    options = ["--set", "training.backend=horovod", "--set", "training.workers=2", "--generation", "next"]
    record = doors.submit(command, *place.options(), *options).record
    return json.loads(answers.read_text()), record


def test_executors_import_the_wheel_and_not_the_checkout(trained: tuple[dict[str, Any], dict[str, Any]], installed: Installed) -> None:
    """Two tasks on two executors run the second environment, in another folder and with another home; nothing of the checkout is in reach."""
    seen, _ = trained

    assert seen["zone"] == ZONE
    assert len({task["folder"] for task in seen["tasks"]}) == 2
    for task in seen["tasks"]:
        assert Path(task["executable"]).parent == installed.prefix / "bin"
        assert Path(task["file"]).is_relative_to(installed.packages)
        assert task["home"] == str(installed.home)
        assert not task["flights"]
        assert not [entry for entry in (*task["path"], task["folder"]) if Path(entry).is_relative_to(ROOT)]


def test_horovod_trains_on_the_cluster_through_spark_submit(
    trained: tuple[dict[str, Any], dict[str, Any]], place: Place, spark: SparkSession
) -> None:
    """Two ranks on two executors of the second environment give what one process gave, up to the order of sums."""
    one = next(run for run in place.project(spark).runs() if run.key.verb == "train" and run.key.generation == 0)
    _, record = trained

    assert record["run_id"] != one.record["run_id"]
    for name, value in one.record["metrics"].items():
        if name.startswith("evaluation_"):
            assert record["metrics"][name] == pytest.approx(value, abs=1e-4), name


def test_a_catalog_is_a_warehouse_like_a_folder(
    scored: dict[str, Ended], place: Place, copies: dict[str, Place], spark: SparkSession, tmp_path: Path
) -> None:
    """The prepared tables under names of `spark_catalog`: scores, scoring set and drift as by path, in tables that the catalog keeps."""
    assert scored["module"].record
    by_name = place.in_catalog(spark, tmp_path / "named", "tiny")
    by_path = copies["module"]

    record = by_name.project(spark).score(WINDOW, as_of=AS_OF)
    reports = [found.project(spark).drift(WINDOW, as_of=AS_OF).to_pandas() for found in (by_name, by_path)]

    assert (record.rows, record.quarantined) == (scored["module"].record["rows"], 1)
    for table in ("tiny_scores", "tiny_scores_scoring_set"):
        assert content(by_name.tables(spark).read(table)) == content(by_path.tables(spark).read(table)), table
    assert reports[0].equals(reports[1])
    assert not (by_name.folder / "data" / "warehouse").exists()


def test_readme_and_help_print_the_same_command() -> None:
    """What the tests above run is what people read."""
    block = re.search(r"^(spark-submit .*?)\n```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    done = subprocess.run([sys.executable, "jobs/score.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0
    assert block[1] == submit_command("score")
    assert submit_command("score") in done.stdout
