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
