"""A model on disk: `weights.safetensors` and `model.json`, nothing else, and no pickle.

torch is imported where weights are touched, so that a digest costs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sparkml_ops.errors import ContractError
from sparkml_ops.model.module import MakeModule
from sparkml_ops.model.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from sparkml_ops.model.retriever import Applied

__all__ = ["DESCRIPTION", "WEIGHTS", "digest", "load", "save"]

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
# Bytes of a file that are looked at in one go.
_PART = 1 << 20


def save(folder: Path, spec: ModelSpec, state: Mapping[str, torch.Tensor], module: MakeModule | None = None) -> None:
    """Write a model into a new or empty folder; the same model gives the same bytes.

    Args:
        folder: Holds nothing else.
        spec: The description.
        state: Weights by name.
        module: The object that makes the network, where no entry point does.

    Raises:
        ContractError: The folder holds something, or the weights are not finite or not those of the description.
    """
    import safetensors.torch
    import torch

    _applied(spec, state, module)
    if broken := [name for name, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise ContractError(f"weights that are not finite in {broken[:5]}", expected="finite numbers", mend="train with a lower learning rate")
    folder.mkdir(parents=True, exist_ok=True)
    if found := sorted(path.name for path in folder.iterdir()):
        raise ContractError(f"{found[:5]} in {folder}", expected="an empty folder", mend="save into a new one")
    safetensors.torch.save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, folder / WEIGHTS)
    (folder / DESCRIPTION).write_text(spec.to_json(), encoding="utf-8")


def load(folder: Path, module: MakeModule | None = None) -> Applied:
    """Read a model; nothing in the folder is executed. A team's own network is made by the installed entry point that the description names.

    Args:
        folder: With both files.
        module: The object that makes the network, where no entry point does.

    Raises:
        ContractError: A file is missing or unexpected, of a newer format, or the two do not fit.
    """
    import safetensors.torch

    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if missing := {WEIGHTS, DESCRIPTION} - set(found):
        raise ContractError(f"{found} in {folder}", expected=f"{sorted(missing)} too", mend="fetch the whole artifact")
    spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return _applied(spec, safetensors.torch.load_file(folder / WEIGHTS), module)


def _applied(spec: ModelSpec, state: Mapping[str, torch.Tensor], module: MakeModule | None) -> Applied:
    from sparkml_ops.model.predictor import Predictor
    from sparkml_ops.model.retriever import Retriever

    return Retriever(spec, state) if spec.kind == "two_tower" else Predictor(spec, state, module)


def digest(folder: Path) -> str:
    """SHA-256 over the relative name and bytes of each file, in order of the names.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_bytes(b"1")
    >>> digest(folder)[:12]
    '0e9c3156ac69'
    """
    total = hashlib.sha256()
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix().encode()
        # Lengths first, so that no name can pass for content.
        total.update(len(name).to_bytes(8, "big") + name + path.stat().st_size.to_bytes(8, "big"))
        with path.open("rb") as file:
            while part := file.read(_PART):
                total.update(part)
    return total.hexdigest()
