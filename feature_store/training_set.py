"""Training sets: examples at their prediction time, frozen in one Delta table with what they were made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from feature_store.assembly import Assembly, lookup_of
from feature_store.checks import refuse_clash, require_columns, require_instant, require_site
from feature_store.content import Content, measure, row_hash
from feature_store.delta import TableFiles, Tables, Transaction
from feature_store.erasure.forgotten import Forgotten, refuse_erased
from feature_store.errors import ContractError, TableNotFound
from feature_store.examples import ENTERED, Census, Examples, take_census
from feature_store.layout import ROW_GROUP, Layout, SiteLayout
from feature_store.leakage import LeakageReport
from feature_store.leakage_audit import Audit, Limits, SourceTimes
from feature_store.names import parse_table, quote
from feature_store.pii import without_statistics
from feature_store.point_in_time import JoinStatistics
from feature_store.records import Snapshot, TrainingSet, TrainingSetState
from feature_store.row_function import function_of
from feature_store.table import definition_digest

__all__ = ["STAGES", "TrainingSets"]

# What making a training set consists of, in order.
STAGES = ("counting examples", "joining features", "hashing the content")

_TABLE = "training_sets"
_SCHEMA = StructType(
    [
        StructField(name, StringType(), False)
        for name in ("id", "name", "table_name", "definition", "definition_hash", "inputs", "content_hash", "as_of")
    ]
    + [StructField("table_version", LongType(), False), StructField("rows", LongType(), False)]
)
# Delta writes 600,000 rows in one group and may compact small files after a commit; readers want neither.
_SETTINGS = {
    "parquet.block.row.count.limit": str(ROW_GROUP),
    "spark.databricks.delta.optimizeWrite.enabled": "false",
    "spark.databricks.delta.autoCompact.enabled": "false",
}


class TrainingSets:
    """Makes, finds and proves the training sets of one warehouse.

    Args:
        tables: Where they lie; the table `training_sets` lists them.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def create(self, name: str, assembly: Assembly, examples: Examples, as_of: datetime, on_stage: Callable[[str], None]) -> TrainingSet:
        """Materialise a training set, or return it where it is there.

        Args:
            on_stage: Told what is done next; `STAGES` in this order.

        Raises:
            ContractError: The spine has no example as of the instant, a row without key, or columns that clash.
        """
        _check(assembly, examples, name)
        on_stage(STAGES[0])
        census = take_census(assembly.spine, examples, as_of)
        definition = {"name": name, **assembly.document(), **examples.document()}
        # The last instant tells no two sets apart where a correction may take an example away.
        content = None if assembly.spine_name and not assembly.spine_known_time else census.content.digest
        known = definition_digest([definition, dict(assembly.inputs), census.until, content])
        identity = f"{name}_{known[:12]}"
        if found := self.find(identity):
            return found
        definition_hash = definition_digest(definition)
        spine, assembly = assembly.spine, _narrowed(assembly, census)
        # Most spines hold no correction: their rows are not shuffled a second time to find one.
        entered = examples.mark(spine, as_of).where(ENTERED).drop(ENTERED) if census.corrected else spine.where(examples.entered(spine, as_of))
        frame = _arranged(assembly, examples, census.layout, entered, assembly.counted(entered))
        details = {"definition": definition_hash, "inputs": dict(assembly.inputs), "as_of": as_of.isoformat()}
        table = f"training_set_{identity}"
        on_stage(STAGES[1])
        sites = (examples.site,) if examples.site else ()
        without_statistics(self._tables, table, frame.schema, assembly.personal, sites)
        written = self._tables.overwrite(
            table, frame, partition_by=sites, transaction=Transaction(table), details=details, settings=_SETTINGS
        ).snapshot
        on_stage(STAGES[2])
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
        return None if row is None else self._standing(_record_of(row))

    def all(self) -> tuple[TrainingSet, ...]:
        """Every recorded training set, by the instant as of which it was made."""
        return tuple(made for made, _ in self.defined())

    def defined(self) -> tuple[tuple[TrainingSet, dict[str, Any]], ...]:
        """Each of them with what it was made by, as `definition` gives it."""
        return tuple((_record_of(row), dict(json.loads(row["definition"]))) for row in self._in_order())

    def definition(self, identity: str) -> dict[str, Any] | None:
        """What a training set was made by, as JSON types: spine, spine_time, row_key, split and the rest; None where there is none."""
        row = self._row(identity)
        return None if row is None else dict(json.loads(row["definition"]))

    def using(self, table: str, columns: Collection[str] | None = None) -> tuple[str, ...]:
        """Ids of the training sets that were made from a table, sorted.

        Args:
            table: Its logical name, `name@v2` for a second version.
            columns: Only those that hold one of these columns of it; None: all.
        """
        found = {row["id"]: json.loads(row["definition"]) for row in self._rows({}) if table in json.loads(row["inputs"])}
        return tuple(sorted(identity for identity, definition in found.items() if columns is None or _taken(definition, table) & set(columns)))

    def load(self, training_set: TrainingSet) -> DataFrame:
        """The rows of its pinned snapshot."""
        return self._tables.read(training_set.snapshot.table, training_set.snapshot.version)

    def rebuild(self, identity: str) -> TrainingSet:
        """Join the stored spine with the pinned inputs again, and prove the content hash.

        Raises:
            ContractError: No such training set, a version of an input is gone, or the content differs; says where.
        """
        row = self._known(identity)
        refuse_erased(self._tables, identity)
        result, stored = _record_of(row), self.load(_record_of(row))
        examples, assembly = self._assembly(row, stored)
        spine = assembly.spine
        as_of = datetime.fromisoformat(row["as_of"])
        expected = Content(result.rows, result.content_hash)
        try:
            census = take_census(spine, examples, as_of)
            again = _arranged(_narrowed(assembly, census), examples, census.layout, spine)
            made = measure(again)
            differences = [] if made == expected else _differences(stored, again)
        except Exception as error:
            if gone := self._gone(assembly, error):
                mend = "restore their files, or make a new training set"
                raise TableNotFound(f"no longer readable: {', '.join(gone)}", expected="the pinned inputs", mend=mend) from error
            raise
        if made != expected:
            raise ContractError(
                f"content {made.digest} of {made.rows} rows in the rebuilt `{identity}` ({'; '.join(differences[:5])})",
                expected=f"{expected.digest} of {expected.rows} rows",
                mend="an input or the stored table was changed under its version: make a new training set",
            )
        return result

    def audit(self, identity: str, limits: Limits) -> LeakageReport:
        """Look for signs of leakage.

        Raises:
            ContractError: No such training set, or a column of the limits is not in it.
        """
        row = self._known(identity)
        result, definition = _record_of(row), json.loads(row["definition"])
        stored, unread = self.load(result), ""
        times: SourceTimes | None = None
        try:
            assembly = self._assembly(row, stored)[1]
            gone = [
                f"`{name}` at version {assembly.inputs[name]}" for name in assembly.tables_joined if self._files(name).lost(assembly.inputs[name])
            ]
            if gone:
                unread = f"the join was not done again: no longer readable: {', '.join(gone)}"
            else:
                times = SourceTimes.of(assembly)  # a clash of their names is seen here
        except ContractError as error:
            unread = f"the join was not done again: found {error.found}"
        return Audit(result, stored, definition, limits).run(times, unread)

    def states(self) -> tuple[TrainingSetState, ...]:
        """Every training set, and which of its inputs can still be read; from logs and folders, without a Spark job."""
        files: dict[str, TableFiles | None] = {}

        def lost(table: str, version: int) -> bool:
            if table not in files:
                files[table] = TableFiles(self._tables, table) if self._tables.exists(table) else None
            found = files[table]
            return found is None or found.lost(version)

        return tuple(
            TrainingSetState(
                made,
                tuple(name for name, version in made.inputs.items() if lost(name, version)),
                readable=not lost(made.snapshot.table, made.snapshot.version),
            )
            for made in self.all()
        )

    def _known(self, identity: str) -> dict[str, Any]:
        row = self._row(identity)
        if row is None:
            known = sorted(str(item["id"]) for item in self._rows({}))
            raise TableNotFound(f"no training set `{identity}`", expected=f"one of {known[-5:]}", mend="correct the id")
        return row

    def _assembly(self, row: Mapping[str, Any], stored: DataFrame) -> tuple[Examples, Assembly]:
        """What a recorded set was made of, with its stored rows as spine."""
        definition, inputs = json.loads(row["definition"]), json.loads(row["inputs"])
        examples = Examples.from_document(definition)
        spine = stored.select(*(F.col(quote(name)) for name in definition["spine_columns"]))
        lookups = tuple(lookup_of(item) for item in definition["lookups"])
        functions = tuple(map(function_of, definition.get("functions", ())))
        return examples, Assembly(self._tables, spine, definition["spine"], lookups, examples.spine_time, inputs, functions=functions)

    def _files(self, name: str) -> TableFiles:
        return TableFiles(self._tables, name)

    def _standing(self, made: TrainingSet) -> TrainingSet:
        """The training set as it is now, where rows of it were erased."""
        stone = Forgotten(self._tables).tombstone(made.id)
        if stone is None:
            return made
        return replace(made, snapshot=self._tables.standing(made.snapshot), content_hash=stone.new_hash, rows=stone.rows)

    def _gone(self, assembly: Assembly, error: Exception) -> list[str]:
        """The inputs whose pinned version can no longer be read."""
        pinned = {name: assembly.inputs[name] for name in assembly.tables_joined}
        return [f"`{name}` at version {version}" for name, version in pinned.items() if self._lost(name, version, error)]

    def _lost(self, name: str, version: int, error: Exception) -> bool:
        try:
            # A version may still be listed while its files are vacuumed: then the failed read names its folder.
            return not self._tables.read(name, version).columns or self._tables.location(name) in str(error)
        except (PySparkException, TableNotFound):
            return True

    def _rows(self, where: Mapping[str, str]) -> list[dict[str, Any]]:
        return self._tables.rows(_TABLE, where) if self._tables.exists(_TABLE) else []

    def _in_order(self) -> list[dict[str, Any]]:
        return sorted(self._rows({}), key=lambda row: (str(row["as_of"]), str(row["id"])))

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
        self._tables.add(_TABLE, _SCHEMA, [values], transaction=Transaction(made.id))


