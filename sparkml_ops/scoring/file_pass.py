"""The engine `files`: tasks read a scoring set's files and write the target's, and the driver makes one commit of what they report.

No row passes the JVM. Where Spark has to read the rows, as for the engine `arrow`, the tasks still write. The files go to the target's folder, where no version speaks of them until that commit; those of an attempt that
ended are taken away by the next one at the same key, and in any case by a vacuum (docs/adr/0030).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import TypeAlias

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from feature_store import hooks
from feature_store.delta import PlacedFile, folder_of, refusal_of, remove_left
from feature_store.pieces import Piece, deal, piece_rows
from feature_store.pii import marked_personal, stated_columns, without_statistics
from feature_store.scan import Scan, plan_scan
from sparkml_ops.errors import ContractError, OpsError
from sparkml_ops.logs import logger
from sparkml_ops.records import ScoredWindow
from sparkml_ops.scoring.batch import Budget, score_rows
from sparkml_ops.scoring.call import Call, Fit
from sparkml_ops.scoring.checks import IdentityCounts, count_identity, doubled_keys
from sparkml_ops.scoring.chunks import Chunks
from sparkml_ops.scoring.engines import REASON, RowPass
from sparkml_ops.scoring.features import from_arrow
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.reason import RowReasons
from sparkml_ops.scoring.row_checks import RowChecks, model_inputs
from sparkml_ops.scoring.row_files import Destination, RowFiles, WrittenFile
from sparkml_ops.scoring.row_keys import DoubledKeys, count_keys
from sparkml_ops.scoring.scoring_set import WINDOW, input_versions
from sparkml_ops.scoring.signature import Field
from sparkml_ops.scoring.target import LINEAGE, OUTCOME, OUTCOMES, PARTITIONS, PREDICTION, SLOT, lineage, record_of, target_schema, transaction

__all__ = ["remove_attempts", "score_files", "score_frame"]

# Of a task: enough to outweigh its start, few enough for every core to get some.
_TASK_BYTES, _TASK_ROWS = 1 << 27, 1 << 20
_FEW_FILES = 64
# Of a batch: more rows cost memory and save nothing, as they leave a core's cache.
_BATCH_ROWS, _BATCH_BYTES = 1 << 15, 1 << 23
# Doubled keys that go to every task; of more, Spark marks the rows.
_MOST_DOUBLED = 10_000
_EXAMPLES = 5
_REPORT = "report string"
_Rows: TypeAlias = "tuple[Sequence[pa.Array], pa.Table, RowReasons]"
_Job: TypeAlias = "Callable[[tuple[tuple[Piece, ...], ...], _Writer], DataFrame]"


@dataclass(frozen=True)
class _Writer:
    """Scores the rows of a task and writes them; what Spark ships."""

    model: PublishedModel
    budget: int
    to: Destination

    def __call__(self, rows: Iterable[_Rows]) -> Iterator[pa.RecordBatch]:
        """The task's report.

        Args:
            rows: Batches: key and time columns, the model's inputs, reasons found before.
        """
        before = loaded.cache_info().misses
        files, budget = RowFiles(self.to), Budget(self.budget)
        try:
            for identity, inputs, reasons in rows:
                files.write(identity, score_rows(loaded(self.model), inputs, reasons, budget))
            written = list(files.close())
        except BaseException:
            files.drop()
            raise
        loads = loaded.cache_info().misses - before
        reports = [json.dumps({"files": [asdict(file) for file in written], "loads": loads, "process": os.getpid()})]
        yield pa.RecordBatch.from_arrays([pa.array(reports, pa.string())], names=["report"])


@dataclass(frozen=True)
class _FromFiles:
    """The rows of a task's pieces, on their way to the writer."""

    tasks: tuple[tuple[Piece, ...], ...]
    schema: pa.Schema
    checks: RowChecks
    doubled: DoubledKeys | None
    writer: _Writer

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from self.writer(self._rows(self.tasks[task]))

    def _rows(self, pieces: Sequence[Piece]) -> Iterator[_Rows]:
        for rows in piece_rows(pieces, self.schema, self.checks.columns, _BATCH_ROWS, _BATCH_BYTES):
            doubled = None if self.doubled is None else self.doubled.among([rows.column(name) for name in self.checks.row_key])
            reasons = self.checks(rows, doubled)
            yield [rows.column(name) for name in self.writer.to.identity], model_inputs(rows, self.checks.matches), reasons


