"""`training-set`: spine and point-in-time features as one immutable table."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import SparkSession

from feature_store.declaration import TrainingSetDeclaration
from feature_store.training_set import STAGES
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.progress import track
from sparkml_ops.records import TrainingSet
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.inputs import check_spine, spine_known_time
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import instant

__all__ = ["declaration", "perform", "plan", "run"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    until: datetime | str,
    since: datetime | str | None = None,
    replay: float = 0.0,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> TrainingSet:
    """Materialise the training set whose training rows end before `until`.

    Args:
        until: Exclusive end of the training rows' spine time, UTC.
        since: Inclusive start of the training rows' spine time, UTC; None: the first row.
        replay: Share (0 to 1) of the keys before `since` whose rows are trained on as well.
        as_of: Only labels known then enter.

    Raises:
        ContractError: `since` is not before `until`.
    """
    return perform(Work(config, spark), until=until, since=since, replay=replay, as_of=as_of, generation=generation).record


def perform(
    work: Work,
    *,
    until: datetime | str,
    since: datetime | str | None = None,
    replay: float = 0.0,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> Outcome[TrainingSet]:
    """Run the verb and say how it ended."""
    return outcome(work, _task(work, until, since, replay, generation), as_of=as_of)


def plan(
    work: Work,
    *,
    until: datetime | str,
    since: datetime | str | None = None,
    replay: float = 0.0,
    as_of: datetime | str | None = None,
    generation: Generation = 0,
) -> Plan:
    """What the verb would read and write."""
    declared = declaration(work)
    reads = [f"spine {declared.spine}", *(f"features {lookup.table}" for lookup in declared.lookups)]
    writes = [f"table training_set_{work.config.project}_<hash>"]
    return make_plan(work, _task(work, until, since, replay, generation), reads=reads, writes=writes, as_of=as_of)


def declaration(work: Work) -> TrainingSetDeclaration:
    """The project's training set as declared.

    Raises:
        ConfigurationError: The project declares none.
    """
    if work.sections.training_set is None:
        raise ConfigurationError(f"no section `training_set` in project {work.config.project}", mend="add training.yaml with it")
    return work.sections.training_set


def _task(work: Work, until: datetime | str, since: datetime | str | None, replay: float, wanted: Generation) -> Task[TrainingSet]:
    declared, end = declaration(work), instant(until)
    start = None if since is None else instant(since)
    options = declared.options(end, start, replay)  # refuses what cannot be meant before Spark starts
    name = work.config.project

    def body(run_id: str, now: datetime) -> TrainingSet:
        with track("training-set", len(STAGES)) as advance:
            known = spine_known_time(work, declared)
            made = work.store.training_set(
                **options, spine_known_time=known, name=name, as_of=now, on_stage=lambda stage: advance(STAGES.index(stage), stage)
            )
            advance(len(STAGES), "")
        return made

    window = end.isoformat() if start is None else f"{start.isoformat()}..{end.isoformat()}"
    slot = f"replay-{replay:g}" if replay else ""
    key = generation(work, RunKey("training-set", work.config.project, name, window=window, slot=slot), wanted)
    return Task(key, TrainingSet, ("training_set", "features"), body, check=lambda _: check_spine(work, declared, label=True))
