"""No feature of a flight knows anything that was not known two hours before its scheduled departure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

import feature_store as fs
from feature_store.table import FeatureTable
from sparkml_ops.config.root import Sections

Raw = Mapping[str, DataFrame]
Declared = Mapping[str, FeatureTable]
EARLY = "B6-23-JFK-20131103T1200Z"  # left 15 minutes before its scheduled departure at the full hour


@pytest.fixture(scope="module")
def joined(spark: SparkSession, raw: Raw, sections: Sections, declared: Declared, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    """The slice's flights with all lookups of the training set, and with the times of what each lookup took."""
    assert sections.training_set is not None
    spine = raw["raw_flights"].select("flight_id", "origin", "carrier", "dest", "tailnum", "prediction_time")
    lookups = []
    for lookup in (item.lookup() for item in sections.training_set.lookups):
        table = declared[lookup.table]
        known = None if table.aggregates else table.known_time
        names = tuple(feature.name for feature in table.features)
        lookups.append(
            fs.Lookup(_values(table, raw), lookup.keys, names, table.event_time, known, table.ttl, prefix=lookup.prefix or f"{table.name}_")
        )
    made = fs.point_in_time_join(spine, lookups, spine_time="prediction_time", audit=True)
    path = str(tmp_path_factory.mktemp("joined") / "rows")
    made.write.parquet(path)
    return spark.read.schema(made.schema).parquet(path)


def _values(table: FeatureTable, raw: Raw) -> DataFrame:
    """A feature table's rows, as a refresh computes them."""
    assert table.source is not None
    rows = raw[table.source]
    if table.transform is not None:
        rows = table.transform(rows)  # type: ignore[operator]
    return _grid(rows, table) if table.aggregates else rows


def _grid(rows: DataFrame, table: FeatureTable) -> DataFrame:
    assert table.slide is not None
    times = {"event_time": table.event_time, "known_time": table.known_time, "row_id": table.row_id}
    return fs.windows_every(rows, table.aggregates, keys=table.keys, slide=table.slide, **times)  # type: ignore[arg-type]


def test_nothing_comes_from_after_the_prediction(joined: DataFrame) -> None:
    """Of every lookup and every flight, event time and known time lie at the prediction or before it."""
    times = [name for name in joined.columns if name.endswith(("__event_time", "__known_time"))]

    found = joined.agg(
        *(F.count(name).alias(f"found {name}") for name in times), *(F.count_if(F.col(name) > F.col("prediction_time")).alias(name) for name in times)
    ).first()

    assert found is not None
    assert len(times) == 12
    assert {name: found[name] for name in times} == dict.fromkeys(times, 0)
    assert min(found[f"found {name}"] for name in times) > 1000


def test_windows_hold_what_a_slow_reader_finds(raw: Raw, joined: DataFrame) -> None:
    """At a hundred flights, the grid's values are those of a loop over the raw flights that looks at what was known at the grid time."""
    flights = raw["raw_flights"].select(
        "flight_id",
        "origin",
        "carrier",
        "dest",
        *(F.unix_micros(name).alias(name) for name in ("scheduled_departure", "departed_at", "departure_known", "arrival_known")),
        "cancelled",
        "late",
        (F.col("dep_delay") > 15).cast("double").alias("dep_late"),
    )
    wanted = ["origin_dep_late_mean_1h", "origin_overdue_3h", "carrier_arr_late_mean_7d", "dest_cancelled_mean_1d"]
    spine = joined.select("flight_id", "origin", "carrier", "dest", F.unix_micros("prediction_time").alias("at"), "origin_dep_late_mean_1d", *wanted)
    # Where a day passed without flights (before the slice begins) the grid has no row at all, and counts are null.
    sample = spine.where("origin_dep_late_mean_1d is not null").orderBy(F.xxhash64("flight_id")).limit(100).toPandas()

    expected = pd.DataFrame([_slowly(flights_of, row) for flights_of in [flights.toPandas()] for row in sample.itertuples()], columns=wanted)

    np.testing.assert_allclose(sample[wanted].to_numpy(float), expected.to_numpy(float), rtol=0, atol=1e-12)
    assert sample[wanted].notna().sum().min() > 10
    assert (sample.origin_overdue_3h > 0).any()


def test_an_early_flight_is_not_among_its_own_features(raw: Raw, declared: Declared) -> None:
    """What became of a flight that left early changes the features at its scheduled minute, and none at its prediction."""
    flight = raw["raw_flights"].where(F.col("flight_id") == EARLY)
    states = raw["raw_flight_states"].where(F.col("origin") == "JFK")
    changed = states.withColumn("dep_late", F.when(F.col("flight_id") == EARLY, 1 - F.col("dep_late")).otherwise(F.col("dep_late")))

    at_prediction = [_origin_delays(frame, flight, "prediction_time", declared["origin_delays"]) for frame in (states, changed)]
    at_departure = [_origin_delays(frame, flight, "scheduled_departure", declared["origin_delays"]) for frame in (states, changed)]

    early = flight.select("dep_delay").first()
    assert early is not None
    assert early["dep_delay"] == -15
    assert at_prediction[0] == at_prediction[1]
    assert at_departure[0] != at_departure[1]


def _origin_delays(states: DataFrame, flight: DataFrame, time: str, table: FeatureTable) -> Row:
    grid = _grid(states, table)
    lookup = fs.Lookup(grid, table.keys, event_time=table.event_time, ttl=table.ttl)
    spine = flight.select("origin", F.col(time).alias("at"))
    row = fs.point_in_time_join(spine, [lookup], spine_time="at").drop("at").first()
    assert row is not None
    return row


def _slowly(flights: pd.DataFrame, row: object) -> tuple[float, float, float, float]:
    """The four features of one flight, by the words of their meaning."""
    hour = timedelta(hours=1) // timedelta(microseconds=1)

    def scheduled(frame: pd.DataFrame, slide: int, hours: int) -> tuple[pd.DataFrame, int]:
        grid = row.at // (slide * hour) * slide * hour  # type: ignore[attr-defined]
        return frame[(frame.scheduled_departure > grid - hours * hour) & (frame.scheduled_departure <= grid)], grid

    origin = flights[flights.origin == row.origin]  # type: ignore[attr-defined]
    last, now = scheduled(origin, 1, 1)
    late = last[last.departed_at <= now].dep_late.mean()
    last, now = scheduled(origin, 1, 3)
    overdue = float((last.departure_known > now).sum())
    last, now = scheduled(origin[origin.carrier == row.carrier], 3, 7 * 24)  # type: ignore[attr-defined]
    arrived = last[last.arrival_known <= now].late.mean()
    last, now = scheduled(flights[flights.dest == row.dest], 6, 24)  # type: ignore[attr-defined]
    cancelled = last[last.departure_known <= now].cancelled.mean()
    return late, overdue, arrived, cancelled
