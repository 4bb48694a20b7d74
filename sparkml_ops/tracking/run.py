"""One MLflow run, continued rather than repeated when its verb starts again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from sparkml_ops.errors import ContractError, RetryableError
from sparkml_ops.records import to_document
from sparkml_ops.tracking.store import calling

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Run"]

# MLflow's limits of one request.
_METRICS, _PARAMS, _VALUE = 1000, 100, 6000


class Run:
    """A run in the store; logging the same again changes nothing.

    Args:
        client: Client of the store.
        uri: Address of the store, for messages.
        run_id: MLflow's id of the run.
    """

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client, self._uri, self.run_id = client, uri, run_id
        self._steps: dict[str, set[int]] = {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; MLflow never changes one, so another value is kept as the tag `sparkml_ops.resumed.<name>`."""
        from mlflow.entities import Param

        with calling(self._uri):
            known = self._client.get_run(self.run_id).data
        values = {key: str(value)[:_VALUE] for key, value in params.items()}
        fresh = [Param(key, value) for key, value in values.items() if key not in known.params]
        for start in range(0, len(fresh), _PARAMS):
            with calling(self._uri, "mlflow.log_params"):
                self._client.log_batch(self.run_id, params=fresh[start : start + _PARAMS])
        for key, value in values.items():
            tag = f"sparkml_ops.resumed.{key}"
            if known.params.get(key, value) != value and known.tags.get(tag) != value:
                self.set_tag(tag, value)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step; a (name, step) that is there already is left as it is.

        Args:
            step: Epoch or other position, from 0.
        """
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        fresh = [Metric(key, float(value), now, step) for key, value in metrics.items() if step not in self._known_steps(key)]
        for start in range(0, len(fresh), _METRICS):
            try:
                with calling(self._uri, "mlflow.log_metrics"):
                    self._client.log_batch(self.run_id, metrics=fresh[start : start + _METRICS])
            except RetryableError:
                self._steps.clear()  # they may have arrived, and only the answer has not: what is there is asked again
                raise
        for metric in fresh:
            self._steps[metric.key].add(step)

    def log_figure(self, name: str, path: Path | str) -> None:
        """Put a picture under the run.

        Args:
            name: Its name in the run, `learning_curve` or `figures/learning_curve.png`; without an ending it takes that of the file.
            path: The file.
        """
        source = Path(path)
        target = _artifact(name)
        target = target if target.suffix else target.with_name(f"{target.name}{source.suffix}")
        with TemporaryDirectory() as scratch:
            copy = shutil.copyfile(source, Path(scratch) / target.name)
            with calling(self._uri, "mlflow.log_artifact"):
                self._client.log_artifact(self.run_id, str(copy), _folder(target))

    def log_document(self, name: str, document: Any) -> None:
        """Put a record or plain JSON types under the run as `<name>.json`."""
        target = _artifact(name)
        target = target if target.suffix == ".json" else target.with_name(f"{target.name}.json")
        text = json.dumps(to_document(document), indent=2, sort_keys=True, default=str)
        with calling(self._uri, "mlflow.log_artifact"):
            self._client.log_text(self.run_id, text, str(target))

    def log_text(self, name: str, text: str) -> None:
        """Put a page or another text under the run.

        Args:
            name: Its name in the run with its ending, as `cards/version_3.html`.
            text: What it holds.
        """
        with calling(self._uri, "mlflow.log_artifact"):
            self._client.log_text(self.run_id, text, str(_artifact(name)))

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the run."""
        with calling(self._uri, "mlflow.set_tag"):
            self._client.set_tag(self.run_id, key, value)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """End the run."""
        with calling(self._uri, "mlflow.finish_run"):
            self._client.set_terminated(self.run_id, status)

    def _known_steps(self, key: str) -> set[int]:
        if key not in self._steps:
            with calling(self._uri):
                self._steps[key] = {metric.step for metric in self._client.get_metric_history(self.run_id, key)}
        return self._steps[key]


def _artifact(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise ContractError(f"the artifact name {name!r}", expected="a relative name without ..", mend="use a name below the run")
    return path


def _folder(target: PurePosixPath) -> str | None:
    return None if str(target.parent) == "." else str(target.parent)
