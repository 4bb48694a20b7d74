"""Runs, models and aliases in MLflow: the only package that imports it.

MLflow itself is imported when a store is first opened, so that a command which needs none
starts quickly. Its telemetry is switched off before that, in every process that comes by here.
"""

from __future__ import annotations

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
# A model folder holds what its digest covers, not the lock file of whatever folder the process runs in.
os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
# Its own lines about migrations of the store would stand between ours.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from sparkml_ops.tracking.address import ModelAddress, parse_uri
from sparkml_ops.tracking.inspection import OWN_LOADER, check_package, load_pyfunc
from sparkml_ops.tracking.registered import ListedModel, Logged, RegisteredModel
from sparkml_ops.tracking.registry import Registry
from sparkml_ops.tracking.run import Run
from sparkml_ops.tracking.tracking import Tracking

__all__ = [
    "OWN_LOADER",
    "ListedModel",
    "Logged",
    "ModelAddress",
    "RegisteredModel",
    "Registry",
    "Run",
    "Tracking",
    "check_package",
    "load_pyfunc",
    "parse_uri",
]
