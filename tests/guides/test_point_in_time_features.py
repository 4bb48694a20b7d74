"""The guide on features in time, each block as a newcomer types it."""

from __future__ import annotations

import doctest
from pathlib import Path

from pyspark.sql import SparkSession

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "point_in_time_features.md"


def test_the_guide_says_what_happens(spark: SparkSession, tmp_path: Path) -> None:
    """Every line of output in the guide is the one that comes out."""
    found, attempted = doctest.testfile(
        str(GUIDE), module_relative=False, globs={"spark": spark, "root": str(tmp_path)}, optionflags=doctest.NORMALIZE_WHITESPACE
    )

    assert (found, attempted > 20) == (0, True)
