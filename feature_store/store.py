"""The feature store: declared tables, their rows over time, and training sets made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.types import StructField, StructType

from feature_store.assembly import Assembly
from feature_store.contract import check_once, check_rows, check_schema, check_types
from feature_store.delta import Tables
from feature_store.errors import ContractError
from feature_store.examples import Examples
from feature_store.incremental import RefreshPlan
from feature_store.incremental.plan import plan_refresh
from feature_store.incremental.stream import stream
from feature_store.lookup import Lookup
from feature_store.names import Warehouse, quote
from feature_store.records import Snapshot, TrainingSet
from feature_store.refresh import Refresh
from feature_store.registry import Registry
from feature_store.split import Split
from feature_store.table import FeatureTable
from feature_store.training_set import TrainingSets
from feature_store.versions import Versions

__all__ = ["FeatureStore"]


class FeatureStore:
    """Feature tables and training sets of one warehouse.

    Args:
        spark: The session that reads and writes.
        root: Folder or object-store prefix of the tables, read by Spark and Python; or
        catalog: `catalog.schema` that holds them.

    Raises:
        ContractError: Not exactly one of `root` and `catalog`.
    """

    def __init__(self, spark: SparkSession, *, root: str | None = None, catalog: str | None = None) -> None:
        self.tables = Tables(spark, Warehouse(root=root, catalog=catalog))
        self._registry = Registry(self.tables)
        self._training_sets = TrainingSets(self.tables)

    def register(self, *tables: FeatureTable) -> None:
        """Declare feature tables, all in one commit; what is declared already costs nothing.

        Raises:
            ContractError: The same name and version with another meaning; says which fields differ.
        """
        self._registry.add(tables)

    def table(self, name: str) -> FeatureTable:
        """The declared table of a name: its newest version, or that of `name@v2`.

        Raises:
            ContractError: No such table; lists the registered ones.
        """
        return self._registry.get(name)

    def write(self, name: str, frame: DataFrame) -> Snapshot:
        """Merge rows on (keys, event time, known time); rows that are there already change nothing, not even the version.

        Args:
            name: A registered table.
            frame: Exactly its columns, in any order.

        Raises:
            ContractError: Columns, types, nulls, times or duplicates that break the table's contract; nothing was written.
        """
        table = self._registry.get(name)
        what = f"the rows for `{name}`"
        check_schema(table, frame, what)
        frame = frame.select(*(F.col(quote(column)) for column in table.columns))
        check_rows(table, frame, what)
        check_once(table, frame, what)
        if self.tables.exists(table.table_name):
            stored = self.tables.read(table.table_name)
            check_types({item.name: item.dataType.simpleString() for item in stored.schema.fields}, frame.schema, what)
            fresh = _changed(frame, stored, table.merge_keys)
            if fresh.isEmpty():
                return self.tables.newest(table.table_name)
        else:
            # A merge into the empty table, not an append: two first writers of the same rows must not both add them.
            self.tables.ensure(table.table_name, StructType([StructField(item.name, item.dataType) for item in frame.schema.fields]))
            fresh = frame
        return self.tables.merge(table.table_name, fresh, table.merge_keys, details={"kind": "write", "definition": table.definition_hash}).snapshot

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The rows of a registered or any other table, of its newest version without `version`.

        Raises:
            TableNotFound: No such table, or no such version.
        """
        table = self._registry.find(name)
        return self.tables.read(table.table_name if table else name, version)

    def refresh(self, name: str, as_of: datetime | None = None) -> Snapshot:
        """Bring a table up to its source, in one commit; nothing is written where the rows would be the same.

        Only what the source's changed rows touch is computed again where its change feed tells them, else the whole table;
        `plan_refresh` says which and why. Either way ends in the same rows.

        Args:
            name: A registered table with a source.
            as_of: Source rows that became known later are left out (UTC; None: now).

        Raises:
            ContractError: No source, or source rows that break the table's contract; nothing was written.
            ConflictError: Other writers were first, again and again; the same call may succeed later.
        """
        return self._refresh(name, as_of).run()

    def plan_refresh(self, name: str, as_of: datetime | None = None) -> RefreshPlan:
        """What `refresh` would do now, and why; reads two logs, and neither rows nor Spark where tables lie in folders.

        Raises:
            ContractError: No such table, or one without a source.
        """
        table, source = self._sourced(name)
        return plan_refresh(self.tables, table, source, _utc(as_of, "as_of"))

    def stream(self, name: str, *, checkpoint: str, available_now: bool = True) -> StreamingQuery:
        """Refresh a table each time its source has grown or changed, as a streaming query over the source's change feed.

        Each batch ends in the rows that `refresh` gives as of its time. A query that was killed goes on from its checkpoint, and
        what it had written is not written again.

        Args:
            name: A registered table with a source whose change feed is enabled.
            checkpoint: Folder or object-store prefix in which the query keeps its place; one for each table.
            available_now: End when the source's newest version is in the table; False goes on until it is stopped.

        Raises:
            ContractError: No source, or one that keeps no change feed.
        """
        table, source = self._sourced(name)
        return stream(self.tables, table, source, checkpoint=checkpoint, available_now=available_now)

    def rebuild_table(self, name: str, as_of: datetime | None = None) -> Snapshot:
        """Compute a table from its source and overwrite it, whatever is recorded of the last time."""
        return self._refresh(name, as_of).run(force=True)

    def backfill(self, name: str, start: datetime, end: datetime, as_of: datetime | None = None) -> Snapshot:
        """Compute the rows with event time in [start, end) again, in one commit; the others stay.

        Raises:
            ContractError: No source, an empty range, or source rows that break the table's contract.
        """
        return self._refresh(name, as_of).backfill(_utc(start, "start"), _utc(end, "end"))

    def training_set(
        self,
        spine: str | DataFrame,
        lookups: Sequence[Lookup],
        *,
        name: str,
        spine_time: str,
        label: str,
        label_known_time: str | None = None,
        spine_known_time: str | None = None,
        split: Split | None = None,
        row_key: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        where: str | None = None,
        as_of: datetime | None = None,
        maturity: timedelta = timedelta(0),
        seed: int = 0,
        on_stage: Callable[[str], None] = lambda _: None,
    ) -> TrainingSet:
        """Join examples with what was known at their time, and freeze them in one table.

        A row enters when `spine_time + maturity <= as_of`, its label is known (not null, and by `as_of` where
        `label_known_time` is given) and it lies inside the split. The table holds the spine's columns, the features,
        `split`, and `row_position` (0 to n - 1 by a seeded hash of the row key). The same definition over the same
        inputs gives the same training set and writes nothing. Of rows that share row key and spine time the one enters
        whose label became known last; with `spine_known_time`, of rows that share the row key the last known version.

        Args:
            spine: A table's name, or a frame; a frame is recorded without a version.
            lookups: What to join; registered tables bring their times and ttl.
            name: Begins the id.
            spine_time: Column (timestamp) of the instant of prediction.
            label: Column of the label.
            label_known_time: Column (timestamp) of when it became known.
            spine_known_time: Column (timestamp) of when a version of the spine's row became known; None: each row is one of its own.
            split: Parts of the training set; None: all rows are "train".
            row_key: Columns that identify an example; none: all columns of the spine.
            columns: Columns of the spine to carry beside the needed ones; None: all.
            where: SQL condition on the spine's rows.
            as_of: The instant as of which labels count (UTC; None: now).
            maturity: Age that an example needs before its label counts.
            seed: Seed of the order.
            on_stage: Told what is done next, each time before some seconds or minutes of work.

        Raises:
            ContractError: No example, a null row key, or columns, types or keys that do not fit.
        """
        now = _utc(as_of, "as_of")
        versions = Versions(tuple(row_key), spine_known_time, now) if spine_known_time else None
        examples = Examples(spine_time, label, label_known_time, tuple(row_key), split, maturity, seed)
        assembly = Assembly.resolve(
            self.tables,
            self._registry,
            spine,
            lookups,
            spine_time=spine_time,
            needed=examples.needed,
            columns=columns,
            where=where,
            versions=versions,
        )
        return self._training_sets.create(name, assembly, examples, now, on_stage)

    def assemble(
        self, spine: str | DataFrame, lookups: Sequence[Lookup], *, spine_time: str, columns: Sequence[str] | None = None, where: str | None = None
    ) -> tuple[DataFrame, dict[str, int]]:
        """The same join for scoring: every row of the spine, nothing written.

        Returns:
            The lazy frame, and the version of each table that it reads.
        """
        assembly = Assembly.resolve(self.tables, self._registry, spine, lookups, spine_time=spine_time, columns=columns, where=where)
        return assembly.join(assembly.spine), dict(assembly.inputs)

    def load(self, training_set: TrainingSet) -> DataFrame:
        """The rows of a training set, at its pinned version."""
        return self._training_sets.load(training_set)

    def rebuild(self, training_set_id: str) -> TrainingSet:
        """Join a training set's stored spine with its pinned inputs again, and prove its content hash.

        Raises:
            ContractError: The content differs, or a version of an input is gone; says where.
        """
        return self._training_sets.rebuild(training_set_id)

    def search(self, text: str) -> tuple[FeatureTable, ...]:
        """Registered tables in whose names, words, tags, owner or features every word of the text stands."""
        words = text.lower().split()
        return tuple(table for table in self._registry.all() if all(word in _haystack(table) for word in words))

    def _refresh(self, name: str, as_of: datetime | None) -> Refresh:
        table, source = self._sourced(name)
        return Refresh(self.tables, table, self.tables.newest(source), _utc(as_of, "as_of"))

    def _sourced(self, name: str) -> tuple[FeatureTable, str]:
        """A registered table, and the name of the table that it reads."""
        table = self._registry.get(name)
        if table.source is None:
            raise ContractError(f"table `{name}` without a source", expected="source=", mend="write its rows with store.write")
        source = self._registry.find(table.source)
        return table, source.table_name if source else table.source


def _changed(frame: DataFrame, stored: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The rows that do not stand in the table as they are."""
    fresh = frame.select(*(F.col(quote(key)) for key in keys), F.struct(*frame.columns).alias("__fresh"))
    there = stored.select(*(F.col(quote(key)) for key in keys), F.struct(*frame.columns).alias("__there"))
    same = [*(fresh[key] == there[key] for key in keys), F.col("__fresh").eqNullSafe(F.col("__there"))]
    return fresh.join(there, same, "left_anti").select("__fresh.*")


def _haystack(table: FeatureTable) -> str:
    features = [word for item in table.features for word in (item.name, item.meaning, item.unit or "")]
    return " ".join([table.name, table.meaning, table.owner or "", *table.tags, *table.keys, *features]).lower()


def _utc(instant: datetime | None, what: str) -> datetime:
    if instant is None:
        return datetime.now(UTC)
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise ContractError(f"{what}={instant!r}", expected="a datetime with a zone", mend="add tzinfo=UTC")
    return instant.astimezone(UTC)