def _taken(definition: Mapping[str, Any], table: str) -> set[str]:
    """Columns of a table that went into a training set."""
    lookups = [item for item in definition["lookups"] if item["table"] == table]
    spine = definition["spine_columns"] if definition["spine"] == table else []
    return {*spine, *(name for item in lookups for name in (*(item["features"] or ()), *item["tie_break"]))}


def _record_of(row: Mapping[str, Any]) -> TrainingSet:
    snapshot = Snapshot(row["table_name"], row["table_version"])
    return TrainingSet(row["id"], snapshot, json.loads(row["inputs"]), row["content_hash"], row["rows"])


def _check(assembly: Assembly, examples: Examples, name: str) -> None:
    parse_table(f"training_set_{name}_{'0' * 12}")
    spine = assembly.spine
    require_columns(spine, examples.needed, "the spine")
    if examples.label_known_time:
        require_instant(spine.schema, examples.label_known_time, "label_known_time")
    if examples.site:
        require_site(spine.schema, examples.site)
    if examples.maturity < timedelta(0):
        raise ContractError(f"a maturity of {examples.maturity}", expected="zero or more", mend="correct it")
    refuse_clash({"the training set": ("split", "row_position"), "the joined columns": assembly.columns()})


def _arranged(
    assembly: Assembly, examples: Examples, layout: Layout | SiteLayout, spine: DataFrame, statistics: JoinStatistics | None = None
) -> DataFrame:
    joined = assembly.join(spine, statistics).withColumn("split", examples.part(spine))
    return layout.arrange(joined, examples.order(spine), row_hash(spine, salt="tie"))


def _narrowed(assembly: Assembly, census: Census) -> Assembly:
    """The assembly of the counted examples; a frame may have other times each time it is read, a table at its version has not."""
    return replace(assembly, between=census.between) if assembly.spine_name else assembly


def _differences(stored: DataFrame, again: DataFrame) -> list[str]:
    """Where two versions of a training set differ, column by column."""
    if missing := sorted(set(stored.columns) ^ set(again.columns)):
        return [f"columns {missing}"]
    left, right = (
        frame.select(F.col("row_position").alias(f"{side}_at"), F.struct(*frame.columns).alias(side)) for frame, side in ((stored, "a"), (again, "b"))
    )
    pairs = left.join(right, F.col("a_at") == F.col("b_at"), "full_outer")
    counts = [F.count_if(~F.col("a").getField(name).eqNullSafe(F.col("b").getField(name))).alias(name) for name in stored.columns]
    found = pairs.agg(*counts).first()
    assert found is not None
    return [f"`{name}` differs in {found[name]} rows" for name in stored.columns if found[name]]
