"""What the packages may not contain. import-linter holds the imports; these hold the rest."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import feature_store

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("feature_store", "sparkml_ops")
# Each of these breaks under Spark Connect.
CLASSIC = {"sparkContext", "rdd", "_jvm", "_jdf", "_jsc", "persist", "cache", "unpersist"}
# Each of these brings all rows of a frame to the driver: only here, where their number does not grow with the data.
ALL_ROWS = {"collect", "toArrow", "toLocalIterator", "toPandas"}
COLLECTORS = {
    "feature_store/contract.py:_refuse_doubled": "the first doubled keys, for a message",
    "feature_store/delta/files.py:_shown": "a name for each table of a catalog's schema",
    "feature_store/delta/log.py:_place": "what a catalog says of one table: a row a column",
    "feature_store/erasure/erase.py:_counted": "a count for each table of the warehouse",
    "feature_store/erasure/prove.py:search": "counts for each table and kind of file",
    "feature_store/examples.py:take_census": "a row for each cell of the order's hash, 16,385 at most; of 256 sites with fewer cells each, 65,538",
    "feature_store/quality/checked.py:_examples": "at most five rows, for a message",
    "feature_store/quality/tally.py:take_tally": "a row of counts for each twelve columns",
    "feature_store/row_function.py:_evaluated": "the single row that was asked for",
    "feature_store/shared_keys.py:shared_rows": "a row for each key that is compared between splits",
    "feature_store/strength.py:strengths": "a row for each feature",
    "feature_store/testing.py:_rows": "the small frames of a test",
    "sparkml_ops/drift/classifier.py:tell_apart": "a row for each fold, with a number for each column",
    "sparkml_ops/drift/distinct.py:sketches": "one row with a sketch for each of ten columns",
    "sparkml_ops/drift/source.py:run": "a merged state for each side, segment, block and column",
    "sparkml_ops/monitoring/tally.py:tallies": "a merged state for each window and segment, whose values are limited",
    "sparkml_ops/performance/assessment.py:assess": "a merged state for each model, whose scores by class are limited",
    "sparkml_ops/performance/contest.py:hold": "a merged state for each contestant and slice",
    "sparkml_ops/performance/contest.py:_placed": "one row of twelve sums",
    "sparkml_ops/performance/examination.py:examine": "a row for each input of the model",
    "sparkml_ops/performance/ranking_pass.py:rank": "rows of each of 101 ranks, for a model and for what is popular",
    "sparkml_ops/release/separation.py:_ends": "two rows for each training set",
    "sparkml_ops/scoring/probe.py:sample": "so many rows as a gate or a card declares, at most 2,000",
    "sparkml_ops/scoring/checks.py:doubled_keys": "at most 10,000 keys that several rows share",
    "sparkml_ops/scoring/replay.py:compare_replay": "a row for each column, and five for what becomes of a key",
    "sparkml_ops/scoring/file_pass.py:_run": "a row for each task",
    "sparkml_ops/scoring/row_keys.py:_counts": "a row of counts for each four million rows",
    "sparkml_ops/scoring/staging.py:examples": "the most frequent reasons, for a message",
    "sparkml_ops/training/baseline.py:measure": "a matrix of 1,024 columns at most from each of 64 tasks at most",
    "sparkml_ops/training/catalogue.py:write": "a name for each task",
    "sparkml_ops/training/launch/attempt.py:_run": "a row for each rank",
    "sparkml_ops/training/tuning/runners.py:__call__": "a row for each trial",
    "sparkml_ops/verbs/card.py:explain_prediction": "one row, and as many of the background as release.card.explain_rows",
    "sparkml_ops/verbs/card.py:_explained": "so many rows as release.card.explain_rows, at most 2,000, without personal columns",
    "sparkml_ops/verbs/predictions.py:explain": "the rows of one key, twenty at most",
    "sparkml_ops/verbs/predictions.py:reasons": "as many reasons as were asked for",
    "sparkml_ops/training/preprocessing.py:_summarise": "counts for each column, and its vocabulary up to the declared size",
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_library_code_uses_the_dataframe_interface_only(path: Path) -> None:
    """Everything runs under Spark Connect too: no context, no RDD, no JVM, no cache."""
    found = [f"{node.attr} (line {node.lineno})" for node in _nodes(path) if isinstance(node, ast.Attribute) and node.attr in CLASSIC]

    assert not found


def test_rows_reach_the_driver_in_named_places_only() -> None:
    """A collector is listed with the reason why what it collects is bounded; a listed one that is gone leaves the list."""
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{_holder(path, node)}"
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in ALL_ROWS
    }

    assert found == COLLECTORS.keys()


def _holder(path: Path, node: ast.Attribute) -> str:
    """The innermost function around a node."""
    functions = [item for item in _nodes(path) if isinstance(item, ast.FunctionDef) and item.lineno <= node.lineno <= (item.end_lineno or 0)]
    return max(functions, key=lambda item: item.lineno).name if functions else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    """No pickle, eval or exec; Spark's own cloudpickle carries functions to the ranks of a launch and nothing else."""
    text = path.read_text()
    calls = {node.func.id for node in _nodes(path) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    assert not calls & {"eval", "exec", "compile", "__import__"}
    if "training/launch" not in path.as_posix():
        assert not re.search(r"^\s*(import|from) (pickle|cloudpickle|dill|joblib)\b", text, re.MULTILINE)


def test_modules_have_one_noun_and_no_junk_drawer() -> None:
    """There is no `utils`."""
    junk = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}

    assert not [path for path in SOURCES if path.name in junk]


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.name)
def test_a_job_is_short_and_calls_one_function(path: Path) -> None:
    """A job parses, calls one function and prints its record: under 40 lines, no logic."""
    tree = ast.parse(path.read_text())

    assert len(path.read_text().splitlines()) < 40
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For | ast.While)]


def test_every_verb_has_its_job() -> None:
    """One file a verb, named as the verb's module."""
    verbs = {
        "build_features",
        "training_set",
        "train",
        "tune",
        "reproduce",
        "register",
        "promote",
        "rollback",
        "score",
        "drift",
        "monitor",
        "retrain",
    }

    assert {path.stem for path in (ROOT / "jobs").glob("*.py")} == verbs


def test_public_names_are_listed() -> None:
    """Every module that defines something says in `__all__` what others may use."""
    defining = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.ImportFrom)
    without = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if "__all__" not in path.read_text() and path.name != "__main__.py" and any(isinstance(node, defining) for node in _nodes(path))
    ]

    assert not without


def test_public_names_of_the_store_are_there() -> None:
    """They are imported when they are first used: each is found, and no other."""
    assert all(getattr(feature_store, name).__name__ == name for name in feature_store.__all__)
    assert not hasattr(feature_store, "Features")


def test_lock_files_name_no_address() -> None:
    """Versions and hashes only: where packages come from is the user's choice."""
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text()
