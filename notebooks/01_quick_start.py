# Databricks notebook source
# MAGIC %md
# MAGIC # Quick start: from raw tables to monitored predictions
# MAGIC The same verbs as on the command line. What a finished run made is returned, not made again.

# COMMAND ----------
import os

import sparkml_ops as ops

conf = os.environ.get("SPARKML_OPS_CONF", "../conf")
overrides = tuple(os.environ.get("SPARKML_OPS_SET", "").split())
project = ops.Project.open(conf, "flights", overrides=overrides)
as_of = "2013-08-01"  # the clock: what became known later is not used

# COMMAND ----------
# MAGIC %md
# MAGIC ## Features and training set
# MAGIC Each feature is what was known two hours before the scheduled departure.

# COMMAND ----------
features = project.build_features(as_of="2014-01-01")
training_set = project.training_set(until="2013-07-01", as_of=as_of)
print(training_set)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Model
# MAGIC `promote` refuses a version without a passed gate report.

# COMMAND ----------
result = project.train(training_set, as_of=as_of)
version = project.register(result, as_of=as_of)
champion = project.champion or project.promote(version, as_of=as_of, actor="notebook")
print(f"July AUC {result.metrics['evaluation_auc']:.3f}, logistic regression {result.metrics['baseline_logistic_auc']:.3f}")

# COMMAND ----------
# MAGIC %md
# MAGIC ## Scores, drift, truth and a decision

# COMMAND ----------
scored = project.score("2013-07", as_of=as_of)
print(scored.rows, "scored,", scored.quarantined, "in quarantine")
project.predictions("2013-07").select("flight_id", "prediction.probability").show(5, truncate=False)

# COMMAND ----------
print(project.drift("2013-07", as_of=as_of).verdict)
print(project.monitor("2013-07", as_of=as_of).value("auc"))
print(project.retrain("2013-07", as_of=as_of).reason)
