"""Which labels are new: those of examples, each once, as they are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import SparkSession

from feature_store.declaration import TrainingSetDeclaration
from sparkml_ops.retraining.labels import count_labels

DAY, START = timedelta(days=1), datetime(2020, 1, 1, tzinfo=UTC)
DECLARED = {"spine": "events", "time": "at", "row_key": ["shop", "id"], "label": "label", "label_known_time": "known"}
NAN = float("nan")


def test_labels_are_counted_as_a_training_would_take_them(spark: SparkSession) -> None:
    """One of each example, by what became known last; filtered rows, unripe ones and those outside the range are none."""
    rows = [
        ("a", 1, 10, 1.0, 11, True),
        ("a", 1, 10, 0.0, 12, True),  # corrected: the same example
        ("a", 2, 10, 1.0, 11, True),
        ("a", 2, 10, None, 12, True),  # taken back
        ("b", 2, 10, None, 10, True),
        ("b", 2, 10, 1.0, 12, True),  # pending at first; another shop
        ("a", 3, 10, NAN, 11, True),
        ("a", 4, 10, 1.0, 31, True),  # known after the clock
        ("a", 5, 10, 1.0, 11, False),  # not asked for
        ("a", 6, 28, 1.0, 28, True),  # known, and not ripe
        ("a", 7, 5, 1.0, 6, True),
        ("a", None, 10, 1.0, 11, True),
    ]
    values = [(shop, key, START + at * DAY, label, START + known * DAY, kept) for shop, key, at, label, known, kept in rows]
    spine = spark.createDataFrame(values, "shop string, id int, at timestamp, label double, known timestamp, kept boolean").coalesce(1)

    def count(since: int | None, until: int, **changes: Any) -> int:
        declared = TrainingSetDeclaration.model_validate({**DECLARED, "where": "kept", "maturity": "5d", **changes})
        start = None if since is None else START + since * DAY
        return count_labels(spine, declared, since=start, until=START + until * DAY, as_of=START + 30 * DAY)

    assert count(None, 29) == 3
    assert count(6, 29) == 2
    assert count(6, 29, where=None, maturity="0d") == 4
    assert count(None, 10) == 1
    assert count(6, 29, label_known_time=None) == 4
