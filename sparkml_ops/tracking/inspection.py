"""What a downloaded model folder must look like before anything in it is loaded.

Loading an MLflow model imports the module that its MLmodel file names, after putting its `code`
folder on the path. So the file is read here first, by a YAML loader that makes plain data only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import digest as digest_of
from sparkml_ops.tracking.pickles import unpickled

__all__ = ["OWN_DATA", "OWN_LOADER", "check_digest", "check_package", "file_hashes", "load_pyfunc"]

OWN_LOADER = "sparkml_ops.model.pyfunc"
OWN_DATA = "data/artifact"

_MLMODEL = "MLmodel"
_MAX_BYTES = 1 << 20
# All that write_package makes.
_OWN_ROOT = frozenset(
    {
        _MLMODEL,
        "data",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
    }
)
_OWN_KEYS = frozenset({"loader_module", "data", "env", "python_version", "code", "config", "streamable"})
_CHUNK = 1 << 20


def check_package(folder: Path, *, loaders: Collection[str] = (), pickled: bool = False) -> str:
    """Refuse a model folder that could do more than we expect; its loader's module otherwise.

    Args:
        folder: A local MLflow model.
        loaders: Modules, besides ours, that may load a model; the configuration names them.
        pickled: Whether this very model may be unpickled, which runs what its maker wrote; the configuration names it.

    Raises:
        ContractError: Another flavour or loader, a pickle, packed code, a path that leaves the folder, a link, or a damaged MLmodel file.
    """
    if links := [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_symlink()]:
        raise ContractError(f"links in the model: {', '.join(links[:5])}", expected="plain files", mend="register the model again")
    document = _read_mlmodel(folder / _MLMODEL)
    flavors = document.get("flavors")
    pyfunc = flavors.get("python_function") if isinstance(flavors, Mapping) else None
    if not isinstance(flavors, Mapping) or not isinstance(pyfunc, Mapping):
        raise ContractError(
            "an MLmodel file without the flavour python_function", expected="a pyfunc model", mend="log the model with a pyfunc flavour"
        )
    loader = pyfunc.get("loader_module")
    if loader != OWN_LOADER and loader not in loaders:
        allowed = ", ".join([OWN_LOADER, *sorted(loaders)])
        raise ContractError(
            f"a model loaded by {loader!r}", expected=f"one of {allowed}", mend="allow the loader in the configuration if you trust the model"
        )
    if pyfunc.get("code") is not None or (folder / "code").exists():
        raise ContractError(
            "a model that brings its own code", expected="no code folder", mend="install the code as a package and log the model again"
        )
    for place in (flavors, document.get("saved_input_example_info")):
        for text in _texts(place):
            _check_path(text)
    if loader == OWN_LOADER:
        _check_own(folder, flavors, pyfunc)
    elif not pickled and (why := unpickled(folder, str(loader), flavors)):
        raise ContractError(
            f"a model that may run code of whoever made it ({why})",
            expected="files of numbers and text: ours, XGBoost's, LightGBM's and ONNX's own, skops without further types",
            mend="name the registered model in scoring.trusted_pickles if you trust its maker, or log it in such a form",
        )
    return str(loader)


def load_pyfunc(folder: Path, *, loaders: Collection[str], pickled: bool = False) -> Any:
    """Load a model of another flavour (scikit-learn, XGBoost, ...) from a fetched folder.

    Args:
        folder: What `Registry.fetch` returned.
        loaders: Modules that the configuration allows.
        pickled: Whether the model may be unpickled: then it is trusted to run code.

    Raises:
        ContractError: As `check_package`.
    """
    check_package(folder, loaders=loaders, pickled=pickled)
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file under a folder, by its relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def check_digest(what: str, folder: Path, digest: str, files: Mapping[str, str]) -> None:
    """Compare files with what was registered.

    Raises:
        ContractError: Naming up to five files that differ, with both digests.
    """
    actual = digest_of(folder)
    if actual == digest:
        return
    found = file_hashes(folder)
    names = [name for name in sorted({*found, *files}) if found.get(name) != files.get(name)]
    shown = ", ".join(f"{name} {_difference(found.get(name), files.get(name))}" for name in names[:5])
    raise ContractError(
        f"{what} with digest {actual} ({shown or 'the recorded file hashes do not fit the digest'})",
        expected=f"digest {digest}",
        mend="do not use it; register the model again",
    )


def _difference(found: str | None, expected: str | None) -> str:
    if expected is None:
        return "was added"
    return "is missing" if found is None else f"has SHA-256 {found[:12]}… instead of {expected[:12]}…"


def _read_mlmodel(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ContractError("a model without an MLmodel file", expected="an MLflow model folder", mend="register the model again")
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise ContractError(f"an MLmodel file of {size} bytes", expected=f"at most {_MAX_BYTES}", mend="register the model again")
    try:
        document = yaml.load(path.read_text(), Loader=_PlainLoader)  # noqa: S506 (derived from SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        first = str(error).partition("\n")[0]
        raise ContractError(
            f"an MLmodel file that is no plain YAML ({first})", expected="maps, lists and scalars", mend="register the model again"
        ) from error
    if not isinstance(document, Mapping):
        raise ContractError("an MLmodel file that is no map", expected="an MLflow model folder", mend="register the model again")
    return document


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases: a few lines of them unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


def _check_own(folder: Path, flavors: Mapping[str, Any], pyfunc: Mapping[str, Any]) -> None:
    """Our own packages have one form, so everything else is foreign to them."""
    odd = [f"flavour {name}" for name in flavors if name != "python_function"]
    odd += [f"key {key}" for key in pyfunc if key not in _OWN_KEYS]
    odd += [f"key {key}" for key in ("config", "streamable") if pyfunc.get(key)]
    odd += [f"data {pyfunc.get('data')!r}"] if pyfunc.get("data") != OWN_DATA else []
    odd += [f"file {path.name}" for path in sorted(folder.iterdir()) if path.name not in _OWN_ROOT]
    odd += [f"file data/{path.name}" for path in sorted((folder / "data").glob("*")) if path.name != Path(OWN_DATA).name]
    if odd:
        raise ContractError(
            f"in the model: {', '.join(map(str, odd[:5]))}", expected="a model as this project writes it", mend="register the model again"
        )


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _check_path(text: str) -> None:
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ContractError(f"the path {text!r} in the MLmodel file", expected="paths inside the model", mend="register the model again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
