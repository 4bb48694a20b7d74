"""A large window is scored in chunks; what a killed run has scored is not scored again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from running_session import keys
from scoring_rows import SETTINGS, bad_rows, contents, good_rows, run, store_rows

from feature_store import hooks
from feature_store.delta import TableFiles, Tables
from feature_store.records import Snapshot
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.storage import Storage

TARGET = SETTINGS.target


@pytest.fixture
def scoring_set(tables: Tables) -> Snapshot:
    """Forty rows in eight files: with five rows a chunk, eight chunks or about as many."""
    return store_rows(tables, good_rows(40), partitions=8)


def files(tables: Tables) -> set[str]:
    """What lies in the target's folder."""
    root = Path(tables.location(TARGET))
    return {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}


def live(tables: Tables) -> set[str]:
    """What a version of the target speaks of."""
    return {file.path for file in TableFiles(tables, TARGET).live}


def killed(spark: SparkSession, tables: Tables, model: ScoringModel, folder: Path, scoring_set: Snapshot, run_id: str, hook: str) -> None:
    """A driver of its own, killed at a hook."""
    request = {"kill": hook, "once": str(folder.parent / f"{run_id}.killed")}
    arguments = [str(tables.warehouse.root), str(model.published.storage.root), str(folder), str(scoring_set.version), run_id]
    driver = [sys.executable, str(Path(__file__).with_name("chunk_driver.py")), *arguments]
    environment = keys(spark) | {hooks.VARIABLE: json.dumps(request)}
    environment["PYTHONPATH"] += f":{Path(__file__).parent}"
    assert subprocess.run(driver, env=environment, timeout=300).returncode == -signal.SIGKILL


def test_a_killed_run_goes_on_behind_the_chunks_that_it_scored(
    spark: SparkSession, tables: Tables, model: ScoringModel, artifact_folder: Path, scoring_set: Snapshot
) -> None:
    """Their files are committed as they are, under the run that wrote them; the rows are those of an unbroken run."""
    killed(spark, tables, model, artifact_folder, scoring_set, "killed", "storage.publish.chunk:after")
    first = files(tables)
    assert (len(first), live(tables)) == (1, set())

    record = run(tables, model, scoring_set, engine="files", chunk_rows=5, run_id="resumed")

    assert record.rows == 40
    assert first < live(tables) == files(tables)
    assert {row["run_id"] for row in contents(tables)} == {"killed"}
    assert model.published.storage.list("staging") == []

    run(tables, model, scoring_set, engine="files", slot="unbroken")
    rows: dict[str, list[dict[str, Any]]] = {"champion": [], "unbroken": []}
    for row in contents(tables, TARGET, "run_id"):
        rows[row.pop("slot")].append(row)
    assert rows["champion"] == rows["unbroken"]


def test_a_lost_file_or_another_setting_is_scored_again(
    tables: Tables, model: ScoringModel, scoring_set: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is kept by an attempt that ends with an error too; what it kept is used only where all is as it was."""
    with monkeypatch.context() as patched:
        patched.setattr(Tables, "place", full)
        with pytest.raises(OSError, match="no space left"):
            run(tables, model, scoring_set, engine="files", chunk_rows=5, run_id="first")
    written = files(tables)
    lost = sorted(written)[0]
    (Path(tables.location(TARGET)) / lost).unlink()

    run(tables, model, scoring_set, engine="files", chunk_rows=5, run_id="second")

    assert len(written - files(tables)) == 1
    assert {row["run_id"] for row in contents(tables)} == {"first"}

    with monkeypatch.context() as patched:
        patched.setattr(Tables, "place", full)
        with pytest.raises(OSError, match="no space left"):
            run(tables, model, scoring_set, engine="files", chunk_rows=5, run_id="third", slot="other")
    run(tables, model, scoring_set, engine="files", chunk_rows=10, run_id="fourth", slot="other")

    assert {row["run_id"] for row in contents(tables) if row["slot"] == "other"} == {"fourth"}
    assert files(tables) == live(tables)


def full(*_: object, **__: object) -> None:
    """A commit that finds no room."""
    raise OSError(28, "no space left")


def test_a_refused_window_leaves_no_chunk(tables: Tables, model: ScoringModel, storage: Storage) -> None:
    """Nor does a later attempt find one: it is refused as soon as too many rows are bad, before the other chunks are scored."""
    rows = [*good_rows(30), *bad_rows()["infinite feature: distance"]]
    scoring_set = store_rows(tables, rows, partitions=8)

    with pytest.raises(ContractError, match=r"of 32 rows to quarantine"):
        run(tables, model, scoring_set, engine="files", chunk_rows=4, max_quarantine_share=0.01)

    assert files(tables) == set()
    assert storage.list("staging") == []
