"""The feature store: declared tables, their rows over time, and training sets made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from feature_store.assembly import Assembly
from feature_store.computation import Computation
from feature_store.consumers import Consumers
from feature_store.delta import Tables
from feature_store.erasure import ErasureReport
from feature_store.erasure.entity import Entity
from feature_store.erasure.erase import Erasure
from feature_store.errors import ContractError
from feature_store.examples import Examples
from feature_store.incremental import RefreshPlan
from feature_store.incremental.plan import plan_refresh
from feature_store.incremental.stream import stream
from feature_store.leakage import LeakageReport
from feature_store.leakage_audit import Limits
from feature_store.lineage import Graph, Lineage, known_graph
from feature_store.lookup import Lookup
from feature_store.maintenance import Maintenance, Policy, TableUpkeep
from feature_store.names import Warehouse
from feature_store.pii import personal_columns
from feature_store.point_in_time import JoinPlan
from feature_store.provenance import Provenance, provenance
from feature_store.quality import QualityReport
from feature_store.quality.checked import last_report
from feature_store.quality.quarantine import Quarantine
from feature_store.records import Snapshot, TrainingSet, TrainingSetState
from feature_store.refresh import Refresh
from feature_store.registry import Registry
from feature_store.row_function import RowFunction
from feature_store.split import Split
from feature_store.table import FeatureTable
from feature_store.training_set import TrainingSets
from feature_store.usage import users_of
from feature_store.versions import Versions
from feature_store.writing import write

__all__ = ["FeatureStore"]


class FeatureStore:
    """Feature tables and training sets of one warehouse.

    Args:
        spark: The session that reads and writes, or a function that gives it when it is first needed: under `root`, what the log
            and the small tables tell (`table`, `search`, `lineage`) needs none.
        root: Folder or object-store prefix of the tables, read by Spark and Python; or
        catalog: `catalog.schema` that holds them.

    Raises:
        ContractError: Not exactly one of `root` and `catalog`.
    """

    def __init__(self, spark: SparkSession | Callable[[], SparkSession], *, root: str | None = None, catalog: str | None = None) -> None:
        self.tables = Tables(spark, Warehouse(root=root, catalog=catalog))
        self._registry = Registry(self.tables)
        self._training_sets = TrainingSets(self.tables)
        self.consumers = Consumers(self.tables)

    def register(self, *tables: FeatureTable) -> None:
        """Declare feature tables, all in one commit; what is declared already costs nothing.

        Features may be added under the same version: null in rows that are there, until they are written or the table is refreshed.
        Removing one, and changing its type or the keys, is refused while somebody uses it.

        Raises:
            ContractError: The same name and version with another meaning, or without what somebody uses; says what differs and who.
        """
        self._registry.add(tables, lambda table, columns: users_of(self.tables, self._registry.all(), table, columns))

    def table(self, name: str) -> FeatureTable:
        """The declared table of a name: its newest version, or that of `name@v2`.

        Raises:
            ContractError: No such table; lists the registered ones.
        """
        return self._registry.get(name)

    def write(self, name: str, frame: DataFrame, *, as_of: datetime | None = None) -> Snapshot:
        """Merge rows on (keys, event time, known time); rows that are there already change nothing, not even the version.

        Args:
            name: A registered table.
            frame: Exactly its columns, in any order.
            as_of: The instant from which an expectation of freshness counts (UTC; None: now).

        Raises:
            ContractError: Columns, types, nulls, times or duplicates that break the table's contract, or an expectation that says
                `fail`; nothing was written.
        """
        return write(self.tables, self._registry.get(name), frame, _utc(as_of, "as_of"))

    def quality(self, name: str) -> QualityReport | None:
        """What the last judged write of a table found, from the table's log alone; None where nothing was judged.

        Raises:
            ContractError: No such feature table.
        """
        return last_report(self.tables, self._registry.get(name))

    def quarantine(self, name: str) -> DataFrame:
        """Rows that were kept out of a table, with `quarantine_reasons` and the write that they came with.

        Raises:
            ContractError: No such feature table.
            TableNotFound: No row of it was ever kept apart.
        """
        return Quarantine(self.tables, self._registry.get(name)).read()

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The rows of a registered or any other table, of its newest version without `version`; that one without features that were removed.

        Raises:
            TableNotFound: No such table, or no such version.
        """
        table = self._registry.find(name)
        rows = self.tables.read(table.table_name if table else name, version)
        if table is None or version is not None or not (gone := [column for column in rows.columns if column not in table.columns]):
            return rows
        return rows.drop(*gone)

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
        functions: Sequence[RowFunction] = (),
        weight: str | None = None,
        site: str | None = None,
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
            functions: Features computed of each joined row, in order; they stand after the looked-up ones.
            weight: Column of the spine, or SQL expression over its columns, that says how much a row counts: finite and zero or more.
                The set holds it as `sample_weight` (double).
            site: Column of the spine (text or whole number, at most 256 values) that says where a row is at home: no file holds rows of two
                sites, and `row_position` counts a site after the other, in each by the hash. None: rows have no sites.
            on_stage: Told what is done next, each time before some seconds or minutes of work.

        Raises:
            ContractError: No example, a null row key or site, more than 256 sites, or columns, types or keys that do not fit.
        """
        now = _utc(as_of, "as_of")
        versions = Versions(tuple(row_key), spine_known_time, now) if spine_known_time else None
        examples = Examples(spine_time, label, label_known_time, tuple(row_key), split, maturity, seed, weight, site)
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
            functions=functions,
            weight=weight,
        )
        return self._training_sets.create(name, assembly, examples, now, on_stage)

    def assemble(
        self,
        spine: str | DataFrame,
        lookups: Sequence[Lookup],
        *,
        spine_time: str,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        functions: Sequence[RowFunction] = (),
        between: tuple[datetime, datetime] | None = None,
    ) -> tuple[DataFrame, dict[str, int]]:
        """The same join and row functions for scoring: every row of the spine, nothing written.

        Args:
            between: Two instants between which `spine_time` lies in every row of the spine, both included: only what can be seen from
                there is joined. A row outside them fails the job.

        Returns:
            The lazy frame, and the version of each table that it reads.
        """
        assembly = Assembly.resolve(
            self.tables, self._registry, spine, lookups, spine_time=spine_time, columns=columns, where=where, functions=functions
        )
        assembly = replace(assembly, between=between)
        return assembly.join(assembly.spine, assembly.counted(assembly.spine)), dict(assembly.inputs)

    def provenance(
        self, spine: DataFrame, lookups: Sequence[Lookup], *, spine_time: str, versions: Mapping[str, int] | None = None
    ) -> tuple[Provenance, ...]:
        """Where the features of a spine's first row come from: of each lookup the version, and the event and known time of the row it takes.

        Args:
            versions: Of the tables that are read; one that is not named is read at its newest.
        """
        assembly = Assembly.resolve(self.tables, self._registry, spine, lookups, spine_time=spine_time)
        pinned = {name: (versions or {}).get(name, newest) for name, newest in assembly.inputs.items()}
        return provenance(replace(assembly, inputs=pinned))

    def personal_columns(self, lookups: Sequence[Lookup]) -> frozenset[str]:
        """Which columns of joined rows hold personal data, as the registered tables mark theirs: such get no file statistics."""
        return personal_columns(self._registry, lookups)

    def explain(self, spine: str | DataFrame, lookups: Sequence[Lookup], *, spine_time: str, count: bool = False) -> JoinPlan:
        """Which plan a join takes for each entity, why, and with how many shuffles.

        Args:
            count: Count the rows by key first, in jobs, as `training_set` does from 50 million feature rows on.
        """
        assembly = Assembly.resolve(self.tables, self._registry, spine, lookups, spine_time=spine_time)
        return assembly.explain(assembly.count(assembly.spine) if count else assembly.counted(assembly.spine))

    def load(self, training_set: TrainingSet) -> DataFrame:
        """The rows of a training set, at its pinned version."""
        return self._training_sets.load(training_set)

    def rebuild(self, training_set_id: str) -> TrainingSet:
        """Join a training set's stored spine with its pinned inputs again, and prove its content hash.

        Raises:
            ContractError: The content differs, or a version of an input is gone; says where.
        """
        return self._training_sets.rebuild(training_set_id)

    def audit(
        self,
        training_set: TrainingSet | str,
        *,
        too_good: float = 0.95,
        duplicates: float = 0.01,
        sample: int = 100_000,
        group: Sequence[str] = (),
        allow: Sequence[str] = (),
    ) -> LeakageReport:
        """Look for signs that a training set knows what it will not know at prediction time.

        Looked for are features that tell the label too well by themselves, times after the spine time, keys and groups that stand
        in more than one part, rows that do so with all their features, and, where the inputs are still readable, the source times of
        the join done again.

        Args:
            training_set: The set, or its id.
            too_good: AUC (labels of 0 and 1) or rank correlation (other numbers) from which a single feature is a finding.
            duplicates: Share of a part's rows with a twin in the first part above which it is a finding.
            sample: Most rows on which single features are judged.
            group: Columns whose values must stay in one part, whatever the split says.
            allow: Features that were looked at and accepted.

        Raises:
            ContractError: No such training set, no such column, or limits that cannot be meant.
        """
        limits = Limits(too_good, duplicates, sample, tuple(group), tuple(allow))
        return self._training_sets.audit(training_set if isinstance(training_set, str) else training_set.id, limits)

    def training_sets(self) -> tuple[TrainingSetState, ...]:
        """Every training set, and which of its pinned inputs can still be read; from logs and folders, without a Spark job."""
        return self._training_sets.states()

    def maintain(self, *names: str, plan: bool = False, policy: Policy | None = None) -> tuple[TableUpkeep, ...]:
        """Merge small files, cluster feature tables and take old files away; no row changes, and pinned versions stay readable.

        Args:
            names: Tables; none: all of the warehouse.
            plan: Only say what is due.
            policy: When something is due; None: the defaults.

        Returns:
            What was done, or is due, in each table; one whose upkeep failed says so in `failed`.

        Raises:
            ContractError: A table or a released training set is not there.
        """
        upkeep = Maintenance(self.tables)
        return upkeep.plan(names, policy) if plan else tuple(upkeep.run(names, policy))

    def forget(
        self,
        keys: Mapping[str, str | int],
        *,
        dry_run: bool = False,
        include_sources: bool = False,
        roles: Mapping[str, Sequence[str]] | None = None,
        writers_idle: bool = False,
    ) -> ErasureReport:
        """Forget an entity: delete its rows from every table of the store, and prove that no file and no log tells of it.

        Feature tables, training sets (each keeps a tombstone), scoring sets, predictions and quarantine are erased from; a table that
        is not the store's own, as a source, only with `include_sources`. Earlier versions of a table that held the entity cannot be
        read afterwards. No later refresh, write or training set takes rows of the entity. Killed at any point, it goes on when it is
        called again.

        Args:
            keys: Key columns with the entity's values (text or whole numbers), as {"customer": "17"}.
            dry_run: Only count what would be touched; nothing is written.
            include_sources: Erase from sources and other tables that the store did not make, too.
            roles: Further columns that hold a key in any table, as {"airport": ("origin", "dest")}; those that lookups name are
                known for spines, training sets and scoring sets.
            writers_idle: Your word that nothing writes: files of writers that never committed go even if they are young.

        Raises:
            ContractError: A null or empty value, or no table with such a key; nothing was written.
            RetryableError: A file still holds the entity, of a writer at work or killed within the last day.
        """
        erasure = Erasure.of(
            self.tables,
            self._registry,
            self._training_sets,
            Entity.of(keys),
            roles=roles or {},
            include_sources=include_sources,
            writers_idle=writers_idle,
        )
        return erasure.plan() if dry_run else erasure.run()

    def search(self, text: str) -> tuple[FeatureTable, ...]:
        """Registered tables in whose names, words, tags, owner or features every word of the text stands."""
        words = text.lower().split()
        return tuple(table for table in self._registry.all() if all(word in _haystack(table) for word in words))

    def graph(self) -> Graph:
        """Everything that the warehouse knows of, and what each was made from."""
        return known_graph(self._registry.all(), self._training_sets.defined(), self.consumers.all())

    def lineage(self, name: str, *, features: bool = False) -> Lineage:
        """What a thing was made from and what was made from it: source, feature, training set, model version, predictions.

        Args:
            name: A source, a table, `table.feature`, `source.column`, a training set's id, `model@version` or the table of predictions.
            features: Walk through single features and columns too; of a feature or column it always does.

        Raises:
            ContractError: Nothing of this name is known; names the nearest.
        """
        return self.graph().lineage(name, features=features)

    def _refresh(self, name: str, as_of: datetime | None) -> Refresh:
        table, source = self._sourced(name)
        return Refresh(Computation(self.tables, table, self.tables.newest(source), _utc(as_of, "as_of")))

    def _sourced(self, name: str) -> tuple[FeatureTable, str]:
        """A registered table, and the name of the table that it reads."""
        table = self._registry.get(name)
        if table.source is None:
            raise ContractError(f"table `{name}` without a source", expected="source=", mend="write its rows with store.write")
        source = self._registry.find(table.source)
        return table, source.table_name if source else table.source


def _haystack(table: FeatureTable) -> str:
    features = [word for item in table.features for word in (item.name, item.meaning, item.unit or "")]
    return " ".join(
        [table.name, table.meaning, table.owner or "", "deprecated" if table.deprecated else "", *table.tags, *table.keys, *features]
    ).lower()


def _utc(instant: datetime | None, what: str) -> datetime:
    if instant is None:
        return datetime.now(UTC)
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise ContractError(f"{what}={instant!r}", expected="a datetime with a zone", mend="add tzinfo=UTC")
    return instant.astimezone(UTC)
