"""`register`: a training result becomes a model version, judged by the gates."""

from __future__ import annotations

import getpass
from datetime import datetime

from pyspark.sql import SparkSession

from sparkml_ops import release
from sparkml_ops.config.root import Config
from sparkml_ops.logs import logger
from sparkml_ops.records import ModelVersion, TrainingResult
from sparkml_ops.release.approval import approval_gate
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.consumers import record_model
from sparkml_ops.verbs.newest import newest
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.witnesses import witnesses
from sparkml_ops.verbs.work import Work

__all__ = ["perform", "plan", "run"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    result: TrainingResult | None = None,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
    actor: str = "",
) -> ModelVersion:
    """Register a training result, by default the newest as of then, and write its gate report."""
    return perform(Work(config, spark), result=result, as_of=as_of, generation=generation, actor=actor).record


def perform(
    work: Work, *, result: TrainingResult | None = None, as_of: datetime | str | None = None, generation: Generation = 0, actor: str = ""
) -> Outcome[ModelVersion]:
    """Run the verb and say how it ended.

    Args:
        actor: Who registers it, and so cannot approve it; by default the user of this process.
    """
    chosen = result or newest(work, "train", TrainingResult, as_of)
    return outcome(work, _task(work, chosen, generation, actor), as_of=as_of)


def plan(
    work: Work, *, result: TrainingResult | None = None, as_of: datetime | str | None = None, generation: Generation = 0, actor: str = ""
) -> Plan:
    """What the verb would read and write."""
    chosen = result or newest(work, "train", TrainingResult, as_of)
    reads = [f"objects {chosen.checkpoint}", f"metrics of run {chosen.run_id}", f"evaluation rows of {chosen.training_set.snapshot.table}"]
    approved = approval_gate(work.sections.release) is not None
    writes = [
        f"model {work.sections.release.model} and its card",
        "table gate_reports",
        *(["table model_approvals"] if approved else []),
        "table consumers",
    ]
    return make_plan(work, _task(work, chosen, generation, actor), reads=reads, writes=writes, as_of=as_of)


def _task(work: Work, chosen: TrainingResult, wanted: Generation, actor: str) -> Task[ModelVersion]:
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
            witnesses=witnesses(work, chosen),
            author=actor or getpass.getuser(),
        )
        for gate in report.results:
            logger.info("gate %s: %s (%s)", gate.gate, gate.verdict, gate.message)
        record_model(work, version)
        return version

    key = generation(work, RunKey("register", work.config.project, settings.model, window=chosen.run_id), wanted)
    return Task(key, ModelVersion, ("release",), body)
