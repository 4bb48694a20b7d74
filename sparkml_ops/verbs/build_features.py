"""`build-features`: raw tables from their sources, feature tables from raw tables."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import SparkSession

from feature_store.incremental.plan import plan_refresh
from feature_store.source import build_source
from sparkml_ops import clock
from sparkml_ops.config.root import Config
from sparkml_ops.progress import track
from sparkml_ops.records import Snapshot
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs.inputs import check_sources
from sparkml_ops.verbs.outcome import Outcome, Plan, Task, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.work import Work

__all__ = ["perform", "plan", "run"]


def run(spark: SparkSession | None, config: Config, *, as_of: datetime | str | None = None) -> tuple[Snapshot, ...]:
    """Bring raw and feature tables up to date and return a snapshot for each feature table.

    Args:
        as_of: What was known then; later knowledge is left out. None: everything known now.
    """
    return perform(Work(config, spark), as_of=as_of).record


def perform(work: Work, *, as_of: datetime | str | None = None) -> Outcome[tuple[Snapshot, ...]]:
    """Run the verb and say how it ended."""
    return outcome(work, _task(work, as_of), as_of=as_of)


def plan(work: Work, *, as_of: datetime | str | None = None) -> Plan:
    """What the verb would read and write."""
    sources, features = work.sections.sources, work.sections.features
    reads = [
        f"source {name} (builder {source.builder})" if source.builder else f"table {source.table_name(name)}" for name, source in sources.items()
    ]
    writes = [f"table {source.table_name(name)}" for name, source in sources.items() if source.builder]
    writes += [f"table {name}" for name in features]
    notes = _refreshes(work, as_of)
    return make_plan(work, _task(work, as_of), reads=reads, writes=writes, notes=notes, as_of=as_of)


def _refreshes(work: Work, as_of: datetime | str | None) -> list[str]:
    """What the refresh of each feature table would do, as far as its source is there already."""
    now = clock.resolve(as_of)
    notes = []
    for name, declaration in work.sections.features.items():
        table = declaration.table(name, work.sections.sources)
        source = work.sections.sources.get(declaration.source or "")
        made = " (once its builder has run, its rows may be others)" if source is not None and source.builder is not None else ""
        if table.source is not None:
            notes.append(f"{plan_refresh(work.tables, table, _stored(work, table.source), now).text}{made}")
    return notes


def _stored(work: Work, source: str) -> str:
    """Name of the table that holds a feature table's source."""
    declared = work.sections.features.get(source)
    return source if declared is None else declared.table(source, work.sections.sources).table_name


def _task(work: Work, as_of: datetime | str | None) -> Task[tuple[Snapshot, ...]]:
    config = work.config
    wrote: list[bool] = []

    def body(run_id: str, now: datetime) -> tuple[Snapshot, ...]:
        sources, features = work.sections.sources, work.sections.features
        snapshots = []
        with track("build-features", len(sources) + len(features)) as advance:
            for done, (name, source) in enumerate(sources.items()):
                advance(done, f"source {name}")
                if source.builder is not None:
                    wrote.append(build_source(work.tables, name, source).fresh)
            for done, (name, declaration) in enumerate(features.items(), start=len(sources)):
                advance(done, f"features {name}")
                table = declaration.table(name, sources)
                before = work.tables.newest(table.name) if work.tables.exists(table.name) else None
                work.store.register(table)
                snapshots.append(work.store.refresh(table.name, as_of=now if as_of else None))
                wrote.append(snapshots[-1] != before)
            advance(len(sources) + len(features), "")
        return tuple(snapshots)

    window = "" if as_of is None else str(as_of)
    key = RunKey("build-features", config.project, "features", window=window)
    # Without a clock "now" moves on, so each call looks at its sources again.
    declared = ("sources", "features")
    repeatable = as_of is not None
    return Task(key, tuple[Snapshot, ...], declared, body, repeatable=repeatable, wrote=lambda: any(wrote), check=lambda _: check_sources(work))
