"""Files of a model where every executor can read them, and their way into one."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.signature import Field
from sparkml_ops.storage import Storage

__all__ = ["PublishedModel", "publish"]


@dataclass(frozen=True)
class PublishedModel:
    """What a Python worker needs to load a model; small, hashable and picklable.

    Args:
        storage: Where the files lie, under `models/<digest>`.
        digest: Of the registered model.
        loader: Module that loads it.
        files: Relative name and SHA-256 of each file, from the verified registry copy.
        inputs: Its signature.
        outputs: Its signature.
        seconds: That a call for a batch of rows may take; None: no end.
        pickled: Whether the configuration allows that it is unpickled.
        explain: Inputs that stand beside each prediction as its last output; 0: none, and no such output.
    """

    storage: Storage
    digest: str
    loader: str
    files: tuple[tuple[str, str], ...]
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    seconds: float | None = None
    pickled: bool = False
    explain: int = 0

    def name(self, file: str) -> str:
        """The object's name of a file."""
        return f"models/{self.digest}/{file}"

    def local_folder(self) -> Path:
        """A folder of this machine with the verified files: storage's own where it is a folder, else a copy made once.

        Raises:
            ContractError: A file is missing or is not the registered one.
        """
        address = self.storage.path(f"models/{self.digest}")
        folder = self._copy() if "://" in address else Path(address)
        for file, expected in self.files:
            path = folder / file
            found = _hash(path) if path.is_file() else "nothing"
            if found != expected:
                raise ContractError(
                    f"{path} with SHA-256 {found}", expected=expected, mend=f"remove models/{self.digest} under storage.root and score again"
                )
        return folder

    def _copy(self) -> Path:
        """The files of a remote storage, fetched by the first worker while the others wait."""
        base = Path(tempfile.gettempdir()) / f"sparkml_ops-{getpass.getuser()}"
        base.mkdir(mode=0o700, exist_ok=True)
        folder = base / self.digest
        with (base / f"{self.digest}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                partial = Path(tempfile.mkdtemp(dir=base))
                try:
                    for file, _ in self.files:
                        self.storage.fetch(self.name(file), partial / file)
                    partial.replace(folder)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        return folder


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(model: PublishedModel, folder: Path) -> None:
    """Put a model's files under storage.root, those that are not there whole.

    Args:
        folder: The verified files.
    """
    for file, expected in model.files:
        name = model.name(file)
        if not (model.storage.exists(name) and model.storage.sha256(name) == expected):
            model.storage.publish_file(name, folder / file, kind="model")
