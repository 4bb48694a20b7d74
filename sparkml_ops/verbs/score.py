"""`score`: a window's scoring set, one pass of the model, one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_store.declaration import TrainingSetDeclaration
from feature_store.delta import Commit
from feature_store.registry import Registry
from feature_store.units import declared_units
from feature_store.versions import Versions
from sparkml_ops import clock, release, scoring
from sparkml_ops.config.root import Config
from sparkml_ops.errors import ContractError
from sparkml_ops.ledger import WITHDRAW
from sparkml_ops.progress import track
from sparkml_ops.records import ModelVersion, ScoredWindow, Snapshot
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.consumers import record_predictions
from sparkml_ops.verbs.contract import CONTRACT_TABLE, judge_window
from sparkml_ops.verbs.costs import expected
from sparkml_ops.verbs.inputs import check_spine, lookup_keys, spine_known_time, spine_table
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan, Task, generation, outcome
from sparkml_ops.verbs.outcome import plan as make_plan
from sparkml_ops.verbs.rollout import arms_of, beside
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

__all__ = ["keys_alone", "perform", "plan", "run", "scoring_set", "spine", "window_rows"]


def run(
    spark: SparkSession | None,
    config: Config,
    *,
    window: str,
    slot: str = "champion",
    generation: Generation = 0,
    version: int | None = None,
    changed: bool = False,
    as_of: datetime | str | None = None,
) -> ScoredWindow:
    """Score a window and store its predictions under a slot, exactly once.

    Args:
        window: `2013-07`, `2013-07-14` or `2013-07-14T05`, of the spine time, UTC.
        slot: Role under which predictions are stored; also the alias that names the model.
        generation: A deliberate repeat; "next" is one more than the newest finished one.
        version: Of the model, for a slot that is not the champion's; None: the one that the slot's alias means.
        changed: Score only what came, was corrected, or was set aside since the window was last scored, as its next generation; the other
            rows keep their predictions. Of a window that nobody has scored, all rows.
        as_of: What became known later is left out; the window has ended by then, unless `scoring.allow_open`.

    Raises:
        ContractError: The window has not ended, overlaps another one of the slot, or was scored by another version than the given one,
            or its rows do not fit; the table of the predictions is as it was.
    """
    return perform(Work(config, spark), window=window, slot=slot, generation=generation, version=version, changed=changed, as_of=as_of).record


def perform(
    work: Work,
    *,
    window: str,
    slot: str = "champion",
    generation: Generation = 0,
    version: int | None = None,
    changed: bool = False,
    as_of: datetime | str | None = None,
) -> Outcome[ScoredWindow]:
    """Run the verb, then that of canary and shadows where the slot is the champion's, and say how the first ended."""
    parsed, now = Window.parse(window), clock.resolve(as_of)
    task = _asked(work, parsed, slot, generation, version, changed=changed)
    done = outcome(work, task, as_of=now)
    _check_version(task.key, done.record, version)
    if slot == release.CHAMPION:
        _beside(work, task.key, done.record, now)
    return done


