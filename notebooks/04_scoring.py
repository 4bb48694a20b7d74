# Databricks notebook source
# MAGIC %md
# MAGIC # Scoring
# MAGIC Each row of a window once: as a prediction, or in quarantine with a reason, in one commit.

# COMMAND ----------
import os

import sparkml_ops as ops

conf = os.environ.get("SPARKML_OPS_CONF", "../conf")
overrides = tuple(os.environ.get("SPARKML_OPS_SET", "").split())
project = ops.Project.open(conf, "flights", overrides=overrides)
as_of = "2013-08-01"

# COMMAND ----------
scored = project.score("2013-07", as_of=as_of)
print(scored.model.name, scored.model.version, scored.rows, "rows", scored.quarantined, "in quarantine")

# COMMAND ----------
# MAGIC %md
# MAGIC ## Predictions and quarantine are readers of one table

# COMMAND ----------
project.predictions("2013-07").selectExpr("model_version", "round(prediction.probability, 1) AS probability").groupBy(
    "model_version", "probability"
).count().orderBy("probability").show()
project.quarantine("2013-07").show()

# COMMAND ----------
# MAGIC %md
# MAGIC ## The model as a function of columns
# MAGIC `predict_udf` takes a struct with the columns of the signature, by name, in `withColumn` and in SQL.

# COMMAND ----------
from pyspark.sql import functions as F

predict = ops.scoring.predict_udf(project.spark, f"models:/{scored.model.name}/{scored.model.version}")
training_set = project.training_set(until="2013-07-01", as_of=as_of)
rows = project.store.load(training_set).where("split = 'evaluation'").limit(1000)
again = rows.select(predict(F.struct(*rows.columns)).alias("prediction"))
print("mean probability", again.agg(F.avg("prediction.probability")).first()[0])
