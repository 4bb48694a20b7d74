"""One command for each verb.

A verb is imported when it is called: `--help` and a wrong option wait for no torch and no scipy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sparkml_ops.cli.options import AsOf, Common, GenerationOption, PlanOption, command, parse_generation, show
from sparkml_ops.logs import logger

__all__ = ["add_to"]

WindowOption = Annotated[str, typer.Option(help="2013-07, 2013-07-14 or 2013-07-14T05, UTC.")]
ActorOption = Annotated[str, typer.Option(help="Who asks for it; recorded in the event.", envvar="USER")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs' commands."""
    functions: tuple[Callable[..., None], ...] = (build_features, training_set, train, register, promote, rollback, reconcile, score, drift)
    for function in functions:
        app.command(function.__name__.replace("_", "-"), rich_help_panel="Verbs")(command(function))


def build_features(common: Common, as_of: AsOf = None, plan: PlanOption = False) -> None:
    """Raw tables from their sources, feature tables from raw tables."""
    from sparkml_ops.verbs import build_features as verb

    show(common, verb.plan(common.work(), as_of=as_of) if plan else verb.perform(common.work(), as_of=as_of))


def training_set(
    common: Common,
    until: Annotated[str, typer.Option(help="Exclusive end of the training rows, UTC: 2013-07-01.")],
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """Spine and point-in-time features as one immutable table."""
    from sparkml_ops.verbs import training_set as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), until=until, as_of=as_of, generation=parse_generation(generation)))


def train(common: Common, as_of: AsOf = None, generation: GenerationOption = "0", plan: PlanOption = False) -> None:
    """Data-parallel training on the newest training set."""
    from sparkml_ops.verbs import train as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), as_of=as_of, generation=parse_generation(generation)))


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
    window: WindowOption,
    slot: Annotated[str, typer.Option(help="Role under which predictions are stored; also the alias of the model.")] = "champion",
    as_of: AsOf = None,
    generation: GenerationOption = "0",
    plan: PlanOption = False,
) -> None:
    """A window's predictions, exactly once."""
    from sparkml_ops.verbs import score as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), window=window, slot=slot, as_of=as_of, generation=parse_generation(generation)))


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
        result.record.to_html(html)
        logger.info("drift: report at %s", html)
    show(common, result)
