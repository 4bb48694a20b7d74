"""One command for each verb.

A verb is imported when it is called: `--help` and a wrong option wait for no torch and no scipy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sparkml_ops.cli.due import score_due
from sparkml_ops.cli.options import ActorOption, AsOf, Common, GenerationOption, PlanOption, command, parse_generation, show
from sparkml_ops.logs import logger

__all__ = ["add_to"]

_REFUSED = 3
WindowOption = Annotated[str, typer.Option(help="2013-07, 2013-07-14 or 2013-07-14T05, UTC.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs' commands."""
    functions: tuple[Callable[..., None], ...] = (
        build_features,
        training_set,
        train,
        reproduce,
        tune,
        register,
        promote,
        rollback,
        reconcile,
        score,
        drift,
        monitor,
        retrain,
    )
    for function in functions:
        app.command(function.__name__.replace("_", "-"), rich_help_panel="Verbs")(command(function))


def build_features(common: Common, as_of: AsOf = None, plan: PlanOption = False) -> None:
    """Raw tables from their sources, feature tables from raw tables."""
    from sparkml_ops.verbs import build_features as verb

    show(common, verb.plan(common.work(), as_of=as_of) if plan else verb.perform(common.work(), as_of=as_of))


def training_set(
    common: Common,
    until: Annotated[str, typer.Option(help="Exclusive end of the training rows, UTC: 2013-07-01.")],
    since: Annotated[str | None, typer.Option(help="Start of the training rows, UTC; by default the first row.")] = None,
    replay: Annotated[float, typer.Option(help="With --since: share of the keys before it whose rows are trained on as well.")] = 0.0,
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """Spine and point-in-time features as one immutable table."""
    from sparkml_ops.verbs import training_set as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), until=until, since=since, replay=replay, as_of=as_of, generation=parse_generation(generation)))


def train(
    common: Common,
    warm_start: Annotated[str | None, typer.Option(help="Go on from this version or alias of the model: 3, champion.")] = None,
    stateful: Annotated[bool, typer.Option("--stateful", help="With --warm-start: go on with its optimiser's state too.")] = False,
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """Data-parallel training on the newest training set."""
    from sparkml_ops.verbs import train as verb

    work, call = common.work(), verb.plan if plan else verb.perform
    start = None if warm_start is None else work.tracking.resolve(work.sections.release.model, warm_start).record
    show(common, call(work, warm_start=start, stateful=stateful, as_of=as_of, generation=parse_generation(generation)))


def reproduce(
    common: Common,
    run: Annotated[str, typer.Argument(help="Id of a training in the ledger or in MLflow, or its beginning.")],
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """An earlier training once more; exit code 3 where its weights or metrics come out otherwise."""
    from sparkml_ops.verbs import reproduce as verb

    if plan:
        show(common, verb.plan(common.work(), run=run, as_of=as_of, generation=parse_generation(generation)))
        return
    found = verb.perform(common.work(), run=run, as_of=as_of, generation=parse_generation(generation))
    show(common, found)
    if not found.record.equal:
        raise typer.Exit(_REFUSED)


def tune(common: Common, as_of: AsOf = None, generation: GenerationOption = "0", plan: PlanOption = False) -> None:
    """A search for a better training: trials on the newest training set, judged on its validation split."""
    from sparkml_ops.cli.trials import show_trials
    from sparkml_ops.verbs import tune as verb

    number = parse_generation(generation)
    if plan:
        show(common, verb.plan(common.work(), as_of=as_of, generation=number))
        return
    result = verb.perform(common.work(), as_of=as_of, generation=number)
    show(common, result)
    if not common.json:
        show_trials(result.record)


def register(common: Common, as_of: AsOf = None, generation: GenerationOption = "0", plan: PlanOption = False) -> None:
    """The newest training result as a model version, judged by the gates."""
    from sparkml_ops.verbs import register as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), as_of=as_of, generation=parse_generation(generation)))


def promote(common: Common, as_of: AsOf = None, actor: ActorOption = "", plan: PlanOption = False) -> None:
    """The newest registered version as champion; refused (exit 3) without a passed gate report."""
    from sparkml_ops.verbs import promote as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), as_of=as_of, actor=actor))


def rollback(common: Common, as_of: AsOf = None, actor: ActorOption = "", plan: PlanOption = False) -> None:
    """The champion before this one as champion again."""
    from sparkml_ops.verbs import promote as verb

    call = verb.plan_rollback if plan else verb.perform_rollback
    show(common, call(common.work(), as_of=as_of, actor=actor))


def reconcile(common: Common, as_of: AsOf = None, actor: ActorOption = "") -> None:
    """Accept an alias that somebody moved by hand in MLflow; an event says so."""
    from sparkml_ops.verbs import promote as verb

    print(verb.perform_reconcile(common.work(), as_of=as_of, actor=actor))


def score(
    common: Common,
    window: Annotated[str | None, typer.Option(help="2013-07, 2013-07-14 or 2013-07-14T05, UTC.")] = None,
    due: Annotated[bool, typer.Option("--due", help="Every window that has ended by the clock and was missed, oldest first.")] = False,
    since: Annotated[str | None, typer.Option("--from", help="With --due: first window to look at. Default: after the newest scored.")] = None,
    slot: Annotated[str, typer.Option(help="Role under which predictions are stored; also the alias of the model.")] = "champion",
    version: Annotated[int | None, typer.Option(help="Version of the model, for a slot that is not the champion's.", min=1)] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only rows that came, were corrected or set aside since the last scoring.")] = False,
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """A window's predictions, exactly once; or, with --due, those of all windows that were missed."""
    if due == (window is not None) or (since is not None and not due) or (due and (generation != "0" or version or changed)):
        raise typer.BadParameter("either --window (and --generation), or --due (and --from)", param_hint="--window")
    if window is None:
        score_due(common, slot=slot, since=since, as_of=as_of, plan=plan)
        return
    from sparkml_ops.verbs import score as verb

    call = verb.plan if plan else verb.perform
    done = call(common.work(), window=window, slot=slot, version=version, changed=changed, generation=parse_generation(generation), as_of=as_of)
    show(common, done)


def drift(
    common: Common,
    window: WindowOption,
    html: Annotated[Path | None, typer.Option(help="Write the report with pictures to this file.")] = None,
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """A window against the champion's training set."""
    from sparkml_ops.verbs import drift as verb

    number = parse_generation(generation)
    if plan:
        show(common, verb.plan(common.work(), window=window, as_of=as_of, generation=number))
        return
    result = verb.perform(common.work(), window=window, as_of=as_of, generation=number)
    if html is not None:
        logger.info("drift: report at %s", result.record.to_html(html).absolute())
    show(common, result)


def monitor(
    common: Common,
    window: WindowOption,
    slot: Annotated[str, typer.Option(help="Role under which the predictions are stored.")] = "champion",
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """A scored window against the truth that is known; earlier windows that are not final too."""
    from sparkml_ops.verbs import monitor as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), window=window, slot=slot, as_of=as_of, generation=parse_generation(generation)))


def retrain(
    common: Common,
    window: WindowOption,
    on_demand: Annotated[bool, typer.Option("--on-demand", help="Ask for it; broken data and the brakes still say no.")] = False,
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """Whether a new model is due after a window; if so it is trained, judged and promoted."""
    from sparkml_ops.verbs import retrain as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), window=window, on_demand=on_demand, as_of=as_of, generation=parse_generation(generation)))
