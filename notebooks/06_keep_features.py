# Databricks notebook source
# MAGIC %md
# MAGIC # Keep features
# MAGIC The life of one table, small and in a folder of its own: windows on a grid, refreshes by what changed, a stream of the same
# MAGIC definition, a range computed again, tests against the oracle, and an entity that asks to be forgotten.

# COMMAND ----------
import os
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime

import pandas as pd

import feature_store as fs
import sparkml_ops as ops
from feature_store.testing import assert_pit_equal, window_oracle

project = ops.Project.open(os.environ.get("SPARKML_OPS_CONF", "../conf"), "flights", overrides=tuple(os.environ.get("SPARKML_OPS_SET", "").split()))
spark = project.spark
folder = tempfile.mkdtemp(prefix="keep-features-")
store = fs.FeatureStore(spark, root=f"{folder}/warehouse")


def at(day, hour=0):
    return datetime(2024, 5, day, hour, tzinfo=UTC)


SALES = "shop string, sold_at timestamp, reported_at timestamp, amount double"
known = [("north", at(1, 9), at(1, 20), 100.0), ("south", at(1, 11), at(1, 12), 40.0), ("north", at(2, 9), at(2, 10), 60.0)]


def sales(rows):
    return spark.createDataFrame(rows, SALES).coalesce(1)


# COMMAND ----------
# MAGIC %md
# MAGIC ## Windows on a grid
# MAGIC A row for each shop at each instant at which a window holds a sale that was reported by then, and one after the last.

# COMMAND ----------
first = sales(known)
totals = [
    fs.Aggregate("sum", "amount", "1d"),
    fs.Aggregate("approx_quantile", "amount", "1d", q=0.5, name="amount_median_1d"),
    fs.Aggregate("count", None, "1d", where="amount > 50", name="large_sales_1d"),
]
grid = {"keys": ("shop",), "event_time": "sold_at", "known_time": "reported_at", "slide": "12h"}
daily = fs.windows_every(first, totals, **grid)
daily.orderBy("shop", "sold_at").show(truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Tests of your own features
# MAGIC The oracle is written apart from the engine, in plain Python; `assert_pit_equal` shows rows that differ side by side.

# COMMAND ----------
exact, large = [totals[0], totals[2]], {"large_sales_1d": lambda sale: sale["amount"] > 50}


def by_oracle(rows):
    events = pd.DataFrame(rows, columns=["shop", "sold_at", "reported_at", "amount"], dtype=object)
    return window_oracle(events, exact, **grid, where=large)


assert_pit_equal(fs.windows_every(first, exact, **grid), by_oracle(known))
print("windows as the oracle says")

# COMMAND ----------
# MAGIC %md
# MAGIC ## A table that follows its source
# MAGIC The source records its changes; `plan_refresh` says what a refresh would do with them, and why. A sale of the third that is reported in the
# MAGIC night to the fourth counts from then on, and not an instant earlier.

# COMMAND ----------
source = f"{folder}/warehouse/sales"
first.write.format("delta").option("delta.enableChangeDataFeed", "true").save(source)
table = fs.FeatureTable(
    "shop_daily",
    keys=("shop",),
    event_time="sold_at",
    known_time="reported_at",
    features=[fs.Feature("amount_sum_1d", "double", unit="EUR"), fs.Feature("large_sales_1d", "bigint")],
    source="sales",
    aggregates=exact,
    slide="12h",
    owner="shops",
    pii=("shop",),
)
store.register(table)
store.refresh("shop_daily", as_of=at(4))
late = ("south", at(3, 15), at(4, 2), 70.0)
sales([late]).write.format("delta").mode("append").save(source)
print(store.plan_refresh("shop_daily", as_of=at(5)).text)
store.refresh("shop_daily", as_of=at(5))
store.read("shop_daily").orderBy("shop", "sold_at").show(truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## The same as a stream
# MAGIC It ends where the refresh would end; with `available_now=False` it goes on until it is stopped.

# COMMAND ----------
new = ("north", at(5, 9), at(5, 10), 80.0)
sales([new]).write.format("delta").mode("append").save(source)
store.stream("shop_daily", checkpoint=f"{folder}/checkpoint").awaitTermination()
assert_pit_equal(store.read("shop_daily"), by_oracle([*known, late, new]))
print("the stream ended in the rows of a rebuild:", store.read("shop_daily").count())

# COMMAND ----------
# MAGIC %md
# MAGIC ## A range once more
# MAGIC After a mend of the source, say. What stands there already is not written again.

# COMMAND ----------
before = store.read("shop_daily").count()
store.backfill("shop_daily", at(1), at(3), as_of=at(6))
print("rows before and after the backfill:", before, store.read("shop_daily").count())

# COMMAND ----------
# MAGIC %md
# MAGIC ## A definition grows old
# MAGIC Its successor is a version of its own; whoever still looks the old one up is warned.

# COMMAND ----------
store.register(replace(table, deprecated=date(2024, 5, 30)))
print("deprecated from", store.table("shop_daily").deprecated)
print([node.name for node in store.lineage("sales").downstream])

# COMMAND ----------
# MAGIC %md
# MAGIC ## Somebody is to be forgotten
# MAGIC First what would be touched; then the erasure, with its proof. Upkeep finds nothing that is due in tables so small.

# COMMAND ----------
planned = store.forget({"shop": "south"}, dry_run=True)
print({item.table: item.rows for item in planned.tables})
report = store.forget({"shop": "south"}, include_sources=True)
print("files that still tell of it:", report.proof.findings)
print("due upkeep:", [step.kind for item in store.maintain(plan=True) for step in item.steps])
