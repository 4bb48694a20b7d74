"""Our artifact as an MLflow model folder that plain MLflow loads."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from tempfile import TemporaryDirectory

from sparkml_ops.model.artifact import DESCRIPTION
from sparkml_ops.model.module import GROUP
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.tracking.inspection import OWN_DATA, OWN_LOADER
from sparkml_ops.tracking.signature import Columns, example, signature

__all__ = ["write_package"]

_NEEDED = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch", "sparkml-ops")


def write_package(artifact: Path, target: Path, *, inputs: Columns, outputs: Columns, run_id: str) -> None:
    """Write the MLflow model of an artifact folder.

    No code is packed and nothing pickled: `loader_module` names our package, which is installed where
    the model is loaded. Requirements are what runs here, written down without asking any registry.

    Args:
        artifact: Our files: weights.safetensors and model.json.
        target: Folder to make.
        inputs: Name and type of each column that the model reads.
        outputs: The same of its predictions.
        run_id: MLflow run that made it.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with TemporaryDirectory() as scratch:
        # MLflow takes the name of the folder in the model from the folder that it is given.
        data = Path(scratch) / Path(OWN_DATA).name
        data.symlink_to(artifact.resolve(), target_is_directory=True)
        mlflow.pyfunc.save_model(
            path=str(target),
            loader_module=OWN_LOADER,
            data_path=str(data),
            signature=signature(inputs, outputs),
            input_example=example(inputs),
            pip_requirements=_requirements(artifact),
            mlflow_model=Model(run_id=run_id),
        )


def _requirements(artifact: Path) -> list[str]:
    found = []
    module = ModelSpec.from_json((artifact / DESCRIPTION).read_text(encoding="utf-8")).module
    makers = [point.dist.name for point in entry_points(group=GROUP, name=module) if point.dist] if module else []
    for name in (*_NEEDED, *makers):
        try:
            found.append(f"{name}=={re.sub(r'[+].*', '', version(name))}")
        except PackageNotFoundError:
            continue
    return found
