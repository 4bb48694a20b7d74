"""The engine `files`: tasks read a scoring set's files and write the target's, and the driver makes one commit of what they report.

No row passes the JVM. The files go to the target's folder, where no version speaks of them until that commit; those of an attempt that
ended are taken away by the next one at the same key, and in any case by a vacuum (docs/adr/0030).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from feature_store import hooks
from feature_store.delta import PlacedFile, folder_of, refusal_of, remove_left
from feature_store.pieces import Piece, deal, piece_rows
from feature_store.pii import marked_personal, stated_columns, without_statistics
from feature_store.scan import Scan, plan_scan
from sparkml_ops.errors import OpsError
from sparkml_ops.logs import logger
from sparkml_ops.records import ScoredWindow
from sparkml_ops.scoring.batch import Budget, score_rows
from sparkml_ops.scoring.call import Call, Fit
from sparkml_ops.scoring.checks import IdentityCounts, count_identity, doubled_keys
from sparkml_ops.scoring.engines import REASON
from sparkml_ops.scoring.loading import loaded
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.row_checks import RowChecks, model_inputs
from sparkml_ops.scoring.row_files import Destination, RowFiles, WrittenFile
from sparkml_ops.scoring.row_keys import DoubledKeys, count_keys
from sparkml_ops.scoring.scoring_set import WINDOW, input_versions
from sparkml_ops.scoring.target import LINEAGE, OUTCOME, OUTCOMES, PARTITIONS, PREDICTION, SLOT, lineage, record_of, target_schema, transaction

__all__ = ["remove_attempts", "score_files"]

# Of a task: enough to outweigh its start, few enough for every core to get some.
_TASK_BYTES, _TASK_ROWS = 1 << 27, 1 << 20
_FEW_FILES = 64
# Of a batch: more rows cost memory and save nothing, as they leave a core's cache.
_BATCH_ROWS, _BATCH_BYTES = 1 << 15, 1 << 25
# Doubled keys that go to every task; of more, Spark marks the rows.
_MOST_DOUBLED = 10_000
_EXAMPLES = 5
_REPORT = "report string"


@dataclass(frozen=True)
class _Job:
    """Scores the rows of a task's pieces; what Spark ships."""

    tasks: tuple[tuple[Piece, ...], ...]
    schema: pa.Schema
    checks: RowChecks
    model: PublishedModel
    budget: int
    doubled: DoubledKeys | None
    to: Destination

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from self._reports(self.tasks[task])

    def _reports(self, pieces: Sequence[Piece]) -> Iterator[pa.RecordBatch]:
        before = loaded.cache_info().misses
        files = RowFiles(self.to)
        try:
            self._score(pieces, files)
            written = list(files.close())
        except BaseException:
            files.drop()
            raise
        loads = loaded.cache_info().misses - before
        reports = [json.dumps({"files": [asdict(file) for file in written], "loads": loads, "process": os.getpid()})]
        yield pa.RecordBatch.from_arrays([pa.array(reports, pa.string())], names=["report"])

    def _score(self, pieces: Sequence[Piece], files: RowFiles) -> None:
        budget = Budget(self.budget)
        for rows in piece_rows(pieces, self.schema, self.checks.columns, _BATCH_ROWS, _BATCH_BYTES):
            reasons = self.checks(rows, self._doubled(rows))
            scored = score_rows(loaded(self.model), model_inputs(rows, self.checks.matches), reasons, budget)
            files.write([rows.column(name) for name in self.to.identity], scored)

    def _doubled(self, rows: pa.RecordBatch) -> npt.NDArray[np.bool_] | None:
        return None if self.doubled is None else self.doubled.among([rows.column(name) for name in self.checks.row_key])


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
    tasks = deal(scan, most_bytes=_TASK_BYTES, most_rows=_TASK_ROWS)
    counts = _identity(call, scan, tasks)
    call.check_rows(counts.rows)
    call.check_share(counts.reasons, counts.rows, list)
    if counts.duplicate_keys > _MOST_DOUBLED:
        return None
    doubled = DoubledKeys.of(doubled_keys(_rows(call), call.row_key, _MOST_DOUBLED)) if counts.duplicate_keys else None
    schema = target_schema(fit.identity, call.model.published.outputs)
    without_statistics(call.tables, call.settings.target, schema, marked_personal(call.tables, call.scoring_set.table), PARTITIONS)
    call.tables.ensure(call.settings.target, schema, partition_by=PARTITIONS)
    versions = input_versions(call.tables, call.settings.target, call.scoring_set, call.window, call.generation)
    checks = RowChecks(call.row_key, call.spine_time, fit.matches, dict(call.settings.checks))
    budget = ceil(call.settings.max_quarantine_share * counts.rows)
    job = _Job(tasks, scan.schema, checks, call.model.published, budget, doubled, _destination(call, fit, schema, versions))
    return _committed(call, job, counts.rows, versions)


def remove_attempts(call: Call, done: ScoredWindow) -> None:
    """Take away what attempts at this key have left in the target's folder: after its commit none of them can land.

    Args:
        done: What has landed under the key.
    """
    if not refusal_of(call.tables, call.settings.target):
        remove_left(call.tables, call.settings.target, _folder(call), _mark(call), version=done.snapshot.version)


def _committed(call: Call, job: _Job, rows: int, versions: Mapping[str, int]) -> ScoredWindow:
    """Run the tasks, look at what they report, and commit it; nothing of it is left where that fails."""
    target = call.settings.target
    try:
        found = _run(call, job)
        if found.rows != rows:
            raise OpsError(f"{found.rows} rows after the pass", expected=f"{rows}, as before it", mend="report this; nothing was written")
        call.check_share(found.reasons, rows, found.examples)
        here = {WINDOW: call.window, SLOT: call.slot}
        placed = [PlacedFile(file.path, file.size, {**here, OUTCOME: file.outcome}, file.statistics) for file in found.files]
        once, details = transaction(target, call.window, call.slot, call.generation), call.details(versions, rows, found.reasons, "files")
        return record_of(call.tables.place(target, placed, here, transaction=once, details=details))
    except BaseException:
        # Of this attempt alone: another driver may be about to commit its own.
        if call.finished() is None:
            remove_left(call.tables, target, _folder(call), job.to.mark, version=None)
        raise


def _run(call: Call, job: _Job) -> _Pass:
    count = len(job.tasks)
    with hooks.passing("scoring.write"):
        reports = call.spark.range(0, count, 1, count).mapInArrow(job, _REPORT).collect() if count else []
    found = _Pass.of([row["report"] for row in reports])
    logger.info("score: %d tasks, %d processes, %d loads of the model", count, found.processes, found.loads)
    return found


def _identity(call: Call, scan: Scan, tasks: tuple[tuple[Piece, ...], ...]) -> IdentityCounts:
    """Rows with a faulty identity; Spark counts them where keys may be doubled."""
    found = count_keys(call.spark, tasks, scan.schema, row_key=call.row_key, spine_time=call.spine_time)
    if found.doubled:
        return count_identity(_rows(call), call.row_key, call.spine_time)
    return IdentityCounts(found.rows, found.null_key, 0, 0, found.null_time)


def _rows(call: Call) -> DataFrame:
    return call.tables.read(call.scoring_set.table, call.scoring_set.version).where(F.col(WINDOW) == F.lit(call.window))


def _destination(call: Call, fit: Fit, schema: StructType, versions: Mapping[str, int]) -> Destination:
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
