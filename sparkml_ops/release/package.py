"""What a registered package weighs, and whether any of its files is a pickle."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

__all__ = ["holds_pickle", "pickles", "size_of"]

# What only a pickle that makes objects needs: a text that happens to parse as one has none of them.
_MAKING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1", "EXT2", "EXT4"})
_PROTOCOL = b"\x80"
_LONGEST = 1 << 26


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
