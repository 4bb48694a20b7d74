"""Objects that outlive a process and are no tables: artifacts, checkpoints, progress.

Nothing here appends or relies on an atomic rename of an object store: an object is put whole,
and a group of objects counts when its last one, a manifest, is there.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec

from feature_store import hooks
from feature_store.address import for_python, for_spark
from sparkml_ops.errors import ContractError, OpsError

__all__ = ["Storage", "StorageFull"]

_PART = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageFull(OpsError, OSError):
    """An object that the disk, a quota or a limit on files has no room for; nothing of it is left (exit code 5)."""


@dataclass(frozen=True)
class Storage:
    """A folder, or a prefix of an object store, that the driver and the executors share.

    Args:
        root: Local path or fsspec address (`s3://bucket/prefix`; `s3a://` is the same place).

    >>> import tempfile
    >>> storage = Storage(tempfile.mkdtemp())
    >>> _ = storage.publish("runs/1/done.json", b"{}", kind="manifest")
    >>> storage.read("runs/1/done.json"), storage.list("runs")
    (b'{}', ['runs/1/done.json'])
    """

    root: str

    def path(self, name: str) -> str:
        """Absolute address of an object, as Python reads it.

        Raises:
            ContractError: The name is empty, absolute or climbs out of the root.
        """
        parts = PurePosixPath(name)
        if not name or parts.is_absolute() or ".." in parts.parts:
            raise ContractError(f"the object name {name!r}", expected="a relative name without ..", mend="use a name below storage.root")
        return f"{for_python(self.root).rstrip('/')}/{parts}"

    def spark_path(self, name: str) -> str:
        """Absolute address of an object, as Spark reads it."""
        return for_spark(self.path(name))

    def publish(self, name: str, data: bytes, *, kind: str) -> str:
        """Put a whole object; readers see all of it or none.

        Args:
            kind: Names the hook `storage.publish.<kind>`; stable, without ids.

        Raises:
            StorageFull: There is no room for it.
        """
        address = self.path(name)
        with hooks.passing(f"storage.publish.{kind}"):
            if self._local:
                with _whole(Path(address)) as partial:
                    partial.write_bytes(data)
            else:
                with self._open(address, "wb") as target:
                    target.write(data)
        return address

    def publish_file(self, name: str, source: Path, *, kind: str) -> str:
        """Put a local file as one whole object."""
        address = self.path(name)
        with hooks.passing(f"storage.publish.{kind}"):
            if self._local:
                with _whole(Path(address)) as partial:
                    shutil.copyfile(source, partial)
            else:
                with source.open("rb") as data, self._open(address, "wb") as target:
                    shutil.copyfileobj(data, target)
        return address

    def read(self, name: str) -> bytes:
        """All bytes of an object; FileNotFoundError where there is none."""
        with self._open(self.path(name), "rb") as source:
            return bytes(source.read())

    def sha256(self, name: str) -> str:
        """SHA-256 of an object's bytes, of which few are held at a time; FileNotFoundError where there is none."""
        total = hashlib.sha256()
        with self._open(self.path(name), "rb") as source:
            while part := source.read(_PART):
                total.update(part)
        return total.hexdigest()

    def fetch(self, name: str, target: Path) -> None:
        """Copy an object to a local file, whole or not at all."""
        with _whole(target) as partial, self._open(self.path(name), "rb") as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy)

    def exists(self, name: str) -> bool:
        """Whether the object is there."""
        address = self.path(name)
        return Path(address).is_file() if self._local else bool(self._files(address)[0].exists(address))

    def list(self, prefix: str) -> list[str]:
        """Names of the whole objects under a prefix, sorted."""
        address = self.path(prefix)
        if self._local:
            base = Path(self.root)
            found = (path.relative_to(base).as_posix() for path in Path(address).rglob("*") if path.is_file())
        else:
            files, start = self._files(address)
            head = start.removesuffix(str(PurePosixPath(prefix)))
            found = (str(name).removeprefix(head) for name in files.find(start))
        return sorted(name for name in found if not name.endswith(".partial"))

    def remove(self, prefix: str) -> None:
        """Delete an object, or all objects under a prefix; nothing there is fine."""
        address = self.path(prefix)
        if self._local:
            shutil.rmtree(address, ignore_errors=True) if Path(address).is_dir() else Path(address).unlink(missing_ok=True)
        else:
            files, start = self._files(address)
            if files.exists(start):
                files.rm(start, recursive=True)

    @property
    def _local(self) -> bool:
        return "://" not in self.root

    # Other processes write here too: a listing that fsspec keeps would hide what they did.
    @staticmethod
    def _files(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
        found: tuple[fsspec.AbstractFileSystem, str] = fsspec.url_to_fs(address, use_listings_cache=False)
        return found

    def _open(self, address: str, mode: str) -> fsspec.core.OpenFile:
        return fsspec.open(address, mode) if self._local else fsspec.open(address, mode, use_listings_cache=False)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A file to write, which takes the target's place when it is whole; else nothing of it is left, as it may be what fills the disk."""
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StorageFull(
                f"no room for {target} ({error.strerror})",
                expected="a disk with room",
                mend="make room, then run the same again: it goes on from what is there",
            ) from error
        raise
