"""`monitor`: how good a scored window's predictions are, as far as the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_store.names import quote
from feature_store.nearest import did_you_mean
from sparkml_ops import clock, monitoring, scoring
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import FinishedRun
from sparkml_ops.monitoring import MonitorRun, Predicted, Standing, Subject
from sparkml_ops.monitoring.truth import UNKNOWN_CLASS
from sparkml_ops.records import MonitorReport, ScoredWindow
from sparkml_ops.runkey import RunKey
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.summaries import kind_of
from sparkml_ops.verbs import score, training_set
from sparkml_ops.verbs.monitored import TASKS, calibration_of, classes_of, score_of
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["perform", "plan", "run"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    window: str,
    slot: str = "champion",
    generation: Generation = 0,
    as_of: datetime | str | None = None,
) -> MonitorReport:
    """Measure the predictions of a window against the truth that is known, and estimate them where it is not.

    A window that is not final is measured again under a later `as_of`, without being asked for a generation;
    earlier windows of the slot that are not final yet are measured with it. A clock that steps back is refused,
    unless exactly that instant was measured before: then that report is returned.

    Args:
        window: A window that has been scored.
        slot: Role under which its predictions are stored.
        generation: A deliberate repeat; 0 lets the clock decide.
        as_of: Only truth known then counts.

    Raises:
        ContractError: The window was not scored in this slot, or was measured with a later clock.
    """
    return perform(Work(config, spark), window=window, slot=slot, generation=generation, as_of=as_of).record


def perform(
    work: Work, *, window: str, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None
) -> Outcome[MonitorReport]:
    """Run the verb and say how it ended."""
    now, parsed = clock.resolve(as_of), Window.parse(window)
    work.check()
    return outcome(work, _task(work, parsed, slot, generation, now), as_of=now)


def plan(work: Work, *, window: str, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None) -> Plan:
    """What the verb would read and write."""
    now, parsed = clock.resolve(as_of), Window.parse(window)
    target, declared = work.sections.scoring.target, training_set.declaration(work)
    scored, open_ = _scored(work, parsed, slot), _open(work, parsed, slot, now)
    windows = ", ".join([window, *(standing.window for standing in open_)])
    name_of = monitoring.class_calibration_name if work.sections.training.task == "multiclass" else monitoring.calibration_name
    names = {name_of(scored[label].model): scored[label].model for label in (window, *(item.window for item in open_))}
    reads = [f"predictions {target} ({windows}; {slot})", f"truth {declared.spine}, known as of {now.isoformat()}"]
    writes = [f"table {monitoring.PERFORMANCE_TABLE} ({windows})"]
    for name, model in names.items():
        if work.storage.exists(name):
            reads.append(f"object {name}")
        else:
            snapshot = model.training_set.snapshot
            reads.append(f"evaluation rows of {snapshot.table}@{snapshot.version}")
            writes.append(f"object {name}")
    return make_plan(work, _task(work, parsed, slot, generation, now), reads=reads, writes=writes)


def _task(work: Work, window: Window, slot: str, wanted: Generation, now: datetime) -> Task[MonitorReport]:
    _check_task(work)
    key = _key(work, RunKey("monitor", work.config.project, work.sections.scoring.target, window.label, slot), wanted, now)

    def body(run_id: str, now: datetime) -> MonitorReport:
        scored, standings = _scored(work, window, slot), _open(work, window, slot, now)
        classes = classes_of(work, scored[window.label].model)
        generations = {window.label: key.generation, **{standing.window: standing.generation for standing in standings}}
        subjects = [
            Subject(Window.parse(label), scored[label].model, calibration_of(work, scored[label].model, classes), number)
            for label, number in generations.items()
            if label == window.label or not classes or classes_of(work, scored[label].model) == classes
        ]
        windows = [subject.window for subject in subjects]
        declared, settings = training_set.declaration(work), work.sections.monitoring
        # With a known time of its own each label that was known counts, so that the lag is that of the first.
        spine = score.spine(work, as_of=now if declared.label_known_time is None else None)
        reward = settings.value.reward if settings.value else None
        truth = monitoring.known_truth(spine, declared, windows, now, classes=classes, reward=reward)
        unknown = (UNKNOWN_CLASS, F.col("label") < 0) if classes else None
        rows = monitoring.observations(_predicted(work, windows, slot, classes), truth, unknown)
        measured_by = MonitorRun(key.project, key.target, slot, run_id, now)
        return monitoring.measure(work.tables, rows, subjects, measured_by, settings, classes=classes)

    return Task(key, MonitorReport, ("monitoring",), body)


def _check_task(work: Work) -> None:
    """Refuse, before Spark starts, what no task or not this one is measured by."""
    task, settings = work.sections.training.task, work.sections.monitoring
    if task not in TASKS:
        raise ContractError(
            f"monitoring of a model of the task {task}",
            expected=f"training.task {' or '.join(TASKS)}",
            mend="compare its predictions with `sparkml-ops drift`",
        )
    named = settings.value is not None and bool(settings.value.classes)
    if (task == "multiclass" and settings.sensitive) or (
        settings.value is not None and named != (task == "multiclass") and not settings.value.reward
    ):
        what = "sensitive" if settings.sensitive else "value"
        raise ContractError(
            f"monitoring.{what} of a model of the task {task}",
            expected="worth by outcome and sensitive columns of a binary model, value.classes of one of several classes",
            mend="correct the section monitoring",
        )


def _key(work: Work, key: RunKey, wanted: Generation, now: datetime) -> RunKey:
    """The generation that the clock asks for: the finished one that holds the answer, or a new one.

    Raises:
        ContractError: The window was measured with a later clock, and not with this one.
    """
    if wanted != 0:
        return generation(work, key, wanted)
    runs = [run for run in work.ledger.runs({"verb": key.verb, "project": key.project, "target": key.target}) if _about(run.key, key)]
    if not runs:
        return key
    same = [run for run in runs if run.as_of == now]
    newest = max(same or runs, key=lambda run: (run.as_of, run.key.generation))
    if same or (now > newest.as_of and newest.record["final"]):
        return newest.key
    if now < newest.as_of:
        raise ContractError(
            f"as_of {now.isoformat()} for window {key.window}, which was measured as of {newest.as_of.isoformat()}",
            expected="a clock that goes forward, or exactly an instant as of which it was measured",
            mend="use a later --as-of; `--generation next` measures what was known then, and readers keep the newest",
        )
    return generation(work, key, "next")


def _about(found: RunKey, key: RunKey) -> bool:
    return (found.window, found.slot) == (key.window, key.slot)


def _open(work: Work, window: Window, slot: str, now: datetime) -> list[Standing]:
    """Earlier windows of the slot that were measured before this instant and are not final."""
    found = monitoring.standings(work.tables, work.config.project, target=work.sections.scoring.target, slot=slot)
    return [item for item in found if not item.final and item.as_of < now and Window.parse(item.window).start < window.start]


def _scored(work: Work, window: Window, slot: str) -> dict[str, ScoredWindow]:
    """The newest scoring of each window of a slot.

    Raises:
        ContractError: There is none of this window.
    """
    where = {"verb": "score", "project": work.config.project, "target": work.sections.scoring.target}
    runs: dict[str, FinishedRun] = {run.key.window: run for run in work.ledger.standing(where) if run.key.slot == slot}
    if window.label not in runs:
        raise ContractError(
            f"no scores of window {window.label} in slot {slot}",
            expected="a scored window",
            mend=f"run `sparkml-ops score --project {work.config.project} --window {window.label} --slot {slot}` first",
        )
    return {label: TypeAdapter(ScoredWindow).validate_python(run.record) for label, run in runs.items()}


def _predicted(work: Work, windows: Sequence[Window], slot: str, classes: Sequence[str] = ()) -> Predicted:
    """Scored rows with their score, segments and amount, and the quarantined ones."""
    target, declared, settings = work.sections.scoring.target, training_set.declaration(work), work.sections.monitoring
    some = F.col(WINDOW).isin([window.label for window in windows])
    found = scoring.predictions(work.tables, target, slot=slot).where(some)
    quarantined = scoring.quarantine(work.tables, target, slot=slot).where(some)
    outputs = found.schema["prediction"].dataType
    assert isinstance(outputs, StructType)
    names = outputs.fieldNames()
    result = score_of(names, settings.probability, classes, lambda place: F.col(f"prediction.{quote(names[place])}"))
    amount = settings.value.amount if settings.value else None
    wanted = dict.fromkeys((*settings.cut_by, *([amount] if amount else [])))
    known = [name for name in wanted if name in found.columns]
    keys = dict.fromkeys((WINDOW, *declared.row_key))
    columns = dict.fromkeys((*keys, declared.time, *known))
    rows = found.select(*(quote(name) for name in columns), result.alias("score"))
    if further := [name for name in wanted if name not in known]:
        scoring_set = work.tables.read(scoring.scoring_set_table(target)).where(some)
        _check_segments(scoring_set, [name for name in further if name in settings.cut_by])
        if amount in further:
            monitoring.number_of(scoring_set.schema, amount, "monitoring.value.amount")
        rows = rows.join(scoring_set.select(*(quote(name) for name in dict.fromkeys((*keys, *further)))), list(keys), "left")
    return Predicted(rows, quarantined, row_key=declared.row_key, time=declared.time, segments=settings.cut_by, amount=amount)


def _check_segments(scoring_set: DataFrame, names: Sequence[str]) -> None:
    types = {field.name: field.dataType.simpleString() for field in scoring_set.schema.fields}
    if missing := [name for name in names if kind_of(types.get(name, "")) is None]:
        listed = ", ".join(f"`{name}`{'' if name in types else did_you_mean(name, types)}" for name in missing[:5])
        raise ContractError(
            f"no segment column {listed} in the scoring set", expected=f"simple columns out of {sorted(types)}", mend="correct monitoring.segments"
        )
