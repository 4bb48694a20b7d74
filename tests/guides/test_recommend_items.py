"""The guide on recommendations, each block as it stands there, on a shop of its own."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from retrieval_rows import pairs
from tiny_project import AS_OF, UNTIL, Place

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "recommend_items.md"
BLOCKS = dict(re.findall(r"^```(yaml)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL))
ROWS = 960


def sales(spark: SparkSession) -> DataFrame:
    """What customers bought in January and February, a row every 90 minutes."""
    data = pairs(ROWS, seed=3).to_pandas().drop(columns=["split"]).rename(columns={"row_position": "id"})
    plain = data.astype(object).where(data.notna(), None)
    frame = spark.createDataFrame(
        list(plain.itertuples(index=False, name=None)), "customer string, hour double, product string, kind string, price double, id bigint"
    )
    return frame.withColumn("at", F.timestamp_micros(F.lit(1_577_836_800_000_000) + F.col("id") * F.lit(5_400_000_000)))


def test_the_guide_says_what_happens(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of output in the guide is the one that comes out."""
    place = Place(tmp_path / "shop", base={"warehouse": {"root": str(tmp_path / "shop" / "data" / "warehouse")}})
    folder = place.folder / "conf" / "projects" / "tiny"
    for name in ("features.yaml", "release.yaml", "monitoring.yaml"):
        (folder / name).unlink()
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": {"sales": {"table": "sales", "event_time": "at", "row_id": ["id"]}}}))
    (folder / "training.yaml").write_text(BLOCKS["yaml"])
    monkeypatch.chdir(place.folder)
    place.tables(spark).overwrite("sales", sales(spark).coalesce(1))
    project = place.project(spark)
    project.training_set(until=UNTIL, as_of=AS_OF)
    found, attempted = doctest.testfile(
        str(GUIDE),
        module_relative=False,
        globs={"project": project, "as_of": AS_OF, "spark": spark},
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )

    assert (found, attempted > 10) == (0, True)
