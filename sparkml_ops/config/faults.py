"""What pydantic says about a configuration, as its user wrote it: file, dotted key, mend."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from feature_store.nearest import did_you_mean
from sparkml_ops.config.merge import Merged
from sparkml_ops.config.secret import hide_passwords
from sparkml_ops.errors import ConfigurationError, OpsError

__all__ = ["refusal"]

_SHOWN = 5


@dataclass(frozen=True)
class _Fault:
    """One complaint.

    Args:
        path: Keys and list indexes as they stand in the files.
        known: Keys that the schema knows where the last one of the path stands.
        alternative: Whether it is about one of several forms that a value may have.
    """

    detail: ErrorDetails
    path: tuple[str, ...]
    known: tuple[str, ...]
    alternative: bool


def refusal(error: ValidationError, schema: type[BaseModel], merged: Merged) -> ConfigurationError:
    """All faults at once, at most five, each with its file, key and mend."""
    faults = _of_the_form_meant([_located(detail, schema) for detail in error.errors()])
    more = len(faults) - _SHOWN
    found = "; ".join(_text(fault, merged) for fault in faults[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return ConfigurationError(found, mend="correct the file or the option that is named")


def _text(fault: _Fault, merged: Merged) -> str:
    detail = fault.detail
    # A key that is missing was written nowhere: its section was.
    there = fault.path[:-1] if detail["type"] == "missing" else fault.path
    where = f"{merged.origin(there)}: {'.'.join(fault.path)}"
    if detail["type"] == "extra_forbidden":
        return f"the unknown key {where}{did_you_mean(fault.path[-1], fault.known)}"
    cause = detail.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, OpsError | ValueError) else detail["msg"]
    shown = "" if detail["type"] == "missing" else f" = {hide_passwords(repr(detail['input'])):.80}"
    return f"{where}{shown} ({text})"


def _of_the_form_meant(faults: Sequence[_Fault]) -> list[_Fault]:
    """Without the complaint that a value lacks the type of another form, where the form that was meant has a complaint of its own."""
    kept: list[_Fault] = []
    for fault in faults:
        others = (other for other in faults if other is not fault and other.path[: len(fault.path)] == fault.path)
        if not (_wrong_form(fault) and any(not _wrong_form(other) for other in others)):
            kept.append(fault)
    return kept


def _wrong_form(fault: _Fault) -> bool:
    return fault.alternative and fault.detail["type"].endswith("_type")


def _located(detail: ErrorDetails, schema: Any) -> _Fault:
    """Follow the schema along pydantic's place, which also names the form of a union that was tried: no key of a file."""
    path: list[str] = []
    known: tuple[str, ...] = ()
    alternative = False
    for part in detail["loc"]:
        schema = _plain(schema)
        if alternative := len(forms := _forms(schema)) > 1:
            schema = next((form for form in forms if _is_tried(form, str(part))), None)
            continue
        path.append(str(part))
        fields = dict(_fields(schema))
        known = tuple(fields)
        schema = fields.get(str(part)) if fields else _inner(schema)
    return _Fault(detail, tuple(path), known, alternative)


def _fields(schema: Any) -> Iterator[tuple[str, Any]]:
    if _is_model(schema):
        for name, field in schema.model_fields.items():
            yield field.alias or name, field.annotation


def _inner(schema: Any) -> Any:
    """What a dictionary holds under each key, and a list or tuple at each index."""
    arguments = [part for part in typing.get_args(schema) if part is not Ellipsis]
    return arguments[-1] if typing.get_origin(schema) in (dict, list, tuple) and arguments else None


def _forms(schema: Any) -> list[Any]:
    """The forms of a union; null is none: pydantic does not name it."""
    if typing.get_origin(schema) not in (typing.Union, types.UnionType):
        return [schema]
    return [form for form in typing.get_args(schema) if form is not types.NoneType]


def _plain(schema: Any) -> Any:
    """The type inside `Annotated[X, ...]` and `X | None`."""
    if typing.get_origin(schema) is typing.Annotated:
        return _plain(typing.get_args(schema)[0])
    return _plain(forms[0]) if len(forms := _forms(schema)) == 1 and forms[0] is not schema else schema


def _is_tried(form: Any, tag: str) -> bool:
    """Whether pydantic's name of a form is this one's: a model's name or `kind`, or how a type begins."""
    form = _plain(form)
    if _is_model(form):
        kind = form.model_fields.get("kind")
        return tag == form.__name__ or (kind is not None and tag in typing.get_args(kind.annotation))
    origin = typing.get_origin(form) or form
    return tag.startswith(getattr(origin, "__name__", tag))


def _is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)
