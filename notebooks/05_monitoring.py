# Databricks notebook source
# MAGIC %md
# MAGIC # Monitoring
# MAGIC Drift before the truth is known, performance once it is, and a decision with its evidence.

# COMMAND ----------
import os

import sparkml_ops as ops

conf = os.environ.get("SPARKML_OPS_CONF", "../conf")
overrides = tuple(os.environ.get("SPARKML_OPS_SET", "").split())
project = ops.Project.open(conf, "flights", overrides=overrides)
as_of = "2013-08-01"

# COMMAND ----------
# MAGIC %md
# MAGIC ## Drift against the champion's training set

# COMMAND ----------
report = project.drift("2013-07", as_of=as_of)
print(report.to_pandas().query("verdict == 'drift'")[["column", "statistic", "value"]].to_string(index=False))

# COMMAND ----------
# MAGIC %md
# MAGIC ## Performance
# MAGIC An estimate from calibrated scores needs no truth; the realised figure counts the truth that was known at the clock.

# COMMAND ----------
monitored = project.monitor("2013-07", as_of=as_of)
print(f"estimated AUC {monitored.value('auc', 'estimated'):.3f}, realised {monitored.value('auc'):.3f} on {monitored.completeness:.1%} of the rows")
for hours, share in monitored.lag:
    print(f"within {hours:g} h of the prediction: {share:.1%} of the labels")

# COMMAND ----------
# MAGIC %md
# MAGIC ## The decision
# MAGIC Recorded with what each trigger and brake saw, a "no" too.

# COMMAND ----------
decision = project.retrain("2013-07", as_of=as_of)
print(decision.decision, "-", decision.reason)
