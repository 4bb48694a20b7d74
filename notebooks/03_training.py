# Databricks notebook source
# MAGIC %md
# MAGIC # Training
# MAGIC Data-parallel, from a frozen training set; the result does not depend on the number of workers.

# COMMAND ----------
import os

import sparkml_ops as ops

conf = os.environ.get("SPARKML_OPS_CONF", "../conf")
overrides = tuple(os.environ.get("SPARKML_OPS_SET", "").split())
project = ops.Project.open(conf, "flights", overrides=overrides)
as_of = "2013-08-01"

# COMMAND ----------
# MAGIC %md
# MAGIC ## The training set
# MAGIC One immutable table with the versions of all that it was made from.

# COMMAND ----------
training_set = project.training_set(until="2013-07-01", as_of=as_of)
print(training_set.inputs)
project.store.load(training_set).groupBy("split").count().orderBy("split").show()

# COMMAND ----------
# MAGIC %md
# MAGIC ## Does it know too much?
# MAGIC Each feature by itself, times after the prediction, keys and whole rows that stand in two parts; and whether its inputs are still there.

# COMMAND ----------
report = project.store.audit(training_set, sample=20_000)
print("findings:", [(finding.kind, finding.subject) for finding in report.findings])
for strength in report.strengths[:3]:
    print(f"{strength.feature:28}{strength.measure} {strength.value:.4f}")
print("inputs gone:", {state.training_set.id: state.gone for state in project.store.training_sets()})
print("upkeep due:", [(item.table, [step.kind for step in item.steps]) for item in project.store.maintain(plan=True) if item.steps])

# COMMAND ----------
# MAGIC %md
# MAGIC ## The run
# MAGIC A training that was cut off goes on from its last checkpoint; a finished one is returned.

# COMMAND ----------
result = project.train(training_set, as_of=as_of)
for name in ("evaluation_auc", "baseline_logistic_auc", "auc_gain_logistic_lower", "evaluation_log_loss", "baseline_logistic_log_loss"):
    print(f"{name:28}{result.metrics[name]:.4f}")

# COMMAND ----------
# MAGIC %md
# MAGIC ## Registration and gates
# MAGIC The version carries its training set; the gate report says what was found and what was needed.

# COMMAND ----------
version = project.register(result, as_of=as_of)
print(version.name, version.version, version.digest[:12], version.training_set.id)