def plan(
    work: Work,
    *,
    window: str,
    slot: str = "champion",
    generation: Generation = 0,
    version: int | None = None,
    changed: bool = False,
    as_of: datetime | str | None = None,
) -> Plan:
    """What the verb would read and write."""
    declared, settings = training_set.declaration(work), work.sections.scoring
    parsed = Window.parse(window)
    task = _asked(work, parsed, slot, generation, version, changed=changed)
    stored = scoring.stored_set(work.tables, settings.target, parsed, task.key.generation)
    model = work.tracking.resolve(work.sections.release.model, version or slot)
    _check_units(work, model.record, model.units)
    reads = [f"model {model.name} version {model.version}", f"spine {declared.spine}", *(f"features {item.table}" for item in declared.lookups)]
    writes = [f"table {settings.target}_scoring_set ({window})", f"table {settings.target} ({window}, {slot})"]
    writes += [f"table {CONTRACT_TABLE} ({window})"] if settings.contract.rules else []
    shadows = work.sections.rollout.shadows if slot == release.CHAMPION else {}
    notes = [
        str(scoring.choose(work.tables, settings, stored)),
        *_speed(work, model.record),
        *(f"then shadow {name}, version {which}" for name, which in shadows.items()),
    ]
    if said := expected(work, task.key):
        notes.append(said)
    return make_plan(work, task, reads=reads, writes=writes, notes=notes, as_of=as_of)


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
    rows, pinned = window_rows(work, window, as_of=as_of)
    return scoring.materialise(
        work.tables,
        work.store,
        rows,
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


def window_rows(work: Work, window: Window, *, as_of: datetime) -> tuple[DataFrame, Snapshot]:
    """The spine's rows of a window before anything is joined to them, and the version that they are read from.

    Raises:
        ContractError: The spine lacks a column.
    """
    declared = training_set.declaration(work)
    check_spine(work, declared, label=False)
    pinned = work.tables.newest(spine_table(work, declared))
    rows = spine(work, pinned.version, as_of=as_of)  # first of all: a column needs a session, and reading the table starts it
    rows = rows.where((F.col(declared.time) >= F.lit(window.start)) & (F.col(declared.time) < F.lit(window.end)))
    if declared.where is not None:
        rows = rows.where(F.expr(declared.where))  # checked against the allow-list when the configuration was read
    names = (*declared.row_key, declared.time, *lookup_keys(declared), *declared.columns, *declared.spine_inputs(rows.columns))
    return rows.select(*dict.fromkeys(names)), pinned


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


def _beside(work: Work, key: RunKey, champion: ScoredWindow, now: datetime) -> None:
    """Score the champion's scoring set for canary and shadows too."""
    canary, window = work.sections.rollout.canary, Window.parse(key.window)

    def run(other: Work, version: int, *, slot: str, arms: scoring.Arms | None = None) -> None:
        outcome(other, _task(other, window, slot, key.generation, version, arms), as_of=now)

    if canary is not None and (arms := scoring.recorded(work.tables, key.target, window=key.window, slot=key.slot, generation=key.generation)):
        beside(work, f"canary {arms.slot} of window {key.window}", canary.version, champion, partial(run, slot=arms.slot, arms=arms))
    for slot, which in work.sections.rollout.shadows.items():
        beside(work, f"shadow {slot} of window {key.window}", which, champion, partial(run, slot=slot))


def _asked(work: Work, window: Window, slot: str, wanted: Generation, version: int | None, *, changed: bool) -> Task[ScoredWindow]:
    """What a caller asks for.

    Raises:
        ContractError: A version for the champion's slot, or a generation beside `changed`.
    """
    if version is not None and slot == release.CHAMPION:
        raise ContractError(
            f"version {version} for the slot {slot}",
            expected="the version that the champion's alias means",
            mend=f"`sparkml-ops promote` it, or score it into a slot of its own: --slot version-{version}",
        )
    if not changed:
        return _task(work, window, slot, wanted, version)
    if wanted not in (0, "next"):
        raise ContractError(f"generation {wanted} of what changed", expected="no generation: it is the next one", mend="leave out --generation")
    before = _standing(work, window, slot)
    return _task(work, window, slot, 0 if before is None else "next", version, before=before)


def _standing(work: Work, window: Window, slot: str) -> Commit | None:
    """The commit of the scoring that stands."""
    target = work.sections.scoring.target
    runs = work.ledger.standing({"verb": "score", "project": work.config.project, "target": target})
    mine = [run.key.generation for run in runs if (run.key.window, run.key.slot) == (window.label, slot)]
    return scoring.landed(work.tables, target, window=window.label, slot=slot, generation=max(mine)) if mine else None


def _task(
    work: Work,
    window: Window,
    slot: str,
    wanted: Generation,
    version: int | None = None,
    arms: scoring.Arms | None = None,
    before: Commit | None = None,
) -> Task[ScoredWindow]:
    """The scoring of a slot by the version that its alias means, or by a given one."""
    declared, settings = training_set.declaration(work), work.sections.scoring
    key = _key(work, RunKey("score", work.config.project, settings.target, window.label, slot), wanted)

    def body(run_id: str, now: datetime) -> ScoredWindow:
        with track("score", 3) as advance:
            advance(0, "loading the model")
            model = scoring.load(work.tracking, work.storage, work.sections.release.model, version or slot, settings, explain=settings.explain)
            _check_units(work, model.record, model.units)
            advance(1, "joining features")
            inputs = scoring_set(work, window, key.generation, as_of=now)
            judged = judge_window(work, inputs, key, run_id, now)
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
                arms=arms or (arms_of(work, model.record.version) if slot == release.CHAMPION else None),
                before=before,
                judged=judged,
            )
            record_predictions(work, scored.model)  # of a version that was never promoted: a shadow's, a canary's
            advance(3, "")
        return scored

    def check(now: datetime) -> None:
        _check_apart(work, window, slot)
        _check(work, window, key.generation, now)

    return Task(key, ScoredWindow, ("scoring", "training_set", "features", "release"), body, check=check)


