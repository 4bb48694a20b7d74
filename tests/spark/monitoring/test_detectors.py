"""Detectors over groups of rows: each group by itself, in its own order, wherever its rows lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from sparkml_ops.monitoring.detectors import changes, changes_by_group


def test_each_group_is_read_in_its_order(spark: SparkSession) -> None:
    """As if each group's errors had been handed to the detector one after the other, though the rows come shuffled."""
    random = np.random.default_rng(1)
    errors = {"JFK": np.r_[random.random(400) < 0.1, random.random(400) < 0.6], "LGA": random.random(800) < 0.1}
    rows = pd.DataFrame(
        [(name, place, float(error)) for name, found in errors.items() for place, error in enumerate(found)], columns=["origin", "at", "error"]
    )
    frame = spark.createDataFrame(rows.sample(frac=1.0, random_state=3)).repartition(3)

    found = changes_by_group(frame, "error", order=["at"], by=["origin"], detector="ddm").toPandas()

    expected = {(name, place) for name, series in errors.items() for place in changes(series.astype(float), "ddm")}
    assert set(zip(found["origin"], found["position"], strict=True)) == expected
    assert any(name == "JFK" and 400 <= place < 500 for name, place in expected)
    assert set(found["detector"]) == {"ddm"}
