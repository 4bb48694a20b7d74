"""Concentration of recommended items, counted by Spark."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from sparkml_ops.monitoring import CONCENTRATION, concentration, concentration_by_group


def test_items_of_each_window_are_counted(spark: SparkSession) -> None:
    """As the formulas say of the counts of the items that occur; a single item has all, and rows without one are none."""
    random = np.random.default_rng(4)
    items = {"2020-01": random.integers(0, 40, 900), "2020-02": np.minimum(random.geometric(0.3, 700), 12), "2020-03": np.full(5, 7)}
    rows = pd.concat([pd.DataFrame({"window": window, "item": found.astype(float)}) for window, found in items.items()])
    frame = spark.createDataFrame(rows).unionByName(spark.sql("SELECT '2020-03' AS window, CAST(NULL AS DOUBLE) AS item"))

    found = concentration_by_group(frame, "item", by=["window"]).toPandas().set_index("window")

    for window, values in items.items():
        counts = np.unique(values, return_counts=True)[1]
        assert found.loc[window, ["rows", "distinct"]].tolist() == [len(values), len(counts)]
        assert found.loc[window, list(CONCENTRATION)].to_dict() == pytest.approx(concentration(counts), abs=1e-12)
    assert found.loc["2020-03", "top_share"] == 1.0
    assert found.loc["2020-02", "herfindahl"] > found.loc["2020-01", "herfindahl"]