def _key(work: Work, key: RunKey, wanted: Generation) -> RunKey:
    """The key with its generation as a number: of what was taken back the next one that stands, or a new one.

    Raises:
        ContractError: That generation took another one back.
    """
    where = {"project": key.project, "target": key.target}
    runs = [run for run in work.ledger.runs(where) if (run.key.window, run.key.slot) == (key.window, key.slot)]
    taken = {run.key.generation: int(run.record["withdrawn"]) for run in runs if run.key.verb == WITHDRAW}
    if not taken:
        return generation(work, key, wanted)
    scored = [run.key.generation for run in runs if run.key.verb == key.verb]
    fresh = max(*scored, *taken) + 1
    if wanted == "next":
        return replace(key, generation=fresh)
    if wanted in taken:
        raise ContractError(
            f"generation {wanted} of window {key.window}, slot {key.slot}, which took generation {taken[wanted]} back",
            expected=f"a generation that scores, {fresh} or later",
            mend="score with --generation next",
        )
    if wanted in taken.values():
        standing = [number for number in scored if number > wanted and number not in taken.values()]
        return replace(key, generation=min(standing, default=fresh))
    return replace(key, generation=wanted)


def _speed(work: Work, model: ModelVersion) -> list[str]:
    """How fast the model's export was beside it at registration, where that was measured."""
    stored = [item.report for item in release.reports_on(work.tables, model.name) if item.report.version == model.version]
    speeds = release.export_speed(stored[-1]) if stored else None
    if speeds is None:
        return []
    own, export = speeds
    return [
        f"the model itself; its ONNX export scored {export / own:.2f} times as many rows a second at registration ({export:,.0f} beside {own:,.0f})"
    ]


def _check_units(work: Work, model: ModelVersion, trained: Mapping[str, str]) -> None:
    """Refuse a model that was trained on other units than the feature tables declare now; before any row is joined."""
    lookups = [item.lookup() for item in training_set.declaration(work).lookups]
    declared = declared_units(Registry(work.tables), lookups) if trained else {}
    scoring.check_units(f"version {model.version} of `{model.name}`", trained, declared)


def _check_version(key: RunKey, done: ScoredWindow, asked: int | None) -> None:
    """Refuse to hand on the predictions of another version than the one that was asked for by its number."""
    if asked is not None and done.model.version != asked:
        raise ContractError(
            f"version {done.model.version} in slot {key.slot} of window {key.window}, generation {key.generation}, where {asked} was asked for",
            expected=f"a slot or generation that version {asked} scored",
            mend=f"score it into a slot of its own: --slot version-{asked}, or add --generation next",
        )


def _check_apart(work: Work, window: Window, slot: str) -> None:
    """Refuse a window that shares rows with one of another size that was scored into the slot."""
    where = {"verb": "score", "project": work.config.project, "target": work.sections.scoring.target}
    scored = {run.key.window for run in work.ledger.standing(where) if run.key.slot == slot} - {window.label}
    shared = [other.label for other in map(Window.parse, sorted(scored)) if other.start < window.end and window.start < other.end]
    if shared:
        raise ContractError(
            f"window {window.label}, which overlaps {', '.join(shared[:5])} in slot {slot}",
            expected="windows apart: a row would have two predictions to act on",
            mend="score it into a slot of its own, `--slot`, or take the other back first: `sparkml-ops predictions rollback`",
        )


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
