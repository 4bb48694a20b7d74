"""`score`: a window's scoring set, one pass of the model, one commit."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.declaration import TrainingSetDeclaration
from feature_store.versions import Versions
from sparkml_ops import scoring
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ContractError
from sparkml_ops.progress import track
from sparkml_ops.records import ScoredWindow, Snapshot
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.consumers import record_predictions
from sparkml_ops.verbs.inputs import check_spine, lookup_keys, spine_known_time, spine_table
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["keys_alone", "perform", "plan", "run", "scoring_set", "spine"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    window: str,
    slot: str = "champion",
    generation: Generation = 0,
    as_of: datetime | str | None = None,
) -> ScoredWindow:
    """Score a window and store its predictions under a slot, exactly once.

    Args:
        window: `2013-07`, `2013-07-14` or `2013-07-14T05`, of the spine time, UTC.
        slot: Role under which predictions are stored; also the alias that names the model.
        generation: A deliberate repeat; "next" is one more than the newest finished one.
        as_of: What became known later is left out; the window has ended by then, unless `scoring.allow_open`.

    Raises:
        ContractError: The window has not ended, or its rows do not fit; the table of the predictions is as it was.
    """
    return perform(Work(config, spark), window=window, slot=slot, generation=generation, as_of=as_of).record


def perform(
    work: Work, *, window: str, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None
) -> Outcome[ScoredWindow]:
    """Run the verb and say how it ended."""
    return outcome(work, _task(work, Window.parse(window), slot, generation), as_of=as_of)


def plan(work: Work, *, window: str, slot: str = "champion", generation: Generation = 0, as_of: datetime | str | None = None) -> Plan:
    """What the verb would read and write."""
    declared, settings = training_set.declaration(work), work.sections.scoring
    parsed = Window.parse(window)
    task = _task(work, parsed, slot, generation)
    stored = scoring.stored_set(work.tables, settings.target, parsed, task.key.generation)
    model = work.tracking.resolve(work.sections.release.model, slot)
    reads = [f"model {model.name} version {model.version}", f"spine {declared.spine}", *(f"features {item.table}" for item in declared.lookups)]
    writes = [f"table {settings.target}_scoring_set ({window})", f"table {settings.target} ({window}, {slot})"]
    return make_plan(work, task, reads=reads, writes=writes, notes=[str(scoring.choose(work.tables, settings, stored))], as_of=as_of)


def scoring_set(work: Work, window: Window, generation: int = 0, *, as_of: datetime) -> Snapshot:
    """The window's scoring set, materialised now unless it is there.

    Args:
        as_of: Of a corrected row the last version known then is taken.

    Raises:
        ContractError: The spine lacks a column, or has no row in the window.
    """
    declared, settings = training_set.declaration(work), work.sections.scoring
    if stored := scoring.stored_set(work.tables, settings.target, window, generation):
        return stored
    check_spine(work, declared, label=False)
    pinned = work.tables.newest(spine_table(work, declared))
    rows = spine(work, pinned.version, as_of=as_of)  # first of all: a column needs a session, and reading the table starts it
    rows = rows.where((F.col(declared.time) >= F.lit(window.start)) & (F.col(declared.time) < F.lit(window.end)))
    if declared.where is not None:
        rows = rows.where(F.expr(declared.where))  # checked against the allow-list when the configuration was read
    return scoring.materialise(
        work.tables,
        work.store,
        rows.select(
            *dict.fromkeys((*declared.row_key, declared.time, *lookup_keys(declared), *declared.columns, *declared.spine_inputs(rows.columns)))
        ),
        [lookup.lookup() for lookup in declared.lookups],
        target=settings.target,
        window=window,
        generation=generation,
        spine_time=declared.time,
        row_key=declared.row_key,
        spine_versions={pinned.table: pinned.version},
        allow_empty=settings.allow_empty,
        functions=declared.row_functions(),
    )


def spine(work: Work, version: int | None = None, *, as_of: datetime | None = None) -> DataFrame:
    """The rows of the project's spine, of its newest version unless one is given.

    Args:
        as_of: Of a corrected row only the last version known then; None: all versions of it.
    """
    declared = training_set.declaration(work)
    rows, known = work.tables.read(spine_table(work, declared), version), spine_known_time(work, declared)
    if as_of is None or known is None:
        return rows
    return Versions(declared.row_key, known, as_of).last(rows, f"the spine `{declared.spine}`")


def keys_alone(declared: TrainingSetDeclaration) -> list[str]:
    """Spine columns that lookups need and that are no columns of the training set themselves."""
    return [key for key in dict.fromkeys(lookup_keys(declared)) if key not in declared.columns]


def _task(work: Work, window: Window, slot: str, wanted: Generation) -> Task[ScoredWindow]:
    declared, settings = training_set.declaration(work), work.sections.scoring
    key = generation(work, RunKey("score", work.config.project, settings.target, window.label, slot), wanted)

    def body(run_id: str, now: datetime) -> ScoredWindow:
        with track("score", 3) as advance:
            advance(0, "loading the model")
            model = scoring.load(work.tracking, work.storage, work.sections.release.model, slot, settings)
            advance(1, "joining features")
            inputs = scoring_set(work, window, key.generation, as_of=now)
            advance(2, "scoring rows")
            scored = scoring.score(
                work.spark,
                work.tables,
                model,
                inputs,
                window=window.label,
                slot=slot,
                generation=key.generation,
                settings=settings,
                scored_at=now,
                run_id=run_id,
                row_key=declared.row_key,
                spine_time=declared.time,
            )
            record_predictions(work, scored.model)  # of a version that was never promoted: a shadow's, a canary's
            advance(3, "")
        return scored

    return Task(key, ScoredWindow, ("scoring", "training_set", "features", "release"), body, check=partial(_check, work, window, key.generation))


def _check(work: Work, window: Window, generation: int, now: datetime) -> None:
    """Refuse a window that has not ended, and a spine that cannot be scored."""
    if window.end > now and not work.sections.scoring.allow_open:
        raise ContractError(
            f"window {window.label} as of {now.isoformat()}",
            expected=f"a window that has ended: this one does at {window.end.isoformat()}",
            mend="score it then, or a smaller window: rows that come later would have no prediction. Of rows known beforehand: scoring.allow_open=true",
        )
    if scoring.stored_set(work.tables, work.sections.scoring.target, window, generation) is None:
        check_spine(work, training_set.declaration(work), label=False)
