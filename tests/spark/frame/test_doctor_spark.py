"""`doctor` where Spark cannot work with Delta, each in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ended import run
from tiny_project import Place

from sparkml_ops.session import DELTA_PACKAGE

NOWHERE = '<ivysettings><settings defaultResolver="none"/><resolvers><filesystem name="none"/></resolvers></ivysettings>'


@pytest.mark.parametrize(
    ("conf", "found", "mend"),
    [
        ({"spark.jars.packages": ""}, "without Delta's classes", f"--packages {DELTA_PACKAGE}"),
        ({"spark.jars.ivySettings": "ivy.xml", "spark.jars.ivy": "empty"}, "no session", "network"),
    ],
)
def test_spark_without_delta_is_a_fault(conf: dict[str, str], found: str, mend: str, tmp_path: Path) -> None:
    """Jars that are not there, and jars that cannot be fetched: the settings that name Delta are no proof of it."""
    (tmp_path / "ivy.xml").write_text(NOWHERE)
    place = Place(tmp_path / "tiny", spark={"conf": conf})
    command = [sys.executable, "-m", "sparkml_ops", "doctor", "--project", "tiny", "--conf", str(place.folder / "conf")]
    ended = run([*command, "--check", "Spark and Delta", "--json"], os.environ, tmp_path)
    # Ivy says on standard output which settings it loads.
    findings: list[dict[str, Any]] = json.loads(ended.output.splitlines()[-1])
    (finding,) = findings

    assert ended.status == 2
    assert not finding["healthy"]
    assert found in finding["found"]
    assert mend in finding["mend"]
    assert not list((place.folder / "data").rglob("doctor-*"))
