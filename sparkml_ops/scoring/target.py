"""The table of a target: one physical table, partitioned by window, slot and outcome, and its two readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    FloatType,
    IntegerType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
    VariantType,
)

from feature_store.delta import Commit, Tables, Transaction
from feature_store.names import quote
from feature_store.scan import plan_scan
from sparkml_ops.errors import ContractError, OpsError
from sparkml_ops.records import ModelVersion, ScoredWindow, Snapshot
from sparkml_ops.scoring.engines import REASON
from sparkml_ops.scoring.kinds import spark_kind
from sparkml_ops.scoring.matching import nearest
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.scoring.signature import Field

__all__ = [
    "LINEAGE",
    "OUTCOME",
    "OUTCOMES",
    "PARTITIONS",
    "PREDICTION",
    "QUARANTINED",
    "SCORED",
    "SLOT",
    "counted",
    "finished",
    "identity_fields",
    "landed",
    "lineage",
    "predictions",
    "quarantine",
    "record_of",
    "target_rows",
    "target_schema",
    "transaction",
]

SLOT, OUTCOME, PREDICTION = "slot", "outcome", "prediction"
PARTITIONS = (WINDOW, SLOT, OUTCOME)
OUTCOMES = SCORED, QUARANTINED = "scored", "quarantined"
# What each row carries besides its key, time, prediction and reason.
LINEAGE = (
    StructField("model_name", StringType()),
    StructField("model_version", IntegerType()),
    StructField("run_id", StringType()),
    StructField("feature_versions", StringType()),  # JSON: a map would stand in the way of DISTINCT and set operations
    StructField("scored_at", TimestampType()),
    StructField("generation", IntegerType()),
    *(StructField(name, StringType()) for name in PARTITIONS),
)


def predictions(tables: Tables, target: str, *, window: str | None = None, slot: str | None = None) -> DataFrame:
    """Scored rows of a target, of all windows and slots unless named.

    Raises:
        TableNotFound: Nothing has been scored yet.
    """
    return _read(tables, target, SCORED, window, slot).drop(REASON)


def quarantine(tables: Tables, target: str, *, window: str | None = None, slot: str | None = None) -> DataFrame:
    """Rows of a target that were set aside, each with its reason.

    Raises:
        TableNotFound: Nothing has been scored yet.
    """
    return _read(tables, target, QUARANTINED, window, slot).drop(PREDICTION)


def finished(tables: Tables, target: str, *, window: str, slot: str, generation: int = 0) -> ScoredWindow | None:
    """The record of a window that has been scored, or None; needs neither a model nor, under a warehouse root, Spark.

    Raises:
        OpsError: It was scored so long ago that the table's log forgot the record.
    """
    commit = landed(tables, target, window=window, slot=slot, generation=generation)
    return None if commit is None else record_of(commit)


def landed(tables: Tables, target: str, *, window: str, slot: str, generation: int = 0) -> Commit | None:
    """The commit of a window that has been scored, or None."""
    return tables.landed(target, transaction(target, window, slot, generation))


def counted(tables: Tables, snapshot: Snapshot, place: Mapping[str, str]) -> tuple[int, int]:
    """Scored and quarantined rows of a version of a target: from its log where that tells, else by two jobs.

    Args:
        place: Window, slot, or both.
    """
    scan = plan_scan(tables, snapshot, where=place)
    if scan is not None:
        scored = sum(file.rows for file in scan.files if file.partition[OUTCOME] == SCORED)
        return scored, scan.rows - scored
    rows = tables.read(snapshot.table, snapshot.version)
    for name, value in place.items():
        rows = rows.where(F.col(name) == F.lit(value))
    scored = rows.where(F.col(OUTCOME) == F.lit(SCORED)).count()
    return scored, rows.count() - scored


def transaction(target: str, window: str, slot: str, generation: int) -> Transaction:
    """The write that lands once for a run key."""
    return Transaction(f"{target}/{window}/{slot}/{generation}")


def record_of(commit: Commit) -> ScoredWindow:
    """The record that its commit carries: the same for the driver that made it and for any that comes later."""
    details = commit.details
    if "model" not in details:
        raise OpsError(
            f"table `{commit.snapshot.table}`, whose log no longer holds the record of this window",
            expected="the ledger to know it",
            mend="`sparkml-ops runs list` shows it; score again with --generation next",
        )
    model = TypeAdapter(ModelVersion).validate_python(details["model"])
    return ScoredWindow(model, details["window"], details["slot"], commit.snapshot, details["rows"], details["quarantined"])


def identity_fields(schema: StructType, row_key: Sequence[str], spine_time: str, where: str) -> tuple[StructField, ...]:
    """Row key and spine time as columns of the scoring set.

    Raises:
        ContractError: One is missing, has a type without equality or time, or a name that the target needs itself.
    """
    known = {field.name: field for field in schema.fields}
    names = tuple(dict.fromkeys((*row_key, spine_time)))
    if not row_key:
        raise ContractError(f"no row key for {where}", expected="columns that identify a row", mend="name them as the spine's row_key")
    for name in (*names, WINDOW):
        if name not in known:
            raise ContractError(
                f"no column `{name}` in {where}{nearest(name, known)}", expected="row key, spine time and window", mend="materialise it again"
            )
        if isinstance(known[name].dataType, ArrayType | MapType | StructType | VariantType | FloatType | DoubleType):
            kind = known[name].dataType.simpleString()
            raise ContractError(f"`{name}` of type {kind} in the row key", expected="text, whole numbers, dates or timestamps", mend="cast it")
    if not isinstance(known[spine_time].dataType, TimestampType):
        kind = known[spine_time].dataType.simpleString()
        raise ContractError(
            f"the spine time `{spine_time}` of type {kind}",
            expected="timestamp (a UTC instant)",
            mend=f"cast it: CAST({quote(spine_time)} AS TIMESTAMP)",
        )
    if taken := [name for name in names if name in {PREDICTION, REASON, *(field.name for field in LINEAGE)}]:
        raise ContractError(
            f"{', '.join(taken)} in the row key of {where}", expected="other names: the target has columns of these", mend="rename them"
        )
    return tuple(known[name] for name in names)


def target_schema(identity: Sequence[StructField], outputs: Sequence[Field]) -> StructType:
    """Columns of the target."""
    keys = [StructField(field.name, field.dataType) for field in identity]
    values = StructType([StructField(field.name, spark_kind(field.type)) for field in outputs])
    return StructType([*keys, StructField(PREDICTION, values), StructField(REASON, StringType()), *LINEAGE])


def lineage(
    *, model: ModelVersion, feature_versions: Mapping[str, int], run_id: str, scored_at: datetime, generation: int
) -> dict[str, str | int | datetime]:
    """What each row carries besides its key, time, prediction, reason and partition, by column."""
    return {
        "model_name": model.name,
        "model_version": model.version,
        "run_id": run_id,
        "feature_versions": json.dumps(dict(feature_versions), sort_keys=True),
        "scored_at": scored_at,
        "generation": generation,
    }


def target_rows(
    staged: DataFrame, identity: Sequence[StructField], outputs: Sequence[Field], *, carried: Mapping[str, object], window: str, slot: str
) -> DataFrame:
    """Staged rows as rows of the target.

    Args:
        carried: What `lineage` gives.
    """
    constants: dict[str, Column] = {name: F.lit(value) for name, value in {**carried, WINDOW: window, SLOT: slot}.items()}
    constants[OUTCOME] = F.when(F.col(REASON).isNull(), F.lit(SCORED)).otherwise(F.lit(QUARANTINED))
    values = F.struct(*(F.col(f"output_{index}").alias(field.name) for index, field in enumerate(outputs)))
    return staged.select(
        *(F.col(f"identity_{index}").alias(field.name) for index, field in enumerate(identity)),
        F.when(F.col(REASON).isNull(), values).alias(PREDICTION),
        F.col(REASON),
        *(constants[field.name].cast(field.dataType).alias(field.name) for field in LINEAGE),
    )


def _read(tables: Tables, target: str, outcome: str, window: str | None, slot: str | None) -> DataFrame:
    rows = tables.read(target).where(F.col(OUTCOME) == F.lit(outcome)).drop(OUTCOME)
    for name, value in ((WINDOW, window), (SLOT, slot)):
        if value is not None:
            rows = rows.where(F.col(name) == F.lit(value))
    return rows
