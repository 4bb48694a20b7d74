"""What a training writes down about itself, read by another version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.errors import ContractError
from sparkml_ops.storage import Storage
from sparkml_ops.training.conditions import Conditions, conditions

SETTINGS = TrainingSection(backend="local", epochs=3, optimizer={"kind": "adamw", "schedule": "constant"}, class_weights=(1.0, 2.0))


def written(storage: Storage, made: dict[str, Any] | None) -> str:
    storage.publish("training/a/spec.json", json.dumps({} if made is None else {"conditions": made}).encode(), kind="spec")
    storage.publish("training/a/artifact.json", b'{"digest": "d1"}', kind="artifact")
    return "training/a/artifact"


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    """Also where a default stands that would be refused if it were declared."""
    storage, made = Storage(str(tmp_path)), conditions(SETTINGS, "4.2.0")
    found = Conditions.of(storage, written(storage, made))

    assert (found.settings, found.digest) == (SETTINGS, "d1")
    assert found.environment["spark"] == "4.2.0"


def test_what_a_later_version_added_keeps_its_default(tmp_path: Path) -> None:
    """A key that the record lacks."""
    storage, made = Storage(str(tmp_path)), conditions(SETTINGS, "4.2.0")
    del made["settings"]["patience"]

    assert Conditions.of(storage, written(storage, made)).settings == SETTINGS


@pytest.mark.parametrize(
    ("key", "value", "named"), [("epochs", 4, "epochs"), ("gone", 1, "gone")], ids=["another meaning", "a key that this version does not have"]
)
def test_settings_of_another_meaning_are_refused(tmp_path: Path, key: str, value: int, named: str) -> None:
    """A default that changed, or a key that went."""
    storage, made = Storage(str(tmp_path)), conditions(SETTINGS, "4.2.0")
    made["settings"][key] = value

    with pytest.raises(ContractError, match=named):
        Conditions.of(storage, written(storage, made))


def test_a_training_without_a_record_is_refused(tmp_path: Path) -> None:
    """Of an earlier version."""
    storage = Storage(str(tmp_path))

    with pytest.raises(ContractError, match="no record under training/a"):
        Conditions.of(storage, written(storage, None))
    with pytest.raises(ContractError, match="no record under training/b"):
        Conditions.of(storage, "training/b/artifact")
