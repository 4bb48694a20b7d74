"""A registered model as a function of Spark: for `withColumn`, `select` and SQL."""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession

from sparkml_ops.config.secret import reveal
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.engines import struct_udf
from sparkml_ops.scoring.model import publish_version
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Registry, parse_uri

__all__ = ["activate", "predict_udf"]

# In the session, because that is what a notebook's cells share, also under Spark Connect.
_TRACKING = "spark.sparkml_ops.mlflow.tracking_uri"
_STORAGE = "spark.sparkml_ops.storage.root"
_ONLY = "spark.sparkml_ops.release.model"


def activate(spark: SparkSession, *, tracking_uri: str, storage_root: str, only: str | None = None) -> None:
    """Make a project's stores those that `predict_udf` uses in this session.

    Args:
        spark: The session.
        tracking_uri: As configured: a reference `secret://...` stays one, and is looked up where it is used.
        storage_root: Folder or address that the executors read.
        only: The registered name that `predict_udf` may load, and from this store alone; None: any.
    """
    if only is not None:
        spark.conf.set(_ONLY, only)
    elif spark.conf.get(_ONLY, None) is not None:
        spark.conf.unset(_ONLY)
    spark.conf.set(_TRACKING, tracking_uri)
    spark.conf.set(_STORAGE, storage_root)


def predict_udf(
    spark: SparkSession,
    uri: str,
    *,
    tracking_uri: str | None = None,
    storage_root: str | None = None,
    allowed_loaders: Sequence[str] = (),
    trusted_pickles: Sequence[str] = (),
    explain: int = 0,
) -> Any:
    """A model of the registry as an iterator pandas UDF: a struct of its inputs in, a struct of its outputs out.

    The alias is resolved once, now, and the files are verified; columns are found by name. Besides the outputs the
    struct has `reason`: null, or why the row has no prediction (the outputs are null then); one bad row costs no other.

    Args:
        spark: The session.
        uri: `models:/<name>@<alias>` or `models:/<name>/<version>`.
        tracking_uri: MLflow's store; by default the active project's, then where MLflow itself would look (MLFLOW_TRACKING_URI).
        storage_root: Folder or address that driver and executors share; by default the active project's, then on a local
            master a folder of the user's temporary files.
        allowed_loaders: Modules that may load models of other kinds, as `mlflow.xgboost`.
        trusted_pickles: Registered names of models that may be unpickled by them, which runs what their makers wrote.
        explain: Inputs that the struct names for each row as those that move the prediction most, as `scoring.explain` says; 0: none.

    Returns:
        What `F.pandas_udf` returns; `spark.udf.register` takes it.

    Raises:
        ContractError: No such model, changed files, a loader that is not allowed, no storage that executors share, or another model
            than the active project's where its environment takes no other (`release.registered_names_only`).

    Example:
        ```python
        predict = predict_udf(spark, "models:/flights@champion")
        flights.withColumn("scored", predict(F.struct("distance", "carrier"))).select("scored.probability")
        spark.udf.register("predict", predict)
        spark.sql("SELECT predict(struct(distance, carrier)).probability FROM flights")
        ```
    """
    address = parse_uri(uri)
    only = spark.conf.get(_ONLY, None)
    of_its_own = bool(allowed_loaders or trusted_pickles)
    if only is not None and (address.name != only or tracking_uri is not None or of_its_own):
        raise ContractError(
            f"the model {uri!r}{' of another store' if tracking_uri is not None else ''}{' with loaders of its own' if of_its_own else ''}",
            expected=f"models:/{only}@<alias> or models:/{only}/<version> of the project's own store (release.registered_names_only)",
            mend="name the project's model, or use an environment that is not production",
        )
    where = tracking_uri or spark.conf.get(_TRACKING, None)
    storage = Storage(storage_root or spark.conf.get(_STORAGE, None) or _temporary(spark))
    registry = Registry(reveal(where) if where else None)
    model = publish_version(
        registry, storage, address.name, address.which, loaders=allowed_loaders, pickled=trusted_pickles, explain=explain
    ).published
    zone = spark.conf.get("spark.sql.session.timeZone", "UTC")
    if zone not in ("UTC", "Etc/UTC", "Z") and (times := [field.name for field in model.inputs if field.type == "timestamp"]):
        # pandas UDFs get timestamps as wall clock of the session's zone, in which an hour of autumn is two.
        raise ContractError(f"timestamps {times[:5]} in a session of zone {zone}", expected="UTC", mend="set spark.sql.session.timeZone=UTC")
    return struct_udf(model, model.inputs, cast=False)


def _temporary(spark: SparkSession) -> str:
    master = spark.conf.get("spark.master", None) or ""
    if not master.startswith("local"):
        raise ContractError(
            f"no storage that the executors of {master or 'this session'} share", expected="storage_root", mend="pass storage_root=..."
        )
    return f"{tempfile.gettempdir()}/sparkml_ops-{getpass.getuser()}"
