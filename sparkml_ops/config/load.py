"""Loading of a project's configuration: `base < env < project < --set`."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from feature_store.nearest import did_you_mean
from sparkml_ops.config.document import parse_value, read_document
from sparkml_ops.config.merge import Merged
from sparkml_ops.config.root import Config, Sections
from sparkml_ops.config.secret import hide_passwords
from sparkml_ops.errors import ConfigurationError, OpsError

__all__ = ["load"]


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
        raise _refusal(error, merged) from None
    return Config(sections=sections, project=project, env=env, base=folder.parent, origins=dict(merged.origins))


def _files(folder: Path, project: str, env: str) -> list[Path]:
    base, environment, own = folder / "base.yaml", folder / "env" / f"{env}.yaml", folder / "projects" / project
    if not base.is_file():
        raise ConfigurationError(
            f"no {base}", expected="a folder with base.yaml, env/ and projects/", mend="correct --conf, or run `sparkml-ops init`"
        )
    for path, kind, known in (
        (environment, "environment", sorted(item.stem for item in (folder / "env").glob("*.yaml"))),
        (own, "project", sorted(item.name for item in (folder / "projects").glob("*") if item.is_dir())),
    ):
        if not path.exists():
            hint = did_you_mean(path.stem, known)
            raise ConfigurationError(
                f"no {kind} {path.stem!r}{hint} under {path.parent}", expected=f"one of {known}", mend=f"correct it, or create {path.name}"
            )
    return [base, environment, *sorted(own.glob("*.yaml"))]


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


def _refusal(error: ValidationError, merged: Merged) -> ConfigurationError:
    """All faults at once, at most five, each with its file, key and mend."""
    faults = [_fault(detail, merged) for detail in error.errors()[:5]]
    more = error.error_count() - len(faults)
    found = "; ".join(faults) + (f"; and {more} more" if more > 0 else "")
    return ConfigurationError(found, mend="`sparkml-ops config show --origin` lists every key and where it comes from")


def _fault(detail: ErrorDetails, merged: Merged) -> str:
    path = tuple(str(part) for part in detail["loc"])
    where = f"{merged.origin(path)}: {'.'.join(path)}"
    if detail["type"] == "extra_forbidden":
        return f"the unknown key {where}{did_you_mean(path[-1], _known(path[:-1]))}"
    cause = detail.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, OpsError | ValueError) else detail["msg"]
    shown = "" if detail["type"] == "missing" else f" = {hide_passwords(repr(detail['input'])):.80}"
    return f"{where}{shown} ({text})"


def _known(path: tuple[str, ...]) -> list[str]:
    """Names of the keys that the schema knows at a place."""
    schema: Any = Sections
    for part in path:
        schema = _step(schema, part)
    return [field.alias or name for name, field in schema.model_fields.items()] if _is_model(schema) else []


def _step(schema: Any, part: str) -> Any:
    if _is_model(schema):
        fields = {field.alias or name: field for name, field in schema.model_fields.items()}
        return _inner(fields[part].annotation) if part in fields else None
    return schema


def _inner(annotation: Any) -> Any:
    """The model inside `X | None`, `list[X]`, `dict[str, X]`; dictionary keys and list indexes are steps of the path that stay on it."""
    if _is_model(annotation):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, dict, tuple, typing.Annotated):
        return next((found for part in typing.get_args(annotation) if (found := _inner(part)) is not None), None)
    return None


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)
