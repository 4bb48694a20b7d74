"""docs/tables.md against the code: columns, types and fields of the logs."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from sparkml_ops import ledger, logs
from sparkml_ops.drift import states
from sparkml_ops.drift.measure import _METRICS
from sparkml_ops.monitoring import concept_stream, stored

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "tables.md").read_text()
TABLES = {
    "runs": ledger._SCHEMA,
    "drift_metrics": from_arrow_schema(_METRICS),
    "profile_state": from_arrow_schema(states._SCHEMA),
    "performance_metrics": from_arrow_schema(stored._SCHEMA),
    "concept_states": from_arrow_schema(concept_stream._SCHEMA),
}


def told(section: str) -> dict[str, str]:
    """Names and types of the table under a heading."""
    part = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    (text,) = [found for found in part if found.startswith(section)]
    rows = re.findall(r"^\| ([\w, ]+) \| (\S+) \| \S.*\|$", text, re.MULTILINE)
    return {name: kind for names, kind in rows for name in names.split(", ") if kind != "type"}


@pytest.mark.parametrize("name", list(TABLES))
def test_columns_are_as_documented(name: str) -> None:
    """Every column with its type, in its order, and no other."""
    schema: StructType = TABLES[name]

    assert list(told(f"`{name}`").items()) == [(field.name, field.dataType.simpleString()) for field in schema.fields]


def test_log_lines_have_the_documented_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line with a time that parsers of ISO 8601 read, also where the message has several lines."""
    documented = told("Logs")
    handlers, propagate = logs.logger.handlers, logs.logger.propagate
    try:
        logs.configure(human=False)
        with logs.work(project="tiny", verb="score", window="2020-01", run_id="r"):
            try:
                raise ValueError("two\nlines")
            except ValueError as error:
                logs.logger.error("first\nsecond", exc_info=error)
    finally:
        logs.logger.handlers, logs.logger.propagate = handlers, propagate
        logs.logger.setLevel(logging.NOTSET)

    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert set(found) == set(documented)
    assert found["message"] == "first\nsecond"
    assert datetime.fromisoformat(found["time"]).utcoffset() is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found["time"])
