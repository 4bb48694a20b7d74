"""Under which conditions a model was trained: what it takes to train it again and to see whether the same comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from pydantic import ValidationError

from sparkml_ops.config.training import TrainingSection
from sparkml_ops.environment import differences, environment
from sparkml_ops.errors import ContractError
from sparkml_ops.storage import Storage

__all__ = ["Conditions", "conditions"]


def conditions(settings: TrainingSection, spark: str) -> dict[str, Any]:
    """What a training writes down as it begins.

    Args:
        spark: The session's version.
    """
    # What was declared can be read again; the whole shows whether it still means the same.
    declared = settings.model_dump(mode="json", exclude_unset=True)
    return {"settings": settings.model_dump(mode="json"), "declared": declared, "environment": environment(spark)}


@dataclass(frozen=True)
class Conditions:
    """Under which an artifact was made, and what came out: what it takes to make it again.

    Args:
        settings: Of the training.
        environment: Packages, code, Java and hardware of the driver, as `environment()` tells them.
        digest: Of the artifact's files.
    """

    settings: TrainingSection
    environment: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, storage: Storage, checkpoint: str) -> Conditions:
        """Read them beside an artifact.

        Args:
            checkpoint: The artifact's folder, as a training's result names it.

        Raises:
            ContractError: They are not there, or are those of another version.
        """
        folder = checkpoint.rpartition("/")[0]
        try:
            made, digest = json.loads(storage.read(f"{folder}/spec.json"))["conditions"], json.loads(storage.read(f"{checkpoint}.json"))["digest"]
        except (FileNotFoundError, KeyError) as error:
            raise ContractError(
                f"no record under {folder} of how its model was trained ({error})", expected="one", mend="train again: an earlier version kept none"
            ) from error
        return cls(_settings(made, folder), made["environment"], digest)


def _settings(made: Mapping[str, Any], folder: str) -> TrainingSection:
    try:
        settings = TrainingSection.model_validate_json(json.dumps(made["declared"]))
    except ValidationError as error:
        unknown = [".".join(map(str, each["loc"])) for each in error.errors()]
    else:
        # What a later version added is left at its default, which is what went before.
        changed = differences(made["settings"], settings.model_dump(mode="json"))
        unknown = [name for name, (then, _) in changed.items() if then is not None]
        if not unknown:
            return settings
    raise ContractError(
        f"settings under {folder} that mean something else in this version ({', '.join(unknown[:5])})",
        expected=f"those of sparkml-ops {metadata.version('sparkml-ops')}",
        mend="reproduce it with the version that trained it",
    )
