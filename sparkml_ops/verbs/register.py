"""`register`: a training result becomes a model version, judged by the gates."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import SparkSession

from sparkml_ops import release
from sparkml_ops.config.root import Config
from sparkml_ops.logs import logger
from sparkml_ops.records import ModelVersion, TrainingResult, TrainingSet
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.ancestry import Ancestry
from sparkml_ops.verbs.consumers import record_model
from sparkml_ops.verbs.newest import newest
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work

__all__ = ["perform", "plan", "run"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    result: TrainingResult | None = None,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> ModelVersion:
    """Register a training result, by default the newest, and write its gate report."""
    return perform(Work(config, spark), result=result, as_of=as_of, generation=generation).record


def perform(
    work: Work, *, result: TrainingResult | None = None, as_of: datetime | str | None = None, generation: Generation = 0
) -> Outcome[ModelVersion]:
    """Run the verb and say how it ended."""
    return outcome(work, _task(work, result, generation), as_of=as_of)


def plan(work: Work, *, result: TrainingResult | None = None, as_of: datetime | str | None = None, generation: Generation = 0) -> Plan:
    """What the verb would read and write."""
    chosen = result or newest(work, "train", TrainingResult)
    reads = [f"objects {chosen.checkpoint}", f"metrics of run {chosen.run_id}", f"evaluation rows of {chosen.training_set.snapshot.table}"]
    return make_plan(
        work, _task(work, chosen, generation), reads=reads, writes=[f"model {work.sections.release.model}", "table gate_reports", "table consumers"]
    )


def _task(work: Work, given: TrainingResult | None, wanted: Generation) -> Task[ModelVersion]:
    chosen = given or newest(work, "train", TrainingResult)
    settings = work.sections.release

    def body(run_id: str, now: datetime) -> ModelVersion:
        version, report = release.register(
            work.tables,
            work.tracking,
            work.storage,
            chosen,
            settings,
            work.config.hash("release"),
            now,
            label=work.sections.training.label,
            lineage=_lineage(work, chosen),
        )
        for gate in report.results:
            logger.info("gate %s: %s (%s)", gate.gate, gate.verdict, gate.message)
        record_model(work, version)
        return version

    key = generation(work, RunKey("register", work.config.project, settings.model, window=chosen.run_id), wanted)
    return Task(key, ModelVersion, ("release",), body)


def _lineage(work: Work, chosen: TrainingResult) -> release.Lineage:
    """What models were trained on, by the ledger: a warm one on the rows of all models before it too."""
    ancestry = Ancestry(work, chosen)

    def of(run_id: str) -> tuple[TrainingSet, ...] | None:
        found = ancestry.of(run_id)
        return None if found is None else tuple(result.training_set for result in found)

    return of
