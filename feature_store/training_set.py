"""Training sets: examples at their prediction time, frozen in one Delta table with what they were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, LongType, StringType, StructField, StructType

from feature_store.assembly import Assembly, lookup_of
from feature_store.checks import refuse_clash, require_columns, require_instant
from feature_store.content import Content, content_columns, content_of, measure, row_hash
from feature_store.contract import in_range
from feature_store.delta import Tables, Transaction
from feature_store.duration import duration_text, parse_duration
from feature_store.errors import ContractError, TableNotFound
from feature_store.layout import ROW_GROUP, Layout, cell_of
from feature_store.names import parse_table, quote
from feature_store.records import Snapshot, TrainingSet
from feature_store.split import Split
from feature_store.table import definition_digest

__all__ = ["Examples", "TrainingSets"]

_TABLE = "training_sets"
_SCHEMA = StructType(
    [StructField(name, StringType(), False) for name in ("id", "name", "table_name", "definition", "definition_hash", "inputs", "content_hash", "as_of")]
    + [StructField("table_version", LongType(), False), StructField("rows", LongType(), False)]
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Delta writes 600,000 rows in one group and may compact small files after a commit; readers want neither.
_SETTINGS = {
    "parquet.block.row.count.limit": str(ROW_GROUP),
    "spark.databricks.delta.optimizeWrite.enabled": "false",
    "spark.databricks.delta.autoCompact.enabled": "false",
}


@dataclass(frozen=True)
class Examples:
    """Which rows of a spine are examples, and in which order and part they stand.

    Args:
        spine_time: Column of the instant of prediction.
        label: Column of the label; null or NaN is pending.
        label_known_time: Column of when it became known; None: with the label's maturity.
        row_key: Columns that identify an example; none: all columns of the spine.
        split: Parts; None: every row is "train".
        maturity: Age that an example needs before its label counts.
        seed: Seed of the order.
    """

    spine_time: str
    label: str
    label_known_time: str | None
    row_key: tuple[str, ...]
    split: Split | None
    maturity: timedelta
    seed: int

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **{name: getattr(self, name) for name in ("spine_time", "label", "label_known_time", "seed")},
            "row_key": list(self.row_key),
            "maturity": duration_text(self.maturity),
            "split": self.split.document() if self.split else None,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Examples:
        """The examples of a stored document."""
        split = Split.from_document(document["split"]) if document["split"] else None
        changed = {"row_key": tuple(document["row_key"]), "maturity": parse_duration(document["maturity"]), "split": split}
        return cls(**{**document, **changed})

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that the spine must have."""
        return (*self.row_key, self.spine_time, self.label, *((self.label_known_time,) if self.label_known_time else ()))

    def part(self, spine: DataFrame) -> Column:
        """The part of a row, null where it belongs to none."""
        if self.split is None:
            return F.lit("train")
        return self.split.column(F.col(quote(self.spine_time)), row_hash(spine, columns=self._key(spine), salt=f"split {self.split.seed}"))

    def order(self, spine: DataFrame) -> Column:
        """The hash that orders the rows."""
        return row_hash(spine, columns=self._key(spine), salt=f"order {self.seed}")

    def pending(self, spine: DataFrame) -> Column:
        """Whether the label is unknown."""
        label = F.col(quote(self.label))
        missing = label.isNull()
        return missing | F.isnan(label) if isinstance(spine.schema[self.label].dataType, FloatType | DoubleType) else missing

    def entry(self) -> Column:
        """Microseconds since the epoch from which a row may enter, null if never."""
        mature = F.unix_micros(F.col(quote(self.spine_time))) + F.lit(self.maturity // timedelta(microseconds=1))
        if self.label_known_time is None:
            return mature
        known = F.unix_micros(F.col(quote(self.label_known_time)))
        return F.when(known.isNotNull(), F.greatest(mature, known))

    def entered(self, spine: DataFrame, as_of: datetime) -> Column:
        """Whether a row is an example as of an instant."""
        mature = F.coalesce(self.entry() <= F.lit((as_of - _EPOCH) // timedelta(microseconds=1)), F.lit(False))
        return mature & ~self.pending(spine) & self.part(spine).isNotNull()

    def _key(self, spine: DataFrame) -> tuple[str, ...] | None:
        return self.row_key or None


@dataclass(frozen=True)
class Census:
    """What one pass over a spine tells before anything is joined.

    Args:
        layout: Where the examples will lie.
        content: Hash of the examples' spine rows.
        until: Instant in microseconds from which the last of them could enter: any `as_of` up to the next one gives the same set.
    """

    layout: Layout
    content: Content
    until: int


class TrainingSets:
    """Makes, finds and proves the training sets of one warehouse.

    Args:
        tables: Where they lie; the table `training_sets` lists them.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def create(self, name: str, assembly: Assembly, examples: Examples, as_of: datetime) -> TrainingSet:
        """Materialise a training set, or return it where it is there.

        Raises:
            ContractError: The spine has no example as of the instant, a row without key, or columns that clash.
        """
        _check(assembly, examples, name)
        census = _census(assembly.spine, examples, as_of)
        definition = {"name": name, **assembly.document(), **examples.document()}
        content = None if assembly.spine_name else census.content.digest
        known = definition_digest([definition, dict(assembly.inputs), census.until, content])
        identity = f"{name}_{known[:12]}"
        if found := self.find(identity):
            return found
        definition_hash = definition_digest(definition)
        frame = _arranged(assembly, examples, census.layout, assembly.spine.where(examples.entered(assembly.spine, as_of)))
        details = {"definition": definition_hash, "inputs": dict(assembly.inputs), "as_of": as_of.isoformat()}
        table = f"training_set_{identity}"
        written = self._tables.overwrite(table, frame, transaction=Transaction(table), details=details, settings=_SETTINGS).snapshot
        made = measure(self._tables.read(table, written.version))
        if made.rows != census.layout.rows:
            raise ContractError(
                f"{made.rows} rows in `{table}`",
                expected=f"the {census.layout.rows} counted before",
                mend="the spine gives other rows each time it is read: write it to a table first, then use another name",
            )
        result = TrainingSet(identity, written, dict(assembly.inputs), made.digest, made.rows)
        self._record(result, name, definition, definition_hash, as_of)
        return result

    def find(self, identity: str) -> TrainingSet | None:
        """The training set of an id, or None."""
        row = self._row(identity)
        return None if row is None else _record_of(row)

    def load(self, training_set: TrainingSet) -> DataFrame:
        """The rows of its pinned snapshot."""
        return self._tables.read(training_set.snapshot.table, training_set.snapshot.version)

    def rebuild(self, identity: str) -> TrainingSet:
        """Join the stored spine with the pinned inputs again, and prove the content hash.

        Raises:
            ContractError: No such training set, a version of an input is gone, or the content differs; says where.
        """
        row = self._row(identity)
        if row is None:
            known = sorted(str(item["id"]) for item in self._rows({}))
            raise TableNotFound(f"no training set `{identity}`", expected=f"one of {known[-5:]}", mend="correct the id")
        result, definition = _record_of(row), json.loads(row["definition"])
        stored = self.load(result)
        examples = Examples.from_document({name: definition[name] for name in Examples.__dataclass_fields__})
        spine = stored.select(*(F.col(quote(name)) for name in definition["spine_columns"]))
        lookups = tuple(lookup_of(item) for item in definition["lookups"])
        assembly = Assembly(self._tables, spine, definition["spine"], lookups, examples.spine_time, result.inputs)
        as_of = datetime.fromisoformat(row["as_of"])
        try:
            again = _arranged(assembly, examples, _census(spine, examples, as_of).layout, spine)
            made = measure(again)
            differences = [] if made == Content(result.rows, result.content_hash) else _differences(stored, again)
        except (PySparkException, TableNotFound) as error:
            raise self._gone(assembly, error) from error
        if made != Content(result.rows, result.content_hash):
            raise ContractError(
                f"content {made.digest} of {made.rows} rows in the rebuilt `{identity}` ({'; '.join(differences[:5])})",
                expected=f"{result.content_hash} of {result.rows} rows",
                mend="an input or the stored table was changed under its version: make a new training set",
            )
        return result

    def _gone(self, assembly: Assembly, error: Exception) -> Exception:
        """The error that names the input whose pinned version can no longer be read; any other error as it is."""
        gone = [f"`{name}` at version {version}" for name, version in assembly.inputs.items() if name in _joined(assembly) and self._lost(name, version, error)]
        if not gone:
            return error
        return TableNotFound(f"no longer readable: {', '.join(gone)}", expected="the pinned inputs", mend="restore their files, or make a new training set")

    def _lost(self, name: str, version: int, error: Exception) -> bool:
        try:
            # A version may still be listed while its files are vacuumed: then the failed read names its folder.
            return not self._tables.read(name, version).columns or self._tables.location(name) in str(error)
        except (PySparkException, TableNotFound):
            return True

    def _rows(self, where: Mapping[str, str]) -> list[dict[str, Any]]:
        return self._tables.rows(_TABLE, where) if self._tables.exists(_TABLE) else []

    def _row(self, identity: str) -> dict[str, Any] | None:
        return next(iter(self._rows({"id": identity})), None)

    def _record(self, made: TrainingSet, name: str, definition: Mapping[str, Any], definition_hash: str, as_of: datetime) -> None:
        values = {
            "id": made.id,
            "name": name,
            "table_name": made.snapshot.table,
            "definition": json.dumps(definition),
            "definition_hash": definition_hash,
            "inputs": json.dumps(made.inputs),
            "content_hash": made.content_hash,
            "as_of": as_of.isoformat(),
            "table_version": made.snapshot.version,
            "rows": made.rows,
        }
        self._tables.ensure(_TABLE, _SCHEMA)
        row = self._tables.spark.createDataFrame([tuple(values[field.name] for field in _SCHEMA.fields)], _SCHEMA)
        self._tables.append(_TABLE, row, transaction=Transaction(made.id))


def _record_of(row: Mapping[str, Any]) -> TrainingSet:
    snapshot = Snapshot(row["table_name"], row["table_version"])
    return TrainingSet(row["id"], snapshot, json.loads(row["inputs"]), row["content_hash"], row["rows"])


def _check(assembly: Assembly, examples: Examples, name: str) -> None:
    parse_table(f"training_set_{name}_{'0' * 12}")
    spine = assembly.spine
    require_columns(spine, examples.needed, "the spine")
    if examples.label_known_time:
        require_instant(spine.schema, examples.label_known_time, "label_known_time")
    if examples.maturity < timedelta(0):
        raise ContractError(f"a maturity of {examples.maturity}", expected="zero or more", mend="correct it")
    refuse_clash({"the training set": ("split", "row_position"), "the joined columns": assembly.join(spine).columns})


def _census(spine: DataFrame, examples: Examples, as_of: datetime) -> Census:
    """Count the examples in each cell of the order's hash, in one job; at most 65,537 rows reach the driver."""
    entered = examples.entered(spine, as_of)
    entry = examples.entry()
    no_key = [F.col(quote(name)).isNull() for name in examples.row_key]
    counted = spine.groupBy(F.when(entered, cell_of(examples.order(spine))).alias("cell")).agg(
        *content_columns(row_hash(spine)),
        F.max(entry).alias("until"),
        F.count_if(examples.pending(spine)).alias("pending"),
        F.count_if(_any(no_key)).alias("no_key"),
        F.count_if(~in_range(examples.spine_time)).alias("impossible"),
    )
    rows = counted.collect()
    inside = [row for row in rows if row["cell"] is not None]
    _check_census(rows, inside, examples, as_of)
    content = content_of(_summed(inside))
    return Census(Layout({row["cell"]: row["content_rows"] for row in inside}), content, max(row["until"] for row in inside))


def _check_census(rows: Sequence[Row], inside: Sequence[Row], examples: Examples, as_of: datetime) -> None:
    total = sum(row["content_rows"] for row in rows)
    if impossible := sum(row["impossible"] for row in rows):
        raise ContractError(f"{impossible} rows with `{examples.spine_time}` outside 1900 to 2200", expected="possible instants", mend="correct or filter them")
    if not inside:
        pending = sum(row["pending"] for row in rows)
        raise ContractError(
            f"no example among {total} rows of the spine as of {as_of.isoformat()} ({pending} with a pending label)",
            expected=f"`{examples.spine_time}` + {duration_text(examples.maturity)} up to as_of, a known label, a time inside the split",
            mend="use a later as_of, or correct where, split or label_known_time",
        )
    if missing := sum(row["no_key"] for row in inside):
        raise ContractError(f"{missing} examples with a null in {examples.row_key}", expected="a row key in every row", mend="filter them with where")


def _summed(rows: Iterable[Row]) -> Row:
    mixed = total = count = 0
    for row in rows:
        count, total, mixed = count + row["content_rows"], total + int(row["content_sum"]), mixed ^ row["content_xor"]
    return Row(content_rows=count, content_sum=total, content_xor=mixed)


def _arranged(assembly: Assembly, examples: Examples, layout: Layout, spine: DataFrame) -> DataFrame:
    joined = assembly.join(spine).withColumn("split", examples.part(spine))
    return layout.arrange(joined, examples.order(spine), row_hash(spine, salt="tie"))


def _differences(stored: DataFrame, again: DataFrame) -> list[str]:
    """Where two versions of a training set differ, column by column."""
    if missing := sorted(set(stored.columns) ^ set(again.columns)):
        return [f"columns {missing}"]
    left, right = (frame.select(F.col("row_position").alias(f"{side}_at"), F.struct(*frame.columns).alias(side)) for frame, side in ((stored, "a"), (again, "b")))
    pairs = left.join(right, F.col("a_at") == F.col("b_at"), "full_outer")
    counts = [F.count_if(~F.col("a").getField(name).eqNullSafe(F.col("b").getField(name))).alias(name) for name in stored.columns]
    found = pairs.agg(*counts).first()
    assert found is not None
    return [f"`{name}` differs in {found[name]} rows" for name in stored.columns if found[name]]


def _joined(assembly: Assembly) -> set[str]:
    return {lookup.table for lookup in assembly.lookups if isinstance(lookup.table, str)}


def _any(conditions: Sequence[Column]) -> Column:
    result = F.lit(False)
    for condition in conditions:
        result = result | condition
    return result