@dataclass(frozen=True)
class _FromFrame:
    """The rows that Spark has read, as the engine `arrow` ships them: identity, refusal, inputs."""

    fields: tuple[Field, ...]
    writer: _Writer

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        kept = len(self.writer.to.identity)
        yield from self.writer(
            (columns[:kept], from_arrow(columns[kept + 1 :], self.fields), RowReasons(columns[kept]))
            for columns in (batch.columns for batch in batches)
        )


@dataclass(frozen=True)
class _Pass:
    """What all tasks reported.

    Args:
        files: What they wrote.
        loads: How often a process loaded the model.
        processes: How many processes worked.
    """

    files: tuple[WrittenFile, ...]
    loads: int
    processes: int

    @classmethod
    def of(cls, reports: Sequence[str]) -> _Pass:
        found = [json.loads(report) for report in reports]
        files = tuple(WrittenFile(**file) for report in found for file in report["files"])
        return cls(files, sum(report["loads"] for report in found), len({report["process"] for report in found}))

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def reasons(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.kinds)
        return dict(total)

    def examples(self) -> list[str]:
        """The most frequent reasons with their counts, for a message."""
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.examples)
        return [f"{count} {text}" for text, count in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:_EXAMPLES]]


def score_files(call: Call, fit: Fit) -> ScoredWindow | None:
    """Score a window from its files.

    Returns:
        None where so many keys are doubled that Spark had better mark their rows; nothing was written.

    Raises:
        ContractError: No rows, or too many to quarantine; the target has the rows that it had.
    """
    scan = plan_scan(call.tables, call.scoring_set, where={WINDOW: call.window}, row_groups=True, most_footers=_FEW_FILES)
    assert scan is not None  # the choice of this engine has looked
    tasks = deal(scan, most_bytes=_TASK_BYTES, most_rows=min(_TASK_ROWS, call.settings.chunk_rows))
    counts = _identity(call, scan, tasks)
    call.check_rows(counts.rows)
    call.check_share(counts.reasons, counts.rows, list)
    if counts.duplicate_keys > _MOST_DOUBLED:
        return None
    doubled = DoubledKeys.of(doubled_keys(_rows(call), call.row_key, _MOST_DOUBLED)) if counts.duplicate_keys else None
    checks = RowChecks(call.row_key, call.spine_time, fit.matches, dict(call.settings.checks))

    def job(part: tuple[tuple[Piece, ...], ...], writer: _Writer) -> DataFrame:
        return call.spark.range(0, len(part), 1, len(part)).mapInArrow(_FromFiles(part, scan.schema, checks, doubled, writer), _REPORT)

    return _committed(call, fit, job, tasks, counts.rows, "files")


def score_frame(call: Call, fit: Fit, row_pass: RowPass, frame: DataFrame, refusal: Column, rows: int) -> ScoredWindow:
    """Score rows that Spark reads, into a target whose files the tasks write.

    Args:
        row_pass: What the tasks get.
        frame: The rows.
        refusal: Reason found in Spark, or null.
        rows: How many they are.

    Raises:
        ContractError: Too many to quarantine; the target has the rows that it had.
    """

    def job(_: object, writer: _Writer) -> DataFrame:
        return row_pass.shipped(frame, refusal).mapInArrow(_FromFrame(tuple(match.field for match in fit.matches), writer), _REPORT)

    # What Spark reads is one chunk.
    return _committed(call, fit, job, ((),), rows, "arrow")


def remove_attempts(call: Call, done: ScoredWindow) -> None:
    """Take away what attempts at this key have left in the target's folder: after its commit none of them can land.

    Args:
        done: What has landed under the key.
    """
    if not refusal_of(call.tables, call.settings.target):
        remove_left(call.tables, call.settings.target, _folder(call), _mark(call), version=done.snapshot.version)


