"""`sparkml-ops tables` where nothing has to be rewritten: no Spark is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from finished_work import Night
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from feature_store.delta import FORMAT_VERSION
from sparkml_ops.cli.app import app


@pytest.fixture(autouse=True)
def _no_session() -> Iterator[None]:
    """Nothing here may start one."""
    yield
    assert SparkSession.getActiveSession() is None


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Eight scored windows: a ledger of eight small files, and a scoring set beside it."""
    made = Night(tmp_path / "p")
    for month in range(1, 9):
        made.score(f"2020-{month:02}")
    for _ in range(9):
        deltalake.write_deltalake(str(folder(made) / "tiny_scores_scoring_set"), pa.table({"id": [1]}), mode="append")
    return made


def folder(night: Night) -> Path:
    return Path(str(night.work.sections.warehouse.root))


def tables(night: Night, *words: str) -> Result:
    settings = [word for override in night.overrides for word in ("--set", override)]
    return CliRunner().invoke(app, ["tables", *words, "--project", "tiny", "--conf", str(night.place.folder / "conf"), *settings])


def test_health_lists_every_table(night: Night) -> None:
    """For people a table, for machines the same as JSON."""
    found = json.loads(tables(night, "health", "--json").stdout)
    shown = tables(night, "health", "--table", "runs")

    assert {(item["table"], item["files"], item["rows"]) for item in found} >= {("runs", 8, 8), ("tiny_scores_scoring_set", 9, 9)}
    assert shown.exit_code == 0
    assert "runs" in shown.stdout
    assert "scoring_set" not in shown.stdout


def test_a_plan_says_what_is_due_and_writes_nothing(night: Night) -> None:
    """The ledger's small files; a scoring set stays as it was written."""
    before = sorted(path for path in folder(night).rglob("*"))
    found = {item["table"]: item for item in json.loads(tables(night, "maintain", "--plan", "--json").stdout)}
    shown = tables(night, "maintain", "--plan", "--table", "runs")

    assert [(step["kind"], step["files"]) for step in found["runs"]["steps"]] == [("compact", 8)]
    assert found["tiny_scores_scoring_set"]["steps"] == []
    assert "compact 8 files below" in shown.stdout
    assert sorted(path for path in folder(night).rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--retain", "1d"), "a retention of 1 day"),
        (("--table", "rnus"), "no table `rnus`"),
        (("--release", "nobody"), "['nobody']"),
        (("--retain", "soon"), "soon"),
    ],
)
def test_what_cannot_be_meant_ends_in_exit_code_2(night: Night, words: tuple[str, ...], said: str) -> None:
    """Before anything is taken away."""
    ended = tables(night, "maintain", *words)

    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr


def test_tables_of_an_older_format_are_listed_and_newer_ones_refused(night: Night) -> None:
    """A table without a mark would get one; what a newer version has written is not guessed at."""
    place = str(folder(night) / "gate_reports")
    deltalake.write_deltalake(place, pa.table({"id": [1]}))
    behind = [{"found": 0, "table": name, "wanted": FORMAT_VERSION} for name in ("gate_reports", "tiny_scores_scoring_set")]
    assert json.loads(tables(night, "upgrade", "--plan", "--json").stdout) == behind

    ahead = {"sparkml_ops.format": str(FORMAT_VERSION + 1)}
    deltalake.write_deltalake(place, pa.table({"id": [1]}), mode="overwrite", schema_mode="overwrite")
    deltalake.DeltaTable(place).alter.set_table_properties(ahead, raise_if_not_exists=False)
    refused = tables(night, "upgrade")
    assert refused.exit_code == 2
    assert f"`gate_reports` in format {FORMAT_VERSION + 1}" in refused.stderr
