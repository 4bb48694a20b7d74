# Databricks notebook source
# MAGIC %md
# MAGIC # A window's scores
# MAGIC What is finished is returned, not made again.

# COMMAND ----------
import os

import sparkml_ops as ops
from sparkml_ops.records import to_json

project = ops.Project.open(os.environ["CONF"], "tiny")

# COMMAND ----------
scored = project.score(os.environ["WINDOW"], as_of=os.environ["AS_OF"])
print(to_json(scored))
