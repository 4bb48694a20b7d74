"""`sparkml-ops contract`: what a window keeps to before it is scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparkml_ops.cli.listing import print_listing
from sparkml_ops.cli.options import AsOf, Common, command
from sparkml_ops.cli.verbs import WindowOption
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.records import to_json

if TYPE_CHECKING:
    from sparkml_ops.scoring.learnt import Severity

__all__ = ["app"]

app = typer.Typer(help="The contract of the model's inputs: learnt from the training set, yours to edit.", no_args_is_help=True)


def learn(
    common: Common,
    version: Annotated[str, typer.Option(help="A version's number, or an alias.")] = "champion",
    margin: Annotated[float, typer.Option(help="Share of a range by which numbers may leave it on either side.")] = 0.1,
    otherwise: Annotated[str, typer.Option(help="What happens where a rule about rows does not hold: warn, quarantine or fail.")] = "warn",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: contract.yaml in the project's folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there, with whatever was edited in it.")] = False,
) -> None:
    """Write the contract that the training rows of a version keep: types, nulls, ranges, values, patterns, rows and age of a window."""
    from sparkml_ops.verbs.contract import learn as look

    path = out or common.conf / "projects" / common.project / "contract.yaml"
    if path.exists() and not force:
        raise ConfigurationError(f"{path} exists", expected="a new file: what was edited stays", mend="add --force, or name another --out")
    found = look(common.work(), version, margin=margin, otherwise=_severity(otherwise))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.text, encoding="utf-8")
    if common.json:
        print(to_json({"file": str(path), "version": found.version, "training_set": found.training_set, "rules": found.rules}))
    else:
        typer.echo(f"wrote {path}: {found.rules} rules from training set {found.training_set} of version {found.version}")


def show_contract(common: Common) -> None:
    """The rules, and what the newest window said of each; starts no Spark where the warehouse is a folder."""
    from sparkml_ops.scoring.contract import contract_hash
    from sparkml_ops.verbs.contract import results

    work = common.work()
    contract = work.sections.scoring.contract
    rows = [row for row in results(work) if row["slot"] == "champion"]
    newest = {row["name"]: row for row in rows if row["window"] == rows[-1]["window"]}
    digest = contract_hash(contract.expectations) if contract.rules else None
    said = [(item, newest.get(item.name)) for item in contract.expectations]
    if common.json:
        lines = [item.document() | {"outcome": row and row["outcome"], "window": row and row["window"]} for item, row in said]
        print(to_json({"hash": digest, "learnt_from": contract.learnt_from, "rules": lines}))
        return
    cells = [(item.name, item.otherwise, "" if row is None else f"{row['outcome']} in {row['window']}") for item, row in said]
    print_listing(("rule", "otherwise", "newest window"), cells)
    typer.echo(f"contract {digest}, {len(said)} rules" if said else "no rule: `sparkml-ops contract learn` writes a first contract")


def check_contract(common: Common, window: WindowOption, as_of: AsOf = None) -> None:
    """Judge a scored window by the contract as it is now; writes nothing, and ends with 2 where a rule that says fail does not hold."""
    from sparkml_ops.scoring.contract import refuse
    from sparkml_ops.verbs.contract import check

    found = check(common.work(), window, as_of=as_of)
    if common.json:
        print(to_json(found))
    else:
        rows = [(item.name, item.outcome, item.found or f"{item.failed:,} rows") for item in found.verdicts]
        print_listing(("rule", "outcome", "found"), rows)
        typer.echo(f"contract {found.contract}: {found.rows:,} rows of {window}, {len(found.worst)} of {len(rows)} rules do not hold")
    refuse(found, f"window {window}")


app.command("learn")(command(learn))
app.command("show")(command(show_contract))
app.command("check")(command(check_contract))


def _severity(text: str) -> Severity:
    if text not in ("warn", "quarantine", "fail"):
        raise typer.BadParameter("warn, quarantine or fail", param_hint="--otherwise")
    return text  # type: ignore[return-value]
