"""Whether loading a model unpickles: by its flavour, and by its files."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["holds_pickle", "pickles", "unpickled"]

# What only a pickle that makes objects needs: a text that happens to parse as one has none of them.
_MAKING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1", "EXT2", "EXT4"})
_PROTOCOL = b"\x80"
_LONGEST = 1 << 26


def unpickled(folder: Path, loader: str, flavors: Mapping[str, Any]) -> str:
    """Why loading a model may run code of whoever made it; empty: it reads numbers and text.

    Args:
        folder: A local MLflow model.
        loader: The module that loads it.
        flavors: Of its MLmodel file.
    """
    plain = _PLAIN.get(loader)
    if plain is None or not plain(flavors.get(loader.rpartition(".")[2], {})):
        return f"loaded by {loader} in this form"
    found = pickles(folder)
    return f"files that hold a pickle: {', '.join(found[:5])}" if found else ""


def _plain_xgboost(told: Mapping[str, Any]) -> bool:
    # MLflow imports and calls the class that is named here.
    return str(told.get("model_class", "xgboost.")).startswith("xgboost.") and Path(str(told.get("data"))).suffix in (".json", ".ubj", ".xgb")


def _plain_sklearn(told: Mapping[str, Any]) -> bool:
    # skops makes the classes of its own list, and those that the package asks for.
    return told.get("serialization_format") == "skops" and not told.get("skops_trusted_types")


# Loaders that make nothing but what they know, of what the flavour says of the model.
_PLAIN: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "mlflow.xgboost": _plain_xgboost,
    "mlflow.lightgbm": lambda told: told.get("model_class") == "lightgbm.basic.Booster",
    "mlflow.onnx": lambda _: True,
    "mlflow.sklearn": _plain_sklearn,
}


def pickles(folder: Path) -> tuple[str, ...]:
    """Files under a folder that a loader could unpickle, by their relative names; none is opened by anything that would run it."""
    return tuple(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file() and _hostile(path))


def holds_pickle(data: bytes) -> bool:
    r"""Whether bytes begin with a pickle that makes objects, or with any of a binary protocol; its opcodes are listed, never followed.

    >>> holds_pickle(b"cos\nsystem\n(S'true'\ntR."), holds_pickle(b'{"format": 1}')
    (True, False)
    """
    names = set()
    try:
        for opcode, _, _ in pickletools.genops(data[:_LONGEST]):
            names.add(opcode.name)
    except Exception:  # whatever the listing stumbles over
        return data.startswith(_PROTOCOL) and bool(names & _MAKING)
    return data.startswith(_PROTOCOL) or bool(names & _MAKING)


def _hostile(path: Path) -> bool:
    if zipfile.is_zipfile(path):  # torch.save and others put a pickle into an archive
        with zipfile.ZipFile(path) as archive:
            return any(holds_pickle(archive.read(name)) for name in archive.namelist() if archive.getinfo(name).file_size <= _LONGEST)
    with path.open("rb") as file:
        return holds_pickle(file.read(_LONGEST))
