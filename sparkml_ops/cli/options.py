"""Options that every command shares, and the frame in which a command runs."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sparkml_ops import logs
from sparkml_ops.config.load import load, only_project
from sparkml_ops.config.secret import hide_passwords
from sparkml_ops.errors import OpsError, first_line, with_project
from sparkml_ops.logs import logger
from sparkml_ops.records import to_document, to_json
from sparkml_ops.verbs.outcome import Generation, Outcome, Plan
from sparkml_ops.verbs.work import Work

__all__ = ["ActorOption", "AsOf", "Common", "GenerationOption", "PlanOption", "command", "parse_generation", "refusing", "show"]

_PANEL = "Project"
_LONGEST = 500
AsOf = Annotated[str | None, typer.Option(help="The clock, UTC: only what was known then counts. Default: now.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Show what would be read and written, and write nothing.")]
ActorOption = Annotated[str, typer.Option(help="Who asks for it; recorded in the event.", envvar="USER")]
GenerationOption = Annotated[str, typer.Option(help="Deliberate repeat of finished work: a number, or `next`.")]


@dataclass(frozen=True)
class Common:
    """The options that every command shares."""

    project: Annotated[str, typer.Option(help="Folder under conf/projects. Default: the only one.", rich_help_panel=_PANEL)]
    env: Annotated[str, typer.Option(help="File under conf/env.", rich_help_panel=_PANEL)] = "local"
    conf: Annotated[Path, typer.Option(help="Folder with base.yaml, env/ and projects/.", rich_help_panel=_PANEL)] = Path("conf")
    set: Annotated[list[str] | None, typer.Option("--set", help="key=value over the files; repeatable.", rich_help_panel=_PANEL)] = None
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON; logs become JSON lines.", rich_help_panel=_PANEL)] = False

    def work(self) -> Work:
        """The project's resources; the configuration is checked now, Spark starts when it is needed."""
        return Work(load(self.conf, self.project, env=self.env, overrides=tuple(self.set or ())))


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options, and turn its errors into one line and an exit code."""
    own = inspect.signature(function, eval_str=True)
    shared = dict(inspect.signature(Common, eval_str=True).parameters)
    shared["project"] = shared["project"].replace(default=None)

    @functools.wraps(function)
    def wrapper(**given: Any) -> None:
        values = {name: given.pop(name) for name in shared}
        with _ending(as_json=values["json"], project=values["project"]):
            if values["project"] is None:
                values["project"] = only_project(values["conf"])
            function(Common(**values), **given)

    rest = [item for item in own.parameters.values() if item.name != "common"]
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in (*shared.values(), *rest)]
    wrapper.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapper


def refusing(function: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors of a command without the shared options into one line and an exit code."""

    @functools.wraps(function)
    def wrapper(*args: Any, **given: Any) -> None:
        with _ending(as_json=False):
            function(*args, **given)

    return wrapper


def show(common: Common, result: Outcome[Any] | Plan) -> None:
    """Print a record or a plan: JSON for machines, a few lines for people."""
    if isinstance(result, Plan):
        print(to_json(result)) if common.json else _show_plan(result)
    elif common.json:
        print(to_json(result.record))
    else:
        Console(soft_wrap=True).print_json(json.dumps(to_document(result.record), default=str))


def parse_generation(text: str) -> Generation:
    """`next`, or a number from 0."""
    if text == "next":
        return "next"
    if not text.isdigit():
        raise typer.BadParameter("a number from 0, or `next`", param_hint="--generation")
    return int(text)


def _show_plan(plan: Plan) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{plan.key}: {'already done; nothing would be written' if plan.done else 'would run'}", markup=False)
    for title, items in (("reads", plan.reads), ("writes", plan.writes), ("note", plan.notes)):
        for item in items:
            console.print(f"  {title:7}{item}", markup=False)


@contextmanager
def _ending(*, as_json: bool, project: str | None = None) -> Iterator[None]:
    """Every error ends in one line and its exit code; of one that nobody foresaw the log has the traceback."""
    people = logs.configure(human=False if as_json else None)
    try:
        yield
    except OpsError as error:
        mend = error.mend if project is None else with_project(error.mend, project)
        _fail(type(error).__name__, OpsError(error.found, expected=error.expected, mend=mend), error.exit_code, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise  # typer knows how these end
    except Exception as error:
        if not people:
            logger.error("%s", type(error).__name__, exc_info=error)
        where = "send standard error to a file, or add --json, for the traceback" if people else "the traceback is in the log"
        _fail(
            type(error).__name__,
            OpsError(hide_passwords(first_line(error))[:_LONGEST], mend=f"this was not foreseen: {where}"),
            OpsError.exit_code,
            as_json=as_json,
        )
        raise typer.Exit(OpsError.exit_code) from None


def _fail(name: str, error: OpsError, code: int, *, as_json: bool) -> None:
    if as_json:
        document = {"error": name, "found": error.found, "expected": error.expected, "mend": error.mend, "exit_code": code}
        print(json.dumps(document), file=sys.stderr)
    else:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"{name}: {error}", style="red", markup=False)
