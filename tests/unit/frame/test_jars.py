"""Files in place of Maven coordinates: only where an earlier session has left their names, and all are still there."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pyspark
import pytest

from sparkml_ops import jars

ASKED = {"spark.jars.packages": "org.example:tool_2.13:1.2", "spark.master": "local[2]"}


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """What Ivy has fetched for `ASKED`: the tool, a jar with Python in it, and one that Spark has in a version of its own."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    sparks = next((Path(pyspark.__file__).parent / "jars").glob("jackson-core-*.jar"))
    assert sparks
    names = {"tool": "org.example_tool_2.13-1.2.jar", "python": "org.example_graph-0.1.jar", "spark": "com.fasterxml_jackson-core-2.0.0.jar"}
    for kind, name in names.items():
        with zipfile.ZipFile(tmp_path / name, "w") as jar:
            jar.writestr("graph/__init__.py" if kind == "python" else "Tool.class", "")
    return {kind: tmp_path / name for kind, name in names.items()}


def addresses(paths: dict[str, Path]) -> str:
    return ",".join(path.as_uri() for path in paths.values())


def test_a_later_session_takes_the_files_that_spark_does_not_bring_itself(fetched: dict[str, Path]) -> None:
    """Those with Python in them are offered to Python, as packages would be; other coordinates or another place to fetch from are other files."""
    assert jars.known(ASKED) == ASKED
    jars.remember(ASKED, addresses(fetched))

    assert jars.known(ASKED) == {
        "spark.master": "local[2]",
        "spark.jars": f"{fetched['tool']},{fetched['python']}",
        "spark.submit.pyFiles": str(fetched["python"]),
    }
    for other in ({"spark.jars.packages": "org.example:tool_2.13:1.3"}, {"spark.jars.ivySettings": "mirror.xml"}):
        assert jars.known(ASKED | other) == ASKED | other
    fetched["tool"].unlink()
    assert jars.known(ASKED) == ASKED


@pytest.mark.parametrize(
    "options",
    [
        {"spark.jars.packages": ""},
        {"spark.jars.packages": "org.example:tool_2.13:1.3-SNAPSHOT"},
        {"spark.jars.packages": "org.example:tool_2.13:latest.release"},
        {"spark.jars": "own.jar"},
        {"spark.jars.packages": "org.example:other:1.0"},
    ],
)
def test_nothing_is_left_where_the_files_may_be_others_tomorrow(options: dict[str, str], fetched: dict[str, Path]) -> None:
    """A version that moves, jars that a person has named beside them, and those of a session that was not made for these coordinates."""
    jars.remember(ASKED | options, addresses(fetched))

    assert jars.known(ASKED | options) == ASKED | options
