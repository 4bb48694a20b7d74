"""How much a version hangs on each input, kept beside it when its card explains it: for those who rank causes later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sparkml_ops.errors import ContractError
from sparkml_ops.records import ModelVersion
from sparkml_ops.storage import Storage

__all__ = ["Importance", "importance_of", "keep_importance"]

_FORMAT = 1


@dataclass(frozen=True)
class Importance:
    """What a card measured.

    Args:
        digest: Of the model's files.
        measured: What the numbers are, in words.
        inputs: By input.
        withheld: Inputs with personal data, of which nothing is known.
    """

    digest: str
    measured: str
    inputs: Mapping[str, float]
    withheld: tuple[str, ...]


def keep_importance(storage: Storage, model: ModelVersion, found: Importance) -> None:
    """Keep it beside the version, in place of what an earlier card measured."""
    storage.publish(_name(model.name, model.version), json.dumps({"format": _FORMAT, **asdict(found)}).encode(), kind="importance")


def importance_of(storage: Storage, name: str, version: int, digest: str) -> Importance | None:
    """What the version's card measured; None where none did, or it was another model under the same number.

    Raises:
        ContractError: It is of a newer format.
    """
    place = _name(name, version)
    if not storage.exists(place):
        return None
    document = json.loads(storage.read(place))
    if document.pop("format") != _FORMAT:
        raise ContractError("importances of another format", expected=f"format {_FORMAT}", mend="upgrade sparkml-ops")
    found = Importance(document["digest"], document["measured"], document["inputs"], tuple(document["withheld"]))
    return found if found.digest == digest else None


def _name(model: str, version: int) -> str:
    return f"cards/{model}/{version}/importance.json"
