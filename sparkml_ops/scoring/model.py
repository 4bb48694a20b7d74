"""The model of a pass: resolved once, verified, published to the executors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from feature_store.duration import parse_duration
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.records import ModelVersion
from sparkml_ops.scoring.explaining import explained
from sparkml_ops.scoring.published import PublishedModel, publish
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER, Registry

__all__ = ["ScoringModel", "load", "publish_version"]


@dataclass(frozen=True)
class ScoringModel:
    """A model version, ready to score.

    Args:
        record: Which one; an alias has been resolved to it.
        published: Its files and signature.
        units: Of its inputs, where they have one.
    """

    record: ModelVersion
    published: PublishedModel
    units: Mapping[str, str] = field(default_factory=dict)


def load(tracking: Registry, storage: Storage, name: str, which: int | str, settings: ScoringSection, *, explain: int = 0) -> ScoringModel:
    """Resolve an alias or number once, verify the files and publish them to the executors.

    Args:
        name: Registered name.
        which: Alias (a slot's name) or version.
        explain: Inputs that stand beside each prediction; 0: none.

    Raises:
        ContractError: No such version, changed files, a loader that the configuration does not allow, no usable signature, or nothing to explain.
    """
    seconds = None if settings.longest_call is None else parse_duration(settings.longest_call).total_seconds()
    loaders, pickled = settings.allowed_loaders, settings.trusted_pickles
    return publish_version(tracking, storage, name, which, loaders=loaders, pickled=pickled, seconds=seconds, explain=explain)


def publish_version(
    tracking: Registry,
    storage: Storage,
    name: str,
    which: int | str,
    *,
    loaders: Collection[str],
    pickled: Collection[str] = (),
    seconds: float | None = None,
    explain: int = 0,
) -> ScoringModel:
    """As `load`, with what a configuration allows: loaders besides ours, names of models that are unpickled, seconds a call may take."""
    registered = tracking.resolve(name, which)
    with TemporaryDirectory() as scratch:
        folder = tracking.fetch(registered, Path(scratch) / "model", loaders=loaders, pickled=pickled)
        signature = Signature.of_artifact(folder) if registered.loader == OWN_LOADER else Signature.of_mlmodel(folder)
        signature = explained(signature, name) if explain else signature
        published = PublishedModel(
            storage,
            registered.digest,
            registered.loader,
            tuple(sorted(registered.files.items())),
            signature.inputs,
            signature.outputs,
            seconds,
            pickled=registered.name in pickled,
            explain=explain,
        )
        publish(published, folder)
    return ScoringModel(registered.record, published, registered.units)
