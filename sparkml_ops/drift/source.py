"""Where rows come from: a DataFrame, or the files of a pinned Delta snapshot, with the same states from both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from feature_store.arrow_pass import in_arrow
from feature_store.delta import Tables
from feature_store.names import quote
from feature_store.records import Snapshot
from feature_store.scan import Scan, plan_scan
from sparkml_ops.drift.files import FileReader, tasks_of
from sparkml_ops.drift.packed import PackedSummaries
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries.survey import SCHEMA, Group, Survey, merge_states

__all__ = ["FileSource", "FrameSource", "Source", "as_source", "run", "source_of"]

# Row groups let a few large files fill all cores; with many files their footers are not worth reading.
_FEW_FILES = 64
_STATES = 1000


class Source(Protocol):
    """Rows that a survey can pass over."""

    @property
    def spark(self) -> SparkSession:
        """The session that runs the pass."""
        ...

    @property
    def types(self) -> Mapping[str, str]:
        """Spark type of each column, as text."""
        ...

    def surveyed(self, survey: Survey) -> DataFrame:
        """The survey's states by partition, not computed yet."""
        ...


@dataclass(frozen=True)
class FrameSource:
    """The rows of a DataFrame, through `mapInArrow`.

    Args:
        frame: Any DataFrame.
        where: Only rows with these values.
    """

    frame: DataFrame
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def spark(self) -> SparkSession:
        """The frame's session."""
        return self.frame.sparkSession

    @property
    def types(self) -> Mapping[str, str]:
        """Spark type of each column."""
        return {column.name: column.dataType.simpleString() for column in self.frame.schema.fields}

    def surveyed(self, survey: Survey) -> DataFrame:
        """The survey's states by partition."""
        conditions = [F.col(quote(name)) == value for name, value in self.where.items()]
        rows = reduce(lambda frame, condition: frame.where(condition), conditions, self.frame)
        _refuse_twins(self.frame, survey.columns)
        return in_arrow(rows.select([F.col(quote(name)) for name in survey.columns]), survey, SCHEMA)


@dataclass(frozen=True)
class FileSource:
    """The rows of a pinned snapshot, read from its files by Python on the executors.

    Args:
        scan: The files.
        session: Runs the pass.
        where: Only rows with these values.
    """

    scan: Scan
    session: SparkSession
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def spark(self) -> SparkSession:
        """The session."""
        return self.session

    @property
    def types(self) -> Mapping[str, str]:
        """Spark type of each column."""
        return {column.name: column.dataType.simpleString() for column in from_arrow_schema(self.scan.schema, prefer_timestamp_ntz=True).fields}

    def surveyed(self, survey: Survey) -> DataFrame:
        """The survey's states by partition; a task reads whole row groups."""
        reader = FileReader(self.scan.schema, tuple(survey.columns), dict(self.where))
        tasks = tasks_of(self.scan, self.where)

        def passed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return survey(rows for batch in batches for rows in reader(batch))

        return self.session.createDataFrame(tasks).mapInArrow(passed, SCHEMA)


def as_source(data: DataFrame | Scan | Source, where: Mapping[str, str] | None = None) -> Source:
    """The source of what a user hands in; a scan uses the active session.

    Raises:
        ContractError: It is none.
    """
    if isinstance(data, DataFrame):
        return FrameSource(data, where or {})
    if isinstance(data, Scan):
        return FileSource(data, SparkSession.active(), where or {})
    if not isinstance(data, FrameSource | FileSource):
        raise ContractError(
            f"rows of type {type(data).__name__}",
            expected="a Spark DataFrame or a pinned scan",
            mend="spark.createDataFrame(...) or spark.table(...)",
        )
    return data


def _refuse_twins(frame: DataFrame, read: Sequence[str]) -> None:
    """Refuse to read a column that Spark cannot tell from another.

    Raises:
        ContractError: Two columns have one name, but for upper and lower case.
    """
    names = frame.columns
    if len({name.lower() for name in names}) == len(names):
        return
    same = (lambda name: name) if frame.sparkSession.conf.get("spark.sql.caseSensitive", "false") == "true" else str.lower
    found = Counter(map(same, names))
    if twins := [name for name in names if found[same(name)] > 1 and same(name) in {same(column) for column in read}]:
        raise ContractError(
            f"columns of one name: {', '.join(f'`{name}`' for name in twins[:5])}",
            expected="names that differ in more than upper and lower case",
            mend="rename or drop one of them, or leave them out",
        )


def source_of(spark: SparkSession, tables: Tables, rows: Snapshot | DataFrame, where: Mapping[str, str]) -> Source:
    """The source of rows, or of a pinned table: read from its files where they allow it."""
    if isinstance(rows, DataFrame):
        return FrameSource(rows, where)
    scan = plan_scan(tables, rows)
    if scan is None:
        return FrameSource(tables.read(rows.table, rows.version), where)
    if len(scan.files) <= _FEW_FILES:
        scan = plan_scan(tables, rows, row_groups=True) or scan
    return FileSource(scan, spark, where)


def run(passes: Sequence[tuple[Source, Survey]]) -> dict[str, dict[Group, PackedSummaries]]:
    """Run some surveys in one job and merge their states where they are: by side, group and column.

    Only merged states come to the driver, one for each side, group and column.

    Raises:
        ContractError: A segment column has too many values.
    """
    states = reduce(lambda left, right: left.unionAll(right), (source.surveyed(survey) for source, survey in passes))
    merged = states.groupBy("side", "segment", "block", "column").applyInArrow(merge_states, SCHEMA).toArrow()
    result: dict[str, dict[Group, dict[str, bytes]]] = {survey.side: {} for _, survey in passes}
    for row in (row for batch in merged.to_batches(_STATES) for row in batch.to_pylist()):
        if not row["column"]:
            raise _too_many(row["segment"], passes[0][1].most_groups)
        result[row["side"]].setdefault((row["segment"], row["block"]), {})[row["column"]] = row["state"]
    for _, survey in passes:
        # Each task may have had few, and all of them many.
        found = {segment for segment, _ in result[survey.side] if segment is not None}
        for name in survey.segments:
            if sum(segment.startswith(f"{name}=") for segment in found) > survey.most_groups:
                raise _too_many(name, survey.most_groups)
    return {side: {group: PackedSummaries(states) for group, states in groups.items()} for side, groups in result.items()}


def _too_many(segment: str, limit: int) -> ContractError:
    return ContractError(
        f"more values than {limit} in the segment column `{segment}`",
        expected="a column with few values",
        mend="segment by a coarser column, or raise drift.max_segments",
    )
