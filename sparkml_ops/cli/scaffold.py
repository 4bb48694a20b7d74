"""`sparkml-ops init`: a first project folder for one's own table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.nearest import did_you_mean
from sparkml_ops import session
from sparkml_ops.cli.options import refusing
from sparkml_ops.config.load import warehouses
from sparkml_ops.config.spark import SparkSection
from sparkml_ops.errors import ConfigurationError, ContractError

__all__ = ["init"]

# Tables bear the name: with `training_set_` before it and a hash behind it, it must stay a table's name.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,79}")
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "decimal")


@refusing
def init(
    project: Annotated[str, typer.Option(help="Name of the new project.")],
    from_table: Annotated[str, typer.Option(help="A Delta table: its folder, or catalog.schema.table.")],
    keys: Annotated[str, typer.Option(help="Columns that identify a row, with commas. Default: the one column that ends in `id`.")] = "",
    time: Annotated[str, typer.Option(help="Timestamp column: the instant of prediction. Default: the only one.")] = "",
    label: Annotated[str, typer.Option(help="Column of the label (0, 1, or null while unknown). Default: `label`, `target` or `y`.")] = "",
    conf: Annotated[Path, typer.Option(help="Folder that will hold base.yaml, env/ and projects/.")] = Path("conf"),
) -> None:
    """Write a first project folder from a table's schema; `--plan` of each verb accepts it."""
    _check_name(project)
    warehouse, table = _address(from_table)
    columns = _columns(warehouse, table)
    row_key = tuple(part.strip() for part in keys.split(",") if part.strip())
    row_key = row_key or (_only([name for name in columns if name.lower().endswith("id")], "--keys", columns),)
    time = time or _only([name for name, kind in columns.items() if kind == "timestamp"], "--time", columns)
    label = label or _only([name for name in columns if name.lower() in ("label", "target", "y")], "--label", columns)
    _check(columns, (*row_key, time, label), time)
    folder = conf / "projects" / project
    if folder.exists():
        raise ConfigurationError(f"{folder} exists", expected="a new folder", mend="choose another --project, or remove it")
    documents = _documents(project, table, columns, row_key, time, label) | _own_warehouse(conf, warehouse)
    files = {folder / name: content for name, content in documents.items()}
    files |= {path: content for path, content in _shared(conf, warehouse).items() if not path.exists()}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False, width=120))
    console = Console(soft_wrap=True, highlight=False)
    for path in sorted(files):
        console.print(f"wrote {path}", markup=False)
    place = "" if conf == Path("conf") else f" --conf {conf}"
    console.print(f"next: sparkml-ops training-set --project {project}{place} --until YYYY-MM-DD --plan", markup=False)


def _check_name(project: str) -> None:
    if not _NAME.fullmatch(project):
        near = re.sub(r"[^a-z0-9]+", "_", project.lower()).strip("_")
        raise ConfigurationError(
            f"the project name {project!r}",
            expected="lower-case letters, digits and _, starting with a letter, at most 80: its tables bear the name",
            mend=f"call it `{near}`" if _NAME.fullmatch(near) else "choose another name",
        )


def _address(text: str) -> tuple[Warehouse, str]:
    """Where the table's neighbours lie, and its logical name among them.

    >>> _address("/orders"), _address("main.sales.orders")[0].catalog
    ((Warehouse(root='/', catalog=None), 'orders'), 'main.sales')
    """
    if "/" in text:
        parent, _, name = text.rstrip("/").rpartition("/")
        return Warehouse(root=str(Path(parent or "/").absolute()) if "://" not in parent else parent), name
    catalog, _, name = text.rpartition(".")
    if not catalog:
        raise ContractError(f"the table {text!r}", expected="a folder, or catalog.schema.table", mend="give its folder with a slash")
    return Warehouse(catalog=catalog), name


def _columns(warehouse: Warehouse, table: str) -> dict[str, str]:
    tables = Tables(lambda: session.find(SparkSection(master="local[2]")), warehouse)
    return tables.columns(table)


def _only(candidates: list[str], option: str, columns: dict[str, str]) -> str:
    if len(candidates) != 1:
        raise ContractError(f"{len(candidates)} candidates for {option} {candidates}", expected=f"one of {sorted(columns)}", mend=f"give {option}")
    return candidates[0]


def _check(columns: dict[str, str], wanted: tuple[str, ...], time: str) -> None:
    if missing := [name for name in wanted if name not in columns]:
        hints = ", ".join(f"`{name}`{did_you_mean(name, columns)}" for name in missing)
        raise ContractError(f"no column {hints}", expected=f"one of {sorted(columns)}", mend="correct --keys, --time or --label")
    if columns[time] != "timestamp":
        raise ContractError(
            f"`{time}` of type {columns[time]}", expected="timestamp (a UTC instant)", mend=f"cast it: to_utc_timestamp({time}, '<zone>')"
        )


def _documents(project: str, table: str, columns: dict[str, str], row_key: tuple[str, ...], time: str, label: str) -> dict[str, dict[str, object]]:
    taken = {*row_key, time, label}
    features = {name: kind for name, kind in columns.items() if name not in taken and (kind.startswith(_NUMBERS) or kind == "string")}
    if not features:
        raise ContractError(
            f"no column besides {sorted(taken)} that a model takes", expected="numbers, booleans or strings", mend="choose a table with features"
        )
    spine = {"spine": table, "time": time, "row_key": list(row_key), "label": label, "columns": list(features)}
    training_set = {**spine, "split": {"validation": 0.1, "evaluation": "30d"}, "maturity": "0d"}
    return {
        "sources.yaml": {"sources": {table: {"table": table, "event_time": time, "row_id": list(row_key), "columns": columns}}},
        "training.yaml": {"training_set": training_set, "training": {"label": label, "exclude": [*row_key, time]}},
        "release.yaml": {"release": {"model": project}},
        "scoring.yaml": {"scoring": {"target": f"{project}_scores"}},
        "monitoring.yaml": {"drift": {"columns": list(features)}},
    }


def _shared(conf: Path, warehouse: Warehouse) -> dict[Path, dict[str, object]]:
    place = {"root": warehouse.root} if warehouse.root else {"catalog": warehouse.catalog}
    return {
        conf / "base.yaml": {"storage": {"root": "data/storage"}, "warehouse": place, "mlflow": {"tracking_uri": "sqlite:///data/mlflow.db"}},
        conf / "env" / "local.yaml": {"spark": {"master": "local[2]", "driver_memory": "2g"}},
    }


def _own_warehouse(conf: Path, warehouse: Warehouse) -> dict[str, dict[str, object]]:
    """The project's own section, where the folder's environments keep their tables elsewhere; null clears what they say."""
    if not any((conf / name).exists() for name in ("base.yaml", "env")) or warehouses(conf) == {warehouse}:
        return {}
    return {"warehouse.yaml": {"warehouse": {"root": warehouse.root, "catalog": warehouse.catalog}}}
