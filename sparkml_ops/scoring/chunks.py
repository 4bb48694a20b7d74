"""A large window in chunks: what the tasks of a chunk have written is kept, so that a run that was killed goes on behind it.

A chunk is kept as an object that names its files, which no version of the target speaks of before the one commit of the whole window. Its
name is bound to all that decides the rows, so that another model, scoring set or setting finds none; its rows stand under the run that scored
them, and whoever goes on does so under that run and its time: the rows of a window are of one run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_store.pieces import Piece
from sparkml_ops.logs import logger
from sparkml_ops.scoring.call import Call
from sparkml_ops.scoring.row_files import WrittenFile
from sparkml_ops.storage import Storage

__all__ = ["Chunks"]

Task = tuple[Piece, ...]


@dataclass(frozen=True)
class Chunks:
    """The chunks of a window.

    Args:
        tasks: The tasks of each chunk.
        kept: Files of those that are scored already, by number.
        call: Under the run and the time of these.
        name: Begins the names of the objects.
    """

    tasks: tuple[tuple[Task, ...], ...]
    kept: Mapping[int, tuple[WrittenFile, ...]]
    call: Call
    name: str

    @classmethod
    def of(cls, call: Call, tasks: Sequence[Task], versions: Mapping[str, int]) -> Chunks:
        """The chunks of a call, those among them that an earlier attempt has scored.

        Args:
            call: Under a run and a time of its own.
            tasks: Of the whole window, in order.
            versions: Of the tables behind the scoring set, which each row carries.
        """
        parts, name = _cut(tasks, call.settings.chunk_rows), f"{call.staging}/chunks-{_digest(call, tasks, versions)}"
        storage = call.model.published.storage
        found = _found(storage, name, Path(call.tables.location(call.settings.target))) if len(parts) > 1 else {}
        if not found:
            return cls(parts, {}, call, name)
        # Two drivers at work at the same time keep chunks under two runs.
        run = found[min(found)]["run_id"], found[min(found)]["scored_at"]
        kept = {
            number: tuple(WrittenFile(**file) for file in chunk["files"])
            for number, chunk in found.items()
            if (chunk["run_id"], chunk["scored_at"]) == run
        }
        logger.info("score: %d of %d chunks were scored by run %s, which goes on", len(kept), len(parts), run[0][:8])
        return cls(parts, kept, replace(call, run_id=run[0], scored_at=datetime.fromisoformat(run[1])), name)

    def keep(self, number: int, files: Sequence[WrittenFile]) -> None:
        """Keep the files of a chunk; those of a window in one chunk are about to be committed."""
        if len(self.tasks) > 1:
            document = {"run_id": self.call.run_id, "scored_at": self.call.scored_at.isoformat(), "files": [asdict(file) for file in files]}
            self._storage.publish(f"{self.name}/{number:06d}.json", json.dumps(document).encode(), kind="chunk")
            logger.info("score: chunk %d of %d", number + 1, len(self.tasks))

    def paths(self) -> frozenset[str]:
        """Files, below the target's folder, of all chunks that are kept now."""
        return frozenset(file["path"] for name in self._storage.list(self.name) for file in json.loads(self._storage.read(name))["files"])

    def forget(self) -> None:
        """Keep none: what they hold will never be committed."""
        self._storage.remove(self.name)

    @property
    def _storage(self) -> Storage:
        return self.call.model.published.storage


def _cut(tasks: Sequence[Task], most: int) -> tuple[tuple[Task, ...], ...]:
    """Neighbours together, until the next one would be beyond the limit."""
    parts: list[list[Task]] = [[]]
    rows = 0
    for task in tasks:
        count = sum(piece.rows for piece in task)
        if parts[-1] and rows + count > most:
            parts.append([])
            rows = 0
        parts[-1].append(task)
        rows += count
    return tuple(map(tuple, parts))


def _digest(call: Call, tasks: Sequence[Task], versions: Mapping[str, int]) -> str:
    """Of what decides the rows and how they are cut."""
    pieces = [[(piece.path, piece.groups) for piece in task] for task in tasks]
    decides = {
        "model": call.model.published.digest,
        "scoring_set": [call.scoring_set.table, call.scoring_set.version],
        "target": call.tables.identity(call.settings.target),
        "settings": call.settings.model_dump(mode="json"),
        "key": [call.row_key, call.spine_time],
        "versions": dict(versions),
        "tasks": pieces,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def _found(storage: Storage, name: str, root: Path) -> dict[int, dict[str, Any]]:
    """The kept chunks whose files are there as they were written."""
    chunks = {int(Path(item).stem): json.loads(storage.read(item)) for item in storage.list(name)}
    return {number: chunk for number, chunk in chunks.items() if all(_there(root / file["path"], file["size"]) for file in chunk["files"])}


def _there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
