"""`sparkml-ops causes`: where a window's drift comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from sparkml_ops.verbs.causes import Traced

__all__ = ["causes"]

_SHOWN = 3


def _causes(
    common: Common,
    window: Annotated[str | None, typer.Option(help="A compared window. Default: the newest.")] = None,
    importance: Annotated[
        Path | None, typer.Option(help="JSON object of columns and how much the model hangs on each. Default: as the version's card measured it.")
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Columns behind a window's drift: ranked, with segments, first window, table version and source columns; starts no Spark."""
    from sparkml_ops.verbs.causes import causes as trace

    found = trace(common.work(), window=window, importance=None if importance is None else _read(importance), as_of=as_of)
    if common.json:
        print(to_json(found))
        return
    titles = ("column", "verdict", "effect", "importance", "since", "table", "segments", "from")
    print_listing(titles, [_cells(item) for item in found.causes], lead=4)
    by = (
        f"effect times importance ({found.importance})"
        if found.importance
        else "effect alone: no importance is known (`models card`, or --importance)"
    )
    typer.echo(f"{len(found.causes)} columns of {found.window}, ranked by {by}")
    for item in found.upstream[:_SHOWN]:
        typer.echo(f"  {item.share:.0%} of it hangs on {item.column} ({', '.join(item.causes)})")


causes = command(_causes)


def _read(path: Path) -> dict[str, float]:
    """The importance of columns.

    Raises:
        ConfigurationError: No such file, or no object of numbers.
    """
    expected, mend = 'a JSON object of columns and numbers, as {"distance": 0.3}', "correct --importance"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}, which cannot be read as JSON ({type(error).__name__})", expected=expected, mend=mend) from None
    if not isinstance(found, dict) or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in found.values()):
        raise ConfigurationError(f"{path} with something else", expected=expected, mend=mend)
    return {str(name): float(value) for name, value in found.items()}


def _cells(item: Traced) -> tuple[str, ...]:
    cause = item.cause
    versions = "" if item.version is None else f"@{item.version}" if item.version_before is None else f"@{item.version_before} to @{item.version}"
    return (
        cause.column,
        cause.verdict,
        f"{cause.effect:.2f} ({cause.statistic} {cause.value:.3g})",
        "" if cause.importance is None else f"{cause.importance:.1%}",
        item.since,
        f"{item.table or ''}{versions}",
        ", ".join(f"{share.segment} {share.carries:.0%}" for share in cause.segments[:_SHOWN]),
        ", ".join(item.upstream),
    )
