"""The Spark session: given > active > spark-submit's > built here, and the only builder."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

from pyspark.sql import SparkSession

from sparkml_ops import jars
from sparkml_ops.config.spark import SparkSection
from sparkml_ops.errors import ConfigurationError

__all__ = ["DELTA_PACKAGE", "DELTA_SETTINGS", "SparkSection", "build", "class_archive", "find"]

DELTA_PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"
DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# A local session listens on loopback only; on a cluster the executors must reach the driver, and their administrator says what runs there.
_LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.python.daemon.module": "sparkml_ops.daemon"}

_JAVA_OPTIONS = "spark.driver.extraJavaOptions"


def find(settings: SparkSection, given: SparkSession | None = None) -> SparkSession:
    """The session to use: the given one, the active one, spark-submit's, or a new one.

    Raises:
        ConfigurationError: `spark.master` differs from the submitted one, or Delta's classes are missing.
    """
    session = given or SparkSession.getActiveSession()
    if session is None and _submitted():
        # spark-submit has set master, packages and the rest; ours would be ignored or fight with them.
        session = SparkSession.builder.appName(settings.app_name).getOrCreate()
        found = session.conf.get("spark.master", "")
        if "master" in settings.model_fields_set and found and found != settings.master:
            raise ConfigurationError(
                f"spark.master={settings.master!r} in the configuration and {found!r} from spark-submit",
                expected="the same master",
                mend=f"submit with --master {settings.master}, or run with --set spark.master={found}",
            )
    if session is None:
        return build(settings)
    _check_delta(session)
    return session


def build(settings: SparkSection) -> SparkSession:
    """Build a session with Delta, its jars fetched on first use and taken from the cache afterwards."""
    if settings.master.startswith("local"):
        # PySpark would start `python3` of the PATH for its workers, which need not have our packages.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(settings.app_name).master(settings.master)
    options = {**_defaults(settings), **settings.conf}
    if settings.master.startswith("local") and class_archive().exists():
        # Java leaves an archive of another Java or of other jars alone, and would say so on standard output.
        shared = f"-XX:SharedArchiveFile={class_archive()} -Xshare:auto -Xlog:disable"
        options[_JAVA_OPTIONS] = " ".join([shared, *filter(None, [options.get(_JAVA_OPTIONS)])])
    given = jars.known(options)
    for key, value in given.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    if given == options:
        jars.remember(options, session.conf.get("spark.jars", "") or "")
    return session


def _defaults(settings: SparkSection) -> dict[str, str]:
    return {
        **DELTA_SETTINGS,
        "spark.jars.packages": ",".join((DELTA_PACKAGE, *settings.packages)),
        "spark.driver.memory": settings.driver_memory,
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        # A month's verbs make some hundred pieces of generated code: with Spark's 100 places each month compiles them all again.
        "spark.sql.codegen.cache.maxEntries": "1000",
        "spark.databricks.delta.snapshotPartitions": str(settings.snapshot_partitions),
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.log.level": "ERROR",
        # Else every operation on a column asks the JVM eight times, to tell it the line of Python that an error might name.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        **(_LOCAL if settings.master.startswith("local") else {}),
    }


def class_archive() -> Path:
    """Where the set-up leaves Java's archive of Spark's classes; a session starts in two thirds of the time with it."""
    return Path(sys.prefix) / "share" / "sparkml-ops" / "spark.jsa"


def _submitted() -> bool:
    # spark-submit hands its Python program the address of the JVM that it started.
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _check_delta(session: SparkSession) -> None:
    wanted = DELTA_SETTINGS["spark.sql.extensions"]
    if wanted in (session.conf.get("spark.sql.extensions", "") or ""):
        return
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return
    flags = " ".join(f"--conf {key}={value}" for key, value in DELTA_SETTINGS.items())
    raise ConfigurationError(
        "a Spark session without Delta's classes",
        expected=f"Delta {metadata.version('delta-spark')}",
        mend=f"submit with --packages {DELTA_PACKAGE} {flags}",
    )
