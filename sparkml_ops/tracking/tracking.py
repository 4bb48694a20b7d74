"""Runs of one experiment, and the registration of what they made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import digest as digest_of
from sparkml_ops.records import TrainingSet
from sparkml_ops.tracking.address import check_name
from sparkml_ops.tracking.inspection import OWN_LOADER, check_package, file_hashes
from sparkml_ops.tracking.package import write_package
from sparkml_ops.tracking.registered import DIGEST, tags_of
from sparkml_ops.tracking.registry import Registry
from sparkml_ops.tracking.run import Run
from sparkml_ops.tracking.signature import Columns
from sparkml_ops.tracking.store import calling, is_code

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Tracking"]

RUN_KEY = "sparkml_ops.run_key"
_KEY = re.compile(r"[A-Za-z0-9 _.:/@=+,#-]{1,500}")


class Tracking(Registry):
    """Runs and models of one experiment in an MLflow store.

    Args:
        uri: Address of the store; None is where MLflow itself would look.
        experiment: Name of the experiment; made at the first run.
        artifact_root: Folder or object-store address for the artifacts of a new experiment. MLflow's own
            default on SQLite is the working directory of whoever comes first. None leaves it to a server.
    """

    def __init__(self, uri: str | None, experiment: str, artifact_root: str | None) -> None:
        super().__init__(uri)
        self.experiment, self.artifact_root = experiment, artifact_root

    def run(self, key: str, name: str, tags: Mapping[str, str] | None = None, *, parent: str | None = None) -> Run:
        """The run of a key: the one that is there, continued, or a new one.

        Args:
            key: Identity of the work, kept in the tag `sparkml_ops.run_key`.
            name: Shown in MLflow; of a new run only.
            tags: Further tags of a new run.
            parent: Id of the run below which MLflow shows a new run.

        Raises:
            ContractError: The key cannot be searched for, or the store cannot be used.
        """
        if not _KEY.fullmatch(key):
            raise ContractError(f"the run key {key!r}", expected="letters, digits, spaces and _.:/@=+,#-, at most 500", mend="use such a key")
        client, experiment = self.open(create=True), self._experiment()
        below = {} if parent is None else {"mlflow.parentRunId": parent}
        run_id = self._find(client, experiment, key)
        if run_id is None:
            with calling(self.uri, "mlflow.create_run"):
                made = client.create_run(experiment, tags={**(tags or {}), **below, RUN_KEY: key}, run_name=name).info.run_id
            # MLflow compares nothing: of two drivers that found none, both now see the same first run.
            run_id = self._find(client, experiment, key) or made
            if run_id != made:
                with calling(self.uri, "mlflow.delete_run"):
                    client.delete_run(made)
        else:
            self._reopen(client, run_id)
        return Run(client, self.uri, run_id)

    def existing(self, run_id: str) -> Run:
        """A run by its id, as it is.

        Raises:
            ContractError: There is no such run.
        """
        from mlflow.exceptions import MlflowException

        client = self.open()
        try:
            with calling(self.uri):
                client.get_run(run_id)
        except MlflowException as error:
            raise ContractError(f"no run {run_id!r}", expected=f"a run of experiment {self.experiment}", mend="train again") from error
        return Run(client, self.uri, run_id)

    def register(
        self,
        run_id: str,
        folder: Path,
        *,
        name: str,
        training_set: TrainingSet,
        inputs: Columns,
        outputs: Columns,
        card: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> int:
        """Register an artifact folder as a version of a model; the same artifact of the same run again is the same version.

        Args:
            run_id: Run that made it.
            folder: Our files: weights.safetensors and model.json.
            name: Registered name; made if it is not there.
            training_set: Kept with the version.
            inputs: Name and type of each column that the model reads.
            outputs: The same of its predictions.
            card: Lines of the version's description: title to text.
            units: Of the inputs that have one.

        Returns:
            MLflow's number of the version.
        """
        client, name = self.open(create=True), check_name(name)
        digest = digest_of(folder)
        if (version := self._registered(client, name, run_id, digest)) is not None:
            return version
        place = f"model/{digest[:16]}"
        with TemporaryDirectory() as scratch:
            package = Path(scratch) / "model"
            write_package(folder, package, inputs=inputs, outputs=outputs, run_id=run_id)
            check_package(package)
            with calling(self.uri, "mlflow.log_model"):
                client.log_artifacts(run_id, str(package), place)
        with calling(self.uri):
            source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
        self._create_model(client, name)
        with calling(self.uri, "mlflow.create_version"):
            tags = tags_of(digest, file_hashes(folder), OWN_LOADER, training_set, units)
            made = client.create_model_version(name, source, run_id=run_id, tags=tags, description=_description(digest, training_set, card or {}))
        return int(made.version)

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        client = self.open(create=True)
        with calling(self.uri):
            found = client.get_experiment_by_name(self.experiment)
        if found is None:
            root = self.artifact_root
            location = root if root is None or "://" in root else Path(root).resolve().as_uri()
            try:
                with calling(self.uri, "mlflow.create_experiment"):
                    return str(client.create_experiment(self.experiment, artifact_location=location))
            except MlflowException as error:
                if not is_code(error, "RESOURCE_ALREADY_EXISTS"):
                    raise
            with calling(self.uri):
                found = client.get_experiment_by_name(self.experiment)
        if found is None or found.lifecycle_stage != "active":
            raise ContractError(
                f"the experiment {self.experiment}, deleted", expected="an active one", mend="restore it in MLflow, or set mlflow.experiment"
            )
        return str(found.experiment_id)

    def _reopen(self, client: MlflowClient, run_id: str) -> None:
        with calling(self.uri):
            status = client.get_run(run_id).info.status
        if status != "RUNNING":
            with calling(self.uri, "mlflow.resume_run"):
                client.update_run(run_id, status="RUNNING")

    def _find(self, client: MlflowClient, experiment: str, key: str) -> str | None:
        with calling(self.uri):
            runs = client.search_runs([experiment], f"tags.`{RUN_KEY}` = '{key}'")
        first = min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)
        return None if first is None else str(first.info.run_id)

    def _registered(self, client: MlflowClient, name: str, run_id: str, digest: str) -> int | None:
        with calling(self.uri):
            versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        return min((int(found.version) for found in versions if found.tags.get(DIGEST) == digest), default=None)

    def _create_model(self, client: MlflowClient, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            with calling(self.uri, "mlflow.create_model"):
                client.create_registered_model(name)
        except MlflowException as error:
            if not is_code(error, "RESOURCE_ALREADY_EXISTS"):
                raise


def _description(digest: str, training_set: TrainingSet, card: Mapping[str, str]) -> str:
    inputs = ", ".join(f"{table} at version {version}" for table, version in sorted(training_set.inputs.items()))
    lines = {
        **card,
        "Training set": f"{training_set.id}: table {training_set.snapshot.table} at version {training_set.snapshot.version}, {training_set.rows} rows",
        "Content hash": training_set.content_hash,
        "Made from": inputs or "no recorded tables",
        "Digest": digest,
    }
    return "\n".join(f"- **{title}**: {text}" for title, text in lines.items())
