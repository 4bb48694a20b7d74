"""The guide to a first drift report, each line as it stands there, on two plain DataFrames."""

from __future__ import annotations

import doctest
from pathlib import Path

from pyspark.sql import SparkSession

from sparkml_ops import drift

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "first_drift_report.md"


def test_the_guide_says_what_happens(spark: SparkSession) -> None:
    """Every line of output in the guide is the one that comes out, and a notebook shows the report."""
    found, attempted = doctest.testfile(str(GUIDE), module_relative=False, globs={"spark": spark}, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert (found, attempted > 15) == (0, True)
    shown = drift.compare(spark.range(300), spark.range(200))._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "&lt;!doctype html&gt;" in shown
