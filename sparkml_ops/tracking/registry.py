"""Registered models: versions, aliases, and their files, verified before anything is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import digest as digest_of
from sparkml_ops.records import TrainingSet
from sparkml_ops.tracking.address import check_alias, check_name
from sparkml_ops.tracking.inspection import OWN_DATA, OWN_LOADER, check_digest, check_package, file_hashes
from sparkml_ops.tracking.registered import DIGEST, ListedModel, Logged, RegisteredModel, tags_of
from sparkml_ops.tracking.store import awaited, calling, connect, default_uri, is_code, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Registry"]

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class Registry:
    """The model registry of an MLflow store.

    Args:
        uri: Address of the store; None is where MLflow itself would look (a notebook's setting, MLFLOW_TRACKING_URI).
    """

    def __init__(self, uri: str | None = None) -> None:
        self._given = uri
        self._client: MlflowClient | None = None

    @property
    def uri(self) -> str:
        """Address of the store."""
        return self._given or default_uri()

    def open(self, *, create: bool = False) -> MlflowClient:
        """The client, connected at its first use.

        Args:
            create: Whether to make a SQLite store that is not there.

        Raises:
            ContractError: The store cannot be opened.
            RetryableError: A server does not answer.
        """
        if self._client is None:
            self._client = connect(self.uri, create=create)
        return self._client

    def check(self) -> str:
        """One line about the store for who asks whether it works; makes none.

        Raises:
            ContractError: It cannot be used.
            RetryableError: A server does not answer.
        """
        if (path := awaited(self.uri)) is not None:
            return f"{path}, made at the first training"
        client = self.open()
        with calling(self.uri):
            models = len(client.search_registered_models())
        return f"{shown(self.uri)}, {models} registered models"

    def resolve(self, name: str, which: int | str) -> RegisteredModel:
        """The version of a model that an alias means now, or a version by its number.

        Resolve once, hand the result on: an alias may move while a job runs.

        Args:
            name: Registered name.
            which: Alias or number.

        Raises:
            ContractError: No such model, alias or version (the message lists those that exist), or one registered by something else.
        """
        found = self._version(name, which)
        return RegisteredModel.from_tags(name, int(found.version), found.tags, run_id=found.run_id or "", source=found.source or "")

    def versions(self, name: str) -> tuple[ListedModel, ...]:
        """All versions of a model, oldest first.

        Raises:
            ContractError: No such model.
        """
        aliases, client, page = self._aliases(check_name(name)), self.open(), None
        found: list[ModelVersion] = []
        while page != "":
            with calling(self.uri):
                part = client.search_model_versions(f"name = '{name}'", page_token=page)
            found, page = [*found, *part], part.token or ""
        return tuple(sorted((_listed(version, aliases) for version in found), key=lambda listed: listed.version))

    def logged(self, run_id: str) -> Logged:
        """Parameters and metrics of a run; none where the run is gone or was never there."""
        from mlflow.exceptions import MlflowException

        try:
            with calling(self.uri):
                data = self.open().get_run(run_id).data if run_id else None
        except MlflowException as error:
            if not is_code(error, *_ABSENT):
                raise
            data = None
        return Logged({}, {}) if data is None else Logged(dict(data.params), dict(data.metrics))

    def fetch(self, registered: RegisteredModel, folder: Path, *, loaders: Collection[str] = (), pickled: Collection[str] = ()) -> Path:
        """Download a version's files and verify them: digest, loader, no code, no path that leaves the folder.

        Nothing of the model is loaded. `folder` appears whole or not at all; where it is there already it is verified again.

        Args:
            folder: Local folder for the MLflow model.
            loaders: Modules, besides ours, that the configuration allows to load a model.
            pickled: Registered names of models that the configuration allows to be unpickled.

        Returns:
            What to load: our artifact's own folder for our models, the MLflow model (for `load_pyfunc`) for others.

        Raises:
            ContractError: The files are not what was registered.
        """
        if folder.exists():
            return self._verify(registered, folder, loaders, pickled)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            downloaded = self._download(registered.name, registered.version, scratch)
            verified = self._verify(registered, downloaded, loaders, pickled)
            try:
                downloaded.rename(folder)
            except OSError:  # another process was first
                return self._verify(registered, folder, loaders, pickled)
            return folder / verified.relative_to(downloaded)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def adopt(
        self, name: str, version: int, training_set: TrainingSet, *, loaders: Collection[str], pickled: Collection[str] = ()
    ) -> RegisteredModel:
        """Take over a version that something else registered: from now on its files must stay as they are.

        Args:
            training_set: What it was trained on; the reference for drift.
            loaders: Modules that the configuration allows to load a model.
            pickled: Registered names of models that it allows to be unpickled.

        Raises:
            ContractError: Its loader is not allowed, or it could do more than be loaded.
        """
        client = self.open()
        found = self._version(name, version)
        scratch = Path(mkdtemp())
        try:
            folder = self._download(name, version, scratch)
            loader = check_package(folder, loaders=loaders, pickled=name in pickled)
            covered = _covered(folder, loader)
            tags = tags_of(digest_of(covered), file_hashes(covered), loader, training_set)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        for key, value in tags.items():
            if found.tags.get(key) != value:
                with calling(self.uri, "mlflow.set_tag"):
                    client.set_model_version_tag(name, str(version), key, value)
        return self.resolve(name, version)

    def alias(self, name: str, alias: str) -> int | None:
        """The version that an alias means now; None where the model has no such alias.

        Raises:
            ContractError: There is no such model.
        """
        found = self._aliases(check_name(name)).get(check_alias(alias))
        return None if found is None else int(found)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let an alias mean a version; MLflow keeps no history and compares nothing."""
        with calling(self.uri, "mlflow.set_alias"):
            self.open().set_registered_model_alias(check_name(name), check_alias(alias), str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        with calling(self.uri, "mlflow.delete_alias"):
            self.open().delete_registered_model_alias(check_name(name), check_alias(alias))

    def note(self, name: str, key: str) -> str | None:
        """The value of a tag of a registered model, or None."""
        with calling(self.uri):
            tags: Mapping[str, str] = self.open().get_registered_model(check_name(name)).tags
        return tags.get(key)

    def set_note(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model."""
        with calling(self.uri, "mlflow.set_tag"):
            self.open().set_registered_model_tag(check_name(name), key, value)

    def _verify(self, registered: RegisteredModel, folder: Path, loaders: Collection[str], pickled: Collection[str]) -> Path:
        what = f"version {registered.version} of `{registered.name}`"
        loader = check_package(folder, loaders=loaders, pickled=registered.name in pickled)
        if loader != registered.loader:
            raise ContractError(f"{what} with the loader {loader}", expected=registered.loader, mend="do not use it; register the model again")
        covered = _covered(folder, loader)
        check_digest(what, covered, registered.digest, registered.files)
        return covered

    def _download(self, name: str, version: int, target: Path) -> Path:
        import mlflow.artifacts
        from mlflow.exceptions import MlflowException

        client = self.open()
        try:
            with calling(self.uri):
                # A Databricks registry hands out its files under the model's own address only.
                hosted = self.uri.startswith("databricks")
                source = f"models:/{name}/{version}" if hosted else client.get_model_version_download_uri(name, str(version))
                folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(target), tracking_uri=self.uri))
        except (MlflowException, OSError) as error:
            raise ContractError(
                f"no files of version {version} of `{name}` ({error})", expected="its artifacts", mend="restore them, or use another version"
            ) from error
        (folder / "registered_model_meta").unlink(missing_ok=True)
        return folder

    def _version(self, name: str, which: int | str) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        client, name = self.open(), check_name(name)
        number = str(which) if isinstance(which, int) or which.isdecimal() else None
        try:
            with calling(self.uri):
                return client.get_model_version(name, number) if number else client.get_model_version_by_alias(name, check_alias(str(which)))
        except MlflowException as error:
            if not is_code(error, *_ABSENT):
                raise
        aliases = self._aliases(name)
        with calling(self.uri):
            versions = sorted((int(found.version) for found in client.search_model_versions(f"name = '{name}'")), reverse=True)
        there = f"aliases {_some(aliases)}; versions {_some(versions)}"
        raise ContractError(
            f"no {'version' if number else 'alias'} {which} of `{name}`", expected=there, mend="use one of these, or register and promote first"
        )

    def _aliases(self, name: str) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        client = self.open()
        try:
            with calling(self.uri):
                return dict(client.get_registered_model(name).aliases)
        except MlflowException as error:
            if not is_code(error, *_ABSENT):
                raise
        with calling(self.uri):
            names = [model.name for model in client.search_registered_models(max_results=6)]
        raise ContractError(f"no registered model `{name}`", expected=f"one of {_some(names)}", mend="register it first, or correct release.model")


def _listed(found: ModelVersion, aliases: Mapping[str, str]) -> ListedModel:
    version, tags = int(found.version), found.tags
    ours = DIGEST in tags
    registered = RegisteredModel.from_tags(found.name, version, tags, run_id=found.run_id or "", source=found.source or "") if ours else None
    names = tuple(sorted(alias for alias, number in aliases.items() if int(number) == version))
    return ListedModel(version, datetime.fromtimestamp(found.creation_timestamp / 1000, UTC), names, registered)


def _covered(folder: Path, loader: str) -> Path:
    """The files that the digest is over: ours alone, where the rest has one form only; everything in a foreign model."""
    return folder / OWN_DATA if loader == OWN_LOADER else folder


def _some(items: Iterable[object]) -> str:
    """At most five, and a sign that there are more."""
    shown = [str(item) for item in items]
    return (", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")) or "none"
