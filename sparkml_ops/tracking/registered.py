"""A model version as the registry knows it, with the tags that we keep there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from sparkml_ops.errors import ContractError
from sparkml_ops.records import ModelVersion, Snapshot, TrainingSet

__all__ = ["DIGEST", "FILES", "LOADER", "TRAINING_SET", "UNITS", "ListedModel", "Logged", "RegisteredModel", "tags_of"]

DIGEST = "sparkml_ops.digest"
FILES = "sparkml_ops.files"
LOADER = "sparkml_ops.loader"
TRAINING_SET = "sparkml_ops.training_set"
UNITS = "sparkml_ops.units"


@dataclass(frozen=True)
class RegisteredModel:
    """One pinned version of a registered model.

    Args:
        name: Registered name.
        version: MLflow's number; an alias has been resolved to it once.
        digest: SHA-256 over the files that are loaded.
        training_set: What it was trained and evaluated on.
        run_id: MLflow run that made it; empty where it was registered without one.
        source: Address of the model's files.
        loader: Module that loads it; ours, or one that the configuration must allow.
        files: SHA-256 of each file that the digest covers, by its relative name.
        units: Of its inputs, where their feature tables declared one when it was registered.
    """

    name: str
    version: int
    digest: str
    training_set: TrainingSet
    run_id: str
    source: str
    loader: str
    files: Mapping[str, str]
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def record(self) -> ModelVersion:
        """What the verbs hand on."""
        return ModelVersion(self.name, self.version, self.digest, self.training_set)

    @classmethod
    def from_tags(cls, name: str, version: int, tags: Mapping[str, str], *, run_id: str, source: str) -> RegisteredModel:
        """A version from the tags that registration wrote.

        Raises:
            ContractError: They are missing or damaged: it was registered by something else.
        """
        if missing := [tag for tag in (DIGEST, FILES, LOADER, TRAINING_SET) if tag not in tags]:
            raise ContractError(
                f"version {version} of `{name}` without the tags {', '.join(missing)}",
                expected="a version registered by this project",
                mend="register it again, or take it over with `Tracking.adopt`",
            )
        try:
            training_set = _training_set(json.loads(tags[TRAINING_SET]))
            files, units = ({str(key): str(value) for key, value in json.loads(text).items()} for text in (tags[FILES], tags.get(UNITS, "{}")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ContractError(f"damaged tags on version {version} of `{name}` ({error})", mend="register the model again") from error
        return cls(name, version, tags[DIGEST], training_set, run_id, source, tags[LOADER], files, units)


@dataclass(frozen=True)
class ListedModel:
    """One version in the list of a registered model.

    Args:
        version: MLflow's number.
        made_at: When it was registered, UTC.
        aliases: What means it now.
        registered: The version with our tags; None where something else registered it.
    """

    version: int
    made_at: datetime
    aliases: tuple[str, ...]
    registered: RegisteredModel | None


@dataclass(frozen=True)
class Logged:
    """What the run behind a version has logged.

    Args:
        params: As MLflow keeps them, text.
        metrics: The last value of each.
    """

    params: Mapping[str, str]
    metrics: Mapping[str, float]


def tags_of(digest: str, files: Mapping[str, str], loader: str, training_set: TrainingSet, units: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tags that make a model version ours."""
    return {
        **({UNITS: json.dumps(dict(units), sort_keys=True)} if units else {}),
        DIGEST: digest,
        FILES: json.dumps(dict(files), sort_keys=True),
        LOADER: loader,
        TRAINING_SET: json.dumps(asdict(training_set), sort_keys=True),
    }


def _training_set(document: Mapping[str, object]) -> TrainingSet:
    snapshot, inputs = document["snapshot"], document["inputs"]
    if not isinstance(snapshot, Mapping) or not isinstance(inputs, Mapping):
        raise TypeError("snapshot and inputs are not maps")
    return TrainingSet(
        id=str(document["id"]),
        snapshot=Snapshot(str(snapshot["table"]), int(snapshot["version"])),
        inputs={str(table): int(version) for table, version in inputs.items()},
        content_hash=str(document["content_hash"]),
        rows=int(str(document["rows"])),
    )
