"""Loading of a project's configuration: `base < env < project < --set`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from feature_store.names import Warehouse
from feature_store.nearest import did_you_mean
from sparkml_ops.config.document import parse_value, read_document
from sparkml_ops.config.faults import refusal
from sparkml_ops.config.merge import Merged
from sparkml_ops.config.root import Config, Sections
from sparkml_ops.errors import ConfigurationError

__all__ = ["load", "only_project", "warehouses"]


def load(conf: str | Path, project: str, *, env: str = "local", overrides: Sequence[str] = ()) -> Config:
    """Read, merge and check the configuration of a project.

    Args:
        conf: Folder that holds `base.yaml`, `env/` and `projects/`.
        project: Folder under `conf/projects`.
        env: File under `conf/env`, without `.yaml`.
        overrides: `key=value` pairs as of `--set`; values are YAML.

    Raises:
        ConfigurationError: With file, dotted key and the nearest known key.
    """
    folder = Path(conf).absolute()
    merged = Merged()
    for path in _files(folder, project, env):
        merged.add(read_document(path), path.relative_to(folder.parent).as_posix())
    for override in overrides:
        merged.add(_override(override), f"--set {override.partition('=')[0].strip()}")
    try:
        sections = Sections.model_validate(_absolute(merged.values, folder.parent))
    except ValidationError as error:
        raise refusal(error, Sections, merged) from None
    return Config(sections=sections, project=project, env=env, base=folder.parent, origins=dict(merged.origins))


def only_project(conf: str | Path) -> str:
    """The project of a folder that holds one.

    Raises:
        ConfigurationError: It holds none, or several.
    """
    folder = Path(conf).absolute()
    _check_base(folder)
    known = _projects(folder)
    if len(known) != 1:
        raise ConfigurationError(
            f"{len(known)} projects under {folder / 'projects'} and no --project",
            expected=f"--project with one of {known}" if known else "one",
            mend="add `--project NAME`" if known else "make one with `sparkml-ops init`",
        )
    return known[0]


def warehouses(conf: str | Path) -> set[Warehouse]:
    """Where the tables lie under each environment, unless a project says otherwise.

    Raises:
        ContractError: An environment has a root and a catalog.
    """
    folder, found = Path(conf).absolute(), set()
    base = folder / "base.yaml"
    for environment in (None, *sorted((folder / "env").glob("*.yaml"))):
        merged = Merged()
        for path in (base if base.exists() else None, environment):
            merged.add({} if path is None else read_document(path), "")
        place = _absolute(merged.values, folder.parent)["warehouse"] or {}
        found.add(Warehouse(root=place.get("root"), catalog=place.get("catalog")))
    return found


def _files(folder: Path, project: str, env: str) -> list[Path]:
    _check_base(folder)
    environments = sorted(item.stem for item in (folder / "env").glob("*.yaml"))
    for name, kind, known, place in ((env, "environment", environments, "env"), (project, "project", _projects(folder), "projects")):
        if name not in known:
            raise ConfigurationError(
                f"no {kind} {name!r}{did_you_mean(name, known)} under {folder / place}", expected=f"one of {known}", mend="correct it, or create it"
            )
    return [folder / "base.yaml", folder / "env" / f"{env}.yaml", *sorted((folder / "projects" / project).glob("*.yaml"))]


def _check_base(folder: Path) -> None:
    if not (folder / "base.yaml").is_file():
        raise ConfigurationError(
            f"no {folder / 'base.yaml'}", expected="a folder with base.yaml, env/ and projects/", mend="correct --conf, or run `sparkml-ops init`"
        )


def _projects(folder: Path) -> list[str]:
    return sorted(item.name for item in (folder / "projects").glob("*") if item.is_dir() and not item.name.startswith((".", "__")))


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigurationError(f"--set {text!r}", expected="key=value with a dotted key, as training.workers=2", mend="correct it")
    nested: Any = parse_value(value)
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def _absolute(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Relative folders become absolute: they are relative to the folder that holds conf/, not to the caller's."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for section in ("storage", "warehouse"):
        given = result.setdefault(section, {})
        if isinstance(given, dict):
            default = "data/storage" if section == "storage" else None if given.get("catalog") else "data/warehouse"
            root = given.get("root") or default
            given["root"] = _absolute_path(root, base) if isinstance(root, str) else root
    mlflow = result.setdefault("mlflow", {})
    if isinstance(mlflow, dict):
        uri = mlflow.get("tracking_uri") or "sqlite:///data/mlflow.db"
        if isinstance(uri, str) and uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
            uri = f"sqlite:///{base / uri.removeprefix('sqlite:///')}"
        mlflow["tracking_uri"] = uri
        if isinstance(mlflow.get("artifact_root"), str):
            mlflow["artifact_root"] = _absolute_path(mlflow["artifact_root"], base)
    return result


def _absolute_path(path: str, base: Path) -> str:
    return path if "://" in path or path.startswith("/") else str(base / path)
