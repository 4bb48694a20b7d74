"""`sparkml-ops predictions`: what was scored, why rows were set aside, how slots differ, what happened to one row, and taking a scoring back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sparkml_ops.cli.forget import keys_of
from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import ActorOption, AsOf, Common, PlanOption, command, show
from sparkml_ops.records import to_json

if TYPE_CHECKING:  # Spark and what explains would slow every command's start
    from sparkml_ops.verbs.predictions import PredictionFacts

__all__ = ["app"]

app = typer.Typer(help="Predictions of a project: what there is, and why.", no_args_is_help=True)

_SHOWN = 10
WindowOption = Annotated[str | None, typer.Option(help="2013-07, 2013-07-14 or 2013-07-14T05, UTC.")]
SlotOption = Annotated[str | None, typer.Option(help="Role under which they are stored.")]


def show_predictions(common: Common, window: WindowOption = None, slot: SlotOption = None) -> None:
    """The windows that were scored, by slot: rows, rows in quarantine, model, and the run that stands."""
    from sparkml_ops.verbs.predictions import scorings

    runs = scorings(common.work(), window=window, slot=slot)
    if common.json:
        print(to_json([{"window": run.key.window, "slot": run.key.slot, "run_id": run.run_id, **run.record} for run in runs]))
        return
    rows = [
        (
            run.key.window,
            run.key.slot,
            f"{run.record['rows']:,}",
            f"{run.record['quarantined']:,}",
            f"{run.record['model']['name']} v{run.record['model']['version']}",
            str(run.key.generation),
            f"{run.as_of:%Y-%m-%d %H:%M}",
            run.run_id[:8],
        )
        for run in runs
    ]
    print_listing(("window", "slot", "rows", "quarantined", "model", "gen.", "as of", "run"), rows, lead=2)


def show_reasons(
    common: Common, window: WindowOption = None, slot: SlotOption = None, most: Annotated[int, typer.Option(help="How many reasons.", min=1)] = 50
) -> None:
    """Why rows are in quarantine, the most frequent reasons first, with one row's key each."""
    from sparkml_ops.verbs.predictions import reasons

    found = reasons(common.work(), window=window, slot=slot, most=most)
    if common.json:
        print(to_json(found))
        return
    rows = [(item.window, item.slot, f"{item.rows:,}", item.reason, _pairs(item.example)) for item in found]
    print_listing(("window", "slot", "rows", "reason", "for example"), rows, lead=2)


def compare_predictions(
    common: Common,
    left: Annotated[str, typer.Argument(help="A slot, or a scoring's run.")],
    right: Annotated[str, typer.Argument(help="The same.")],
    window: WindowOption = None,
) -> None:
    """Two slots of a window, or two runs, beside each other: who has which rows, and how far the predictions lie apart."""
    from sparkml_ops.verbs.predictions import compare

    found = compare(common.work(), left, right, window=window)
    if common.json:
        print(to_json(found))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{found.rows:,} rows scored by both; only {left}: {found.only_left:,}, only {right}: {found.only_right:,}", markup=False)
    console.print(f"in quarantine: {left} {found.quarantined_left:,}, {right} {found.quarantined_right:,}", markup=False)
    titles = ("output", "changed", f"mean {left}", f"mean {right}", "mean change", "largest", "correlation", "crossed 0.5")
    rows = [
        (
            name,
            _share(item.changed),
            *(_number(value) for value in (item.left, item.right, item.mean_change, item.largest_change, item.correlation)),
            _share(item.crossed),
        )
        for name, item in found.outputs.items()
    ]
    print_listing(titles, rows, console=console)


