"""Addresses of models: a registered name and an alias or a version, and nothing else."""

from __future__ import annotations

import re
from typing import NamedTuple

from sparkml_ops.errors import ContractError

__all__ = ["ModelAddress", "check_alias", "check_name", "parse_uri"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))")


class ModelAddress(NamedTuple):
    """What `models:/flights@champion` or `models:/flights/3` means.

    Args:
        name: Registered name.
        which: A version number, or an alias.
    """

    name: str
    which: int | str


def parse_uri(uri: str) -> ModelAddress:
    """The registered name and the alias or version of a model URI.

    Paths, runs and addresses of object stores are refused: they would load what nobody registered.

    Raises:
        ContractError: Any other scheme or form.

    >>> parse_uri("models:/flights@champion")
    ModelAddress(name='flights', which='champion')
    >>> parse_uri("models:/flights/3")
    ModelAddress(name='flights', which=3)
    """
    found = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if found is None:
        raise ContractError(
            f"the model {uri!r}", expected="models:/<name>@<alias> or models:/<name>/<version>", mend="register the model and name it so"
        )
    name = check_name(found["name"])
    if found["alias"] is not None:
        return ModelAddress(name, check_alias(found["alias"]))
    if not _VERSION.fullmatch(found["version"]):
        raise ContractError(f"the model version {found['version']!r}", expected="a number from 1", mend="write an alias as models:/<name>@<alias>")
    return ModelAddress(name, int(found["version"]))


def check_name(name: str) -> str:
    """The name of a registered model, if it is one.

    >>> check_name("flights")
    'flights'
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ContractError(f"the model name {name!r}", expected="letters, digits and _.-, at most 128", mend="rename the model")
    return name


def check_alias(alias: str) -> str:
    """The alias, if MLflow would take it: a number or `latest` means something else there."""
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"[vV][0-9]+", alias):
        raise ContractError(f"the alias {alias!r}", expected="a word such as champion", mend="use another alias, or a version number")
    return alias
