"""`retrain`: whether a new model is due after a window, and if so its training set, training, registration and promotion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from pyspark.sql import SparkSession

from feature_store.duration import parse_duration
from sparkml_ops import clock, monitoring, release
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ConfigurationError, ContractError, GateRefused
from sparkml_ops.logs import logger
from sparkml_ops.records import ModelVersion, RetrainDecision, to_document
from sparkml_ops.retraining.evidence import Sources, gather, trained_until
from sparkml_ops.retraining.labels import count_labels
from sparkml_ops.retraining.lease import give_up, in_flight, leases, take
from sparkml_ops.retraining.policy import Evidence, decide
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import promote, register, score, train, training_set
from sparkml_ops.verbs.ancestry import Ancestry
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["perform", "plan", "run"]

_ACTOR = "retrain"


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    window: str,
    as_of: datetime | str | None = None,
    on_demand: bool = False,
    generation: Generation = 0,
) -> RetrainDecision:
    """Decide whether a new model is due after a window, and train it if so.

    Args:
        window: The newest window that was scored and measured.
        as_of: The clock: what was known then decides.
        on_demand: A person asks for it; broken data and the brakes still say no.

    Raises:
        ContractError: The window was not measured, there is no champion, a later clock or upon a later window was decided already,
            or a warm start has no known end of the champion's rows.
        RetryableError: Another process is at the same work, or trains another model.
    """
    return perform(Work(config, spark), window=window, as_of=as_of, on_demand=on_demand, generation=generation).record


def perform(
    work: Work, *, window: str, as_of: datetime | str | None = None, on_demand: bool = False, generation: Generation = 0
) -> Outcome[RetrainDecision]:
    """Run the verb and say how it ended."""
    return outcome(work, _task(work, Window.parse(window), generation, on_demand=on_demand), as_of=as_of)


def plan(work: Work, *, window: str, as_of: datetime | str | None = None, on_demand: bool = False, generation: Generation = 0) -> Plan:
    """What the verb would decide and write now; deciding reads the labels, so it starts Spark."""
    parsed, now = Window.parse(window), clock.resolve(as_of)
    task = _task(work, parsed, generation, on_demand=on_demand)
    if work.ledger.find(task.key):
        return make_plan(work, task, reads=(), writes=())
    verdict = decide(_evidence(work, task.key, parsed, now, on_demand=on_demand), work.sections.retraining.policy)
    writes = ["table retrainings", "training set", "MLflow run", "model version", "alias champion, if the gates pass"]
    return make_plan(
        work,
        task,
        reads=["ledger of score, drift and monitor", f"labels of {training_set.declaration(work).spine}"],
        writes=writes if verdict.decision == "yes" else (),
        notes=[f"{verdict.decision}: {verdict.reason}"],
    )


def _task(work: Work, window: Window, wanted: Generation, *, on_demand: bool) -> Task[RetrainDecision]:
    key = generation(work, RunKey("retrain", work.config.project, work.sections.release.model, window.label), wanted)

    def body(run_id: str, now: datetime) -> RetrainDecision:
        begun = [lease for lease in leases(work.tables, work.config.project) if lease.key == key.text]
        if begun:
            logger.info("retrain: going on by the decision of a retraining that was cut off")
            return _train(work, key, RetrainDecision(**begun[-1].decision), now)
        evidence = _evidence(work, key, window, now, on_demand=on_demand)
        verdict = decide(evidence, work.sections.retraining.policy)
        logger.info("retrain: %s, %s", verdict.decision, verdict.reason)
        decision = RetrainDecision(
            window.label, now.isoformat(), verdict.decision, verdict.trigger, verdict.reason, evidence.to_document(), evidence.champion
        )
        return decision if verdict.decision == "no" else _train(work, key, decision, now)

    return Task(key, RetrainDecision, ("retraining",), body)


def _evidence(work: Work, key: RunKey, window: Window, now: datetime, *, on_demand: bool) -> Evidence:
    """What is known of the champion at the clock."""
    policy, project, target = work.sections.retraining.policy, work.config.project, work.sections.scoring.target
    champion, held = _champion(work), leases(work.tables, project)
    since, until = _range(work, champion, now)
    other = in_flight(held, lambda text: _finished(work, text), key.text, clock.wall())

    def labels(after: datetime | None) -> int:
        return count_labels(score.spine(work, as_of=now), training_set.declaration(work), since=after, until=until, as_of=now)

    figures = () if policy.performance is None else monitoring.performance(work.tables, project, target=target, as_of=now)
    return gather(
        Sources(work.ledger, project, target, policy, held, figures, labels),
        window,
        champion,
        key=key,
        now=now,
        train_start=since,
        in_flight=None if other is None else f"{other.key} (process {other.pid} on {other.host})",
        on_demand=on_demand,
    )


def _train(work: Work, key: RunKey, decision: RetrainDecision, now: datetime) -> RetrainDecision:
    """The path from a training set to a champion, under the lease; each step is done once, whoever began it."""
    document = {name: value for name, value in to_document(decision).items() if name not in ("challenger", "promoted")}
    lease = take(
        work.tables,
        work.config.project,
        key.text,
        document,
        as_of=now,
        wall=clock.wall(),
        length=parse_duration(work.sections.retraining.policy.lease),
        finished=lambda text: _finished(work, text),
    )
    try:
        return _path(work, RetrainDecision(**lease.decision), key.generation)
    except BaseException:
        # Of an interrupted notebook too: its process lives on, and would hold the lease for hours.
        give_up(work.tables, lease, clock.wall())
        raise


def _path(work: Work, decision: RetrainDecision, repeat: int) -> RetrainDecision:
    """Training set, training, registration and promotion, each as often as the decision was repeated on purpose."""
    as_of = datetime.fromisoformat(decision.as_of)
    champion = work.tracking.resolve(work.sections.release.model, decision.champion or 0).record
    since, until = _range(work, champion, as_of)
    settings, warm = work.sections.retraining, _goes_on(work, champion)
    made = training_set.perform(work, until=until, since=since, replay=settings.replay if warm else 0.0, as_of=as_of, generation=repeat).record
    result = train.perform(
        work,
        training_set=made,
        warm_start=champion if warm else None,
        stateful=warm and settings.mode == "stateful",
        as_of=as_of,
        generation=repeat,
    ).record
    challenger = register.perform(work, result=result, as_of=as_of, generation=repeat).record
    return _promoted(work, decision, challenger, as_of)


def _goes_on(work: Work, champion: ModelVersion) -> bool:
    """Whether a training goes on from the champion; as often as the configuration says it begins anew."""
    settings = work.sections.retraining
    if settings.mode == "stateless" or settings.full_every is None:
        return settings.mode != "stateless"
    generations = Ancestry(work).of(work.tracking.resolve(champion.name, champion.version).run_id)
    return generations is not None and len(generations) < settings.full_every


def _range(work: Work, champion: ModelVersion, now: datetime) -> tuple[datetime | None, datetime]:
    """Inclusive start and exclusive end of the rows that a training takes; without a start all before its end.

    Raises:
        ContractError: A warm start, and nobody knows which rows the champion has seen.
    """
    settings, until = work.sections.retraining, now - _evaluation(work)
    if _goes_on(work, champion):
        since = trained_until(work.ledger, work.config.project, champion)
        if since is None:
            raise ContractError(
                f"version {champion.version} of {champion.name}, and no training set of it in the ledger of project {work.config.project}",
                expected="an end of the champion's training rows: a warm start goes on with rows that it has not seen",
                mend="train it here, or once from scratch: `--set retraining.mode=stateless`",
            )
        return since, until
    return None if settings.range.length is None else until - parse_duration(settings.range.length), until


def _promoted(work: Work, decision: RetrainDecision, challenger: ModelVersion, as_of: datetime) -> RetrainDecision:
    """The challenger as champion, unless its gates refuse it."""
    try:
        promote.perform(work, version=challenger, as_of=as_of, actor=_ACTOR)
    except GateRefused as refused:
        return replace(decision, challenger=challenger, reason=f"{decision.reason}; the challenger stays one: {refused.found}")
    return replace(decision, challenger=challenger, promoted=True)


def _champion(work: Work) -> ModelVersion:
    return work.tracking.resolve(work.sections.release.model, release.CHAMPION).record


def _finished(work: Work, text: str) -> bool:
    return any(run.key.text == text for run in work.ledger.runs({"verb": "retrain", "project": work.config.project}))


def _evaluation(work: Work) -> timedelta:
    split = training_set.declaration(work).split
    if split is None or isinstance(split.evaluation, float):
        found = "a training set without a split" if split is None else f"the share {split.evaluation} as training_set.split.evaluation"
        raise ConfigurationError(
            found, expected="rows after its training rows that judge it", mend='declare training_set.split.evaluation as a length, "31d"'
        )
    return parse_duration(split.evaluation)