def _committed(call: Call, fit: Fit, job: _Job, tasks: Sequence[tuple[Piece, ...]], rows: int, engine: str) -> ScoredWindow:
    """Run the tasks, chunk by chunk, look at what they report, and commit it; of what may never be committed nothing is left."""
    target = call.settings.target
    schema = target_schema(fit.identity, call.model.published.outputs)
    without_statistics(call.tables, target, schema, marked_personal(call.tables, call.scoring_set.table), PARTITIONS)
    call.tables.ensure(target, schema, partition_by=PARTITIONS)
    versions = input_versions(call.tables, target, call.scoring_set, call.window, call.generation)
    chunks = Chunks.of(call, tasks, versions)
    call, to = chunks.call, _destination(chunks.call, fit, versions)
    try:
        found = _run(chunks, job, _Writer(call.model.published, ceil(call.settings.max_quarantine_share * rows), to), rows)
        here = {WINDOW: call.window, SLOT: call.slot}
        placed = [PlacedFile(file.path, file.size, {**here, OUTCOME: file.outcome}, file.statistics) for file in found.files]
        once, details = transaction(target, call.window, call.slot, call.generation), call.details(versions, rows, found.reasons, engine)
        return record_of(call.tables.place(target, placed, here, transaction=once, details=details))
    except BaseException as error:
        # Of this attempt alone: another driver may be about to commit its own.
        if call.finished() is None:
            if isinstance(error, ContractError):
                chunks.forget()
            remove_left(call.tables, target, _folder(call), to.mark, version=None, kept=chunks.paths())
        raise


def _run(chunks: Chunks, job: _Job, writer: _Writer, rows: int) -> _Pass:
    """Score the chunks that are not kept, and refuse as soon as too many rows are bad.

    Raises:
        ContractError: Too many rows to quarantine.
    """
    found = _Pass(tuple(file for files in chunks.kept.values() for file in files), 0, 0)
    for number, part in enumerate(chunks.tasks):
        if number in chunks.kept:
            continue
        with hooks.passing("scoring.write"):
            done = _Pass.of([row["report"] for row in job(part, writer).collect()] if part else [])
        logger.info("score: %d processes, %d loads of the model", done.processes, done.loads)
        found = _Pass((*found.files, *done.files), found.loads + done.loads, found.processes)
        chunks.call.check_share(found.reasons, rows, found.examples)
        chunks.keep(number, done.files)
    if found.rows != rows:
        chunks.forget()
        raise OpsError(f"{found.rows} rows after the pass", expected=f"{rows}, as before it", mend="report this; nothing was written")
    return found


def _identity(call: Call, scan: Scan, tasks: tuple[tuple[Piece, ...], ...]) -> IdentityCounts:
    """Rows with a faulty identity; Spark counts them where keys may be doubled."""
    found = count_keys(call.spark, tasks, scan.schema, row_key=call.row_key, spine_time=call.spine_time)
    if found.doubled:
        return count_identity(_rows(call), call.row_key, call.spine_time)
    return IdentityCounts(found.rows, found.null_key, 0, 0, found.null_time)


def _rows(call: Call) -> DataFrame:
    return call.tables.read(call.scoring_set.table, call.scoring_set.version).where(F.col(WINDOW) == F.lit(call.window))


def _destination(call: Call, fit: Fit, versions: Mapping[str, int]) -> Destination:
    """Where the tasks write, in the types of the target."""
    target, identity = call.settings.target, tuple(item.name for item in fit.identity)
    here = {WINDOW: call.window, SLOT: call.slot}
    scored, quarantined = ((outcome, folder_of({**here, OUTCOME: outcome})) for outcome in OUTCOMES)
    values = lineage(model=call.model.record, feature_versions=versions, run_id=call.run_id, scored_at=call.scored_at, generation=call.generation)
    kinds = to_arrow_schema(StructType([item for item in LINEAGE if item.name in values]), timezone="UTC")
    return Destination(
        root=call.tables.location(target),
        folders=(scored, quarantined),
        mark=f"{_mark(call)}{uuid.uuid4().hex[:8]}-",
        identity=identity,
        outputs=tuple(item.name for item in call.model.published.outputs),
        prediction=PREDICTION,
        reason=REASON,
        carried={item.name: pa.scalar(values[item.name], item.type) for item in kinds},
        stated=stated_columns(call.tables, target, identity),
    )


def _folder(call: Call) -> str:
    return folder_of({WINDOW: call.window, SLOT: call.slot})


def _mark(call: Call) -> str:
    """Begins the names of the files of all attempts at this key."""
    return f"part-{hashlib.sha256(call.staging.encode()).hexdigest()[:16]}-"
