"""Feast's own point-in-time join, run by Feast in our session: its Spark offline store renders the SQL, we only drain it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

__all__ = ["NEEDS", "as_of_feast"]

# Feast and what of its needs is not in our environment, each without its own needs: those are there in our versions.
NEEDS = (
    "feast==0.67.0",
    "bigtree==1.5.3",
    "colorama==0.4.6",
    "dask==2026.8.0",
    "dill==0.4.1",
    "mmh3==5.3.1",
    "prometheus-client==0.24.1",
    "pyjwt==2.15.1",
    "tabulate==0.10.0",
    "tenacity==8.5.0",
    "toml==0.10.2",
    "toolz==1.2.0",
    "tqdm==4.70.1",
    "typeguard==4.6.0",
)
_REGEX_NAMES = "spark.sql.parser.quotedRegexColumnNames"


def as_of_feast(spine: DataFrame, table: DataFrame, folder: Path) -> Callable[[], DataFrame]:
    """A call of Feast's `get_historical_features` on one feature view without ttl and without a created column.

    Args:
        spine: Columns `key` and `ts`.
        table: Columns `key`, `ts` and float features.
        folder: Where Feast's registry of the view may lie; making it is no part of the call.
    """
    from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType  # type: ignore[import-not-found]
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource  # type: ignore[import-not-found]
    from feast.types import Float32  # type: ignore[import-not-found]

    features = [name for name in table.columns if name not in ("key", "ts")]
    table.createOrReplaceTempView("feast_features")
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "spark"},
        online_store=None,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entity = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    view = FeatureView(
        name="features",
        entities=[entity],
        ttl=timedelta(0),  # Feast's word for no limit, as in our lookup
        schema=[Field(name=name, dtype=Float32) for name in features],
        source=SparkSource(name="source", table="feast_features", timestamp_field="ts"),
        online=False,
    )
    store.apply([entity, view])
    return partial(_asked, store, spine, [f"features:{name}" for name in features])


def _asked(store: Any, spine: DataFrame, features: list[str]) -> DataFrame:
    """The frame that Feast hands out; what it sets in the session is set back, since it changes how others' names are read."""
    spark = spine.sparkSession
    before = spark.conf.get(_REGEX_NAMES)
    with redirect_stdout(sys.stderr):  # Feast prints which column it took for the time
        frame: DataFrame = store.get_historical_features(entity_df=spine, features=features).to_spark_df()
    if before is None:
        spark.conf.unset(_REGEX_NAMES)
    else:
        spark.conf.set(_REGEX_NAMES, before)
    return frame
