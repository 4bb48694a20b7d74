"""The session of a JVM that another process has started, as a notebook's Python attaches to it."""

from __future__ import annotations

import os
from pathlib import Path

from py4j.java_gateway import JavaObject
from pyspark.conf import SparkConf
from pyspark.core.context import SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

__all__ = ["answered_here", "attach", "keys"]


def keys(spark: SparkSession) -> dict[str, str]:
    """The environment of a process that attaches to a session's JVM and imports the tests' modules."""
    gateway = spark.sparkContext._gateway.gateway_parameters
    door = {"PYSPARK_GATEWAY_PORT": str(gateway.port), "PYSPARK_GATEWAY_SECRET": gateway.auth_token}
    return {**os.environ, **door, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))}


def attach() -> SparkSession:
    """The session of the JVM that PYSPARK_GATEWAY_PORT names."""
    gateway = launch_gateway()
    running = gateway.jvm.JavaSparkContext.fromSparkContext(gateway.jvm.org.apache.spark.SparkContext.getOrCreate())
    return SparkSession(SparkContext(gateway=gateway, jsc=running, conf=SparkConf(_jconf=running.getConf())))


def answered_here(spark: SparkSession) -> None:
    """The JVM asks this process again what to do with a stream's batch, after another one that attached to it and streamed is gone."""
    gateway = spark.sparkContext._gateway
    if gateway.__dict__.get("_callback_server") is not None:  # else the next stream sees to it
        server = JavaObject("GATEWAY_SERVER", gateway._gateway_client)
        server.resetCallbackClient(server.getCallbackClient().getAddress(), gateway._python_proxy_port)
