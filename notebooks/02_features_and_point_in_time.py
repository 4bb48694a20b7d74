# Databricks notebook source
# MAGIC %md
# MAGIC # Features and point in time
# MAGIC A feature counts from the instant on at which it was known, not from the instant that it is about.

# COMMAND ----------
import os

import sparkml_ops as ops

conf = os.environ.get("SPARKML_OPS_CONF", "../conf")
overrides = tuple(os.environ.get("SPARKML_OPS_SET", "").split())
project = ops.Project.open(conf, "flights", overrides=overrides)

# COMMAND ----------
# MAGIC %md
# MAGIC ## A feature table
# MAGIC Declared in `conf/projects/flights/features.yaml`; every version of it stays readable.

# COMMAND ----------
snapshot = {snapshot.table: snapshot for snapshot in project.build_features(as_of="2014-01-01")}["origin_delays"]
delays = project.store.read("origin_delays", snapshot.version)
delays.orderBy("origin", "scheduled_departure").show(3)

# COMMAND ----------
# MAGIC %md
# MAGIC ## The join
# MAGIC The delay of a flight that left at nine is known at nine: a prediction at half past eight does not see it.

# COMMAND ----------
from datetime import datetime

import feature_store as fs

spark = project.spark
spine = spark.createDataFrame([("N1", datetime(2013, 7, 1, 8, 30)), ("N1", datetime(2013, 7, 1, 9, 30))], "plane string, at timestamp")
flights = spark.createDataFrame(
    [("N1", datetime(2013, 7, 1, 6), datetime(2013, 7, 1, 6, 5), 5), ("N1", datetime(2013, 7, 1, 8), datetime(2013, 7, 1, 9), 60)],
    "plane string, scheduled timestamp, known timestamp, delay int",
)
lookup = fs.Lookup(flights, keys=("plane",), features=("delay",), event_time="scheduled", known_time="known")
joined = fs.point_in_time_join(spine, [lookup], spine_time="at", audit=True).orderBy("at")
joined.show(truncate=False)
print("delays seen:", [row["delay"] for row in joined.collect()])

# COMMAND ----------
# MAGIC %md
# MAGIC ## Windows at each row
# MAGIC The same rule for aggregates: flights of the day before whose delay was known.

# COMMAND ----------
windows = fs.windows_at(
    spine,
    flights,
    [fs.Aggregate("mean", "delay", "1d"), fs.Aggregate("count", None, "1d")],
    keys={"plane": "plane"},
    spine_time="at",
    event_time="scheduled",
    known_time="known",
)
windows.orderBy("at").show()

# COMMAND ----------
# MAGIC %md
# MAGIC ## Features of the request
# MAGIC Declared once: as SQL or as a function of Arrow arrays. Training and scoring sets get the column, and a service asks for a single row.

# COMMAND ----------
import pyarrow.compute as pc

functions = [
    fs.RowFunction("long_haul", "boolean", {"distance": "double"}, expression="distance > 2000", meaning="More than 2,000 miles"),
    fs.RowFunction("hours", "double", {"scheduled_minutes": "double"}, function=lambda minutes: pc.divide(minutes, 60.0), unit="h"),
]
flights = project.store.read("raw_flights").select("flight_id", "origin", "prediction_time", "distance", "scheduled_minutes")
flights = flights.withColumns({name: flights[name].cast("double") for name in ("distance", "scheduled_minutes")})
lookup = fs.Lookup("origin_weather", keys=("origin",), features=("temperature",))
scored, versions = project.store.assemble(flights.limit(3), [lookup], spine_time="prediction_time", functions=functions)
scored.show()
print("a single row:", fs.apply_functions(functions, {"distance": 2475.0, "scheduled_minutes": 330.0}, spark=spark))

# COMMAND ----------
# MAGIC %md
# MAGIC ## What is expected of the rows
# MAGIC The report of the last write stands in the table's log; no row is read for it.

# COMMAND ----------
report = project.store.quality("origin_weather")
for verdict in report.verdicts:
    print(f"{verdict.outcome:12} {verdict.failed:6} {verdict.name}")
