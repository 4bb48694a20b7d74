"""`score`: a window's scoring set, one pass of the model, one commit."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.declaration import TrainingSetDeclaration
from sparkml_ops import scoring
from sparkml_ops.config.root import Config
from sparkml_ops.records import ScoredWindow, Snapshot
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import training_set
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
    task = _task(work, Window.parse(window), slot, generation)
    model = work.tracking.resolve(work.sections.release.model, slot)
    reads = [f"model {model.name} version {model.version}", f"spine {declared.spine}", *(f"features {item.table}" for item in declared.lookups)]
    writes = [f"table {settings.target}_scoring_set ({window})", f"table {settings.target} ({window}, {slot})"]
    return make_plan(work, task, reads=reads, writes=writes, notes=[f"engine {settings.engine}"])


def scoring_set(work: Work, window: Window, generation: int = 0) -> Snapshot:
    """The window's scoring set, materialised now unless it is there.

    Raises:
        ContractError: The spine has no row in the window.
    """
    declared, settings = training_set.declaration(work), work.sections.scoring
    rows = spine(work)  # first of all: a column needs a session, and reading the table starts it
    rows = rows.where((F.col(declared.time) >= F.lit(window.start)) & (F.col(declared.time) < F.lit(window.end)))
    if declared.where is not None:
        rows = rows.where(F.expr(declared.where))  # checked against the allow-list when the configuration was read
    return scoring.materialise(
        work.tables,
        work.store,
        rows.select(*dict.fromkeys((*declared.row_key, declared.time, *_lookup_keys(declared), *declared.columns))),
        [lookup.lookup() for lookup in declared.lookups],
        target=settings.target,
        window=window,
        generation=generation,
        spine_time=declared.time,
        row_key=declared.row_key,
        allow_empty=settings.allow_empty,
    )


def spine(work: Work) -> DataFrame:
    """The newest rows of the project's spine."""
    declared = training_set.declaration(work)
    return work.store.read(declared.spine) if declared.spine in work.sections.features else work.tables.read(declared.spine)


def keys_alone(declared: TrainingSetDeclaration) -> list[str]:
    """Spine columns that lookups need and that are no columns of the training set themselves."""
    return [key for key in dict.fromkeys(_lookup_keys(declared)) if key not in declared.columns]


def _lookup_keys(declared: TrainingSetDeclaration) -> list[str]:
    """Spine columns that a lookup needs."""
    return [key for lookup in declared.lookups for key in lookup.keys]


def _task(work: Work, window: Window, slot: str, wanted: Generation) -> Task[ScoredWindow]:
    declared, settings = training_set.declaration(work), work.sections.scoring
    key = generation(work, RunKey("score", work.config.project, settings.target, window.label, slot), wanted)

    def body(run_id: str, now: datetime) -> ScoredWindow:
        model = scoring.load(work.tracking, work.storage, work.sections.release.model, slot, settings)
        inputs = scoring_set(work, window, key.generation)
        return scoring.score(
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

    return Task(key, ScoredWindow, ("scoring", "training_set", "features", "release"), body)