def explain_prediction(
    common: Common,
    key: Annotated[list[str], typer.Argument(help="column=value of the row key; one for each of its columns.")],
    window: WindowOption = None,
    slot: SlotOption = None,
    contributions: Annotated[bool, typer.Option("--contributions", help="What the prediction hangs on, by SHAP; extra `explain`.")] = False,
) -> None:
    """Every fact about a row's predictions: model, features with the versions and times they came from, what came out."""
    from sparkml_ops.verbs.predictions import explain

    found = explain(common.work(), keys_of(key, "KEY"), window=window, slot=slot, contributions=contributions)
    if common.json:
        print(to_json(found))
        return
    console = Console(soft_wrap=True, highlight=False)
    for facts in found:
        _tell(facts, console)


def roll_back(
    common: Common,
    run: Annotated[str, typer.Argument(help="The scoring's run: id, its beginning, or key.")],
    as_of: AsOf = None,
    plan: PlanOption = False,
) -> None:
    """Take a scoring back: its window and slot hold again what they held before it, and can be scored again."""
    from sparkml_ops.verbs import withdraw as verb

    call = verb.plan if plan else verb.perform
    show(common, call(common.work(), scoring_run=run, as_of=as_of))


def publish_predictions(
    common: Common,
    target: Annotated[str | None, typer.Argument(help="Table of predictions that consumers are to read.")] = None,
    back: Annotated[bool, typer.Option("--back", help="What was read before, again.")] = False,
    as_of: AsOf = None,
    actor: ActorOption = "",
    plan: PlanOption = False,
) -> None:
    """Another table of predictions for `project.served` to read, when it holds all that is read now; or, with --back, the one before it."""
    from sparkml_ops.verbs import publish as verb

    if (target is None) != back or (back and plan):
        raise typer.BadParameter("either a TARGET (and --plan), or --back", param_hint="TARGET")
    work = common.work()
    if target is None:
        print(to_json(verb.back(work, actor=actor, as_of=as_of)))
    elif plan:
        print(to_json(verb.look(work, target)))
    else:
        print(to_json(verb.publish(work, target, actor=actor, as_of=as_of)))


app.command("show")(command(show_predictions))
app.command("reasons")(command(show_reasons))
app.command("compare")(command(compare_predictions))
app.command("explain")(command(explain_prediction))
app.command("rollback")(command(roll_back))
app.command("publish")(command(publish_predictions))


def _tell(facts: PredictionFacts, console: Console) -> None:
    outcome = _pairs(facts.prediction) if facts.prediction else f"quarantined: {facts.reason}"
    console.print(f"{_pairs(facts.key)} at {_at(facts.spine_time)}, window {facts.window}, slot {facts.slot}: {outcome}", style="bold", markup=False)
    champion = "" if facts.champion_then is None else f"; the champion then was version {facts.champion_then}"
    trained = "" if facts.model is None else f", trained on {facts.model.training_set.id}, digest {facts.model.digest[:12]}"
    console.print(f"  model    {facts.model_name} version {facts.model_version}{trained}{champion}", markup=False)
    console.print(f"  scored   {_at(facts.scored_at)} by run {facts.run_id[:8]}, generation {facts.generation}", markup=False)
    looked_up = {name for source in facts.sources for name in source.features}
    for source in facts.sources:
        times = "no row matched" if source.event_time is None else f"of {_at(source.event_time)}, known {_at(source.known_time)}"
        version = "" if source.version is None else f" version {source.version}"
        console.print(f"  from     {source.table}{version}, {times}", markup=False)
        console.print(f"           {_pairs({name: facts.inputs.get(name) for name in source.features})}", markup=False)
    if told := facts.explanation:
        moved = ", ".join(f"{name} {value:+.4g}" for name, value in list(told.contributions.items())[:_SHOWN])
        console.print(f"  because  {told.output} is {told.base:.4g} on the mean, and here {moved}", markup=False)
    own = {name: value for name, value in facts.inputs.items() if name not in looked_up}
    console.print(f"  own      {_pairs(own)}" if facts.inputs else "  inputs   no longer kept", markup=False)


def _pairs(values: Any) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in values.items())


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _at(value) if isinstance(value, datetime) else "null" if value is None else str(value)


def _at(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
