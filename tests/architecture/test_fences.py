"""What the packages may not contain. import-linter holds the imports; these hold the rest."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("feature_store", "sparkml_ops")
# Each of these breaks under Spark Connect, or brings rows to the driver.
CLASSIC = {"sparkContext", "rdd", "_jvm", "_jdf", "_jsc", "persist", "cache", "toPandas", "unpersist"}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_library_code_uses_the_dataframe_interface_only(path: Path) -> None:
    """Everything runs under Spark Connect too: no context, no RDD, no JVM, no cache, no rows to the driver."""
    found = [f"{node.attr} (line {node.lineno})" for node in _nodes(path) if isinstance(node, ast.Attribute) and node.attr in CLASSIC]

    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    """No pickle, eval or exec; Spark's own cloudpickle carries functions to the ranks of a launch and nothing else."""
    text = path.read_text()
    calls = {node.func.id for node in _nodes(path) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    assert not calls & {"eval", "exec", "compile", "__import__"}
    if "training/launch" not in path.as_posix():
        assert not re.search(r"^\s*(import|from) (pickle|cloudpickle|dill|joblib)", text, re.MULTILINE)


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
    verbs = {"build_features", "training_set", "train", "register", "promote", "rollback", "score", "drift", "monitor", "retrain"}

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


def test_lock_files_name_no_address() -> None:
    """Versions and hashes only: where packages come from is the user's choice."""
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text()
