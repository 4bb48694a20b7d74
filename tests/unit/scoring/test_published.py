"""A model's files on their way to the executors."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.published import PublishedModel, publish
from sparkml_ops.scoring.signature import Field
from sparkml_ops.storage import Storage

FILES = {"model.json": b"{}", "weights/a.bin": b"\x00\x01"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "source"


def model(root: str, digest: str = "d1") -> PublishedModel:
    hashes = tuple((name, hashlib.sha256(data).hexdigest()) for name, data in FILES.items())
    return PublishedModel(Storage(root), digest, "loader", hashes, (Field("x", "double"),), (Field("y", "double"),))


def test_storage_that_is_a_folder_is_read_where_it_is(tmp_path: Path, source: Path) -> None:
    """No copy is made of files that every worker can read already."""
    published = model(str(tmp_path / "storage"))

    publish(published, source)

    assert published.local_folder() == tmp_path / "storage" / "models" / "d1"
    assert (published.local_folder() / "weights/a.bin").read_bytes() == FILES["weights/a.bin"]


def test_files_that_are_there_whole_are_not_published_again(tmp_path: Path, source: Path) -> None:
    """A repeat writes nothing; a damaged file is replaced."""
    published = model(str(tmp_path / "storage"))
    publish(published, source)
    good, bad = (Path(published.storage.path(published.name(name))) for name in FILES)
    bad.write_bytes(b"damaged")
    before = good.stat().st_mtime_ns

    publish(published, source)

    assert good.stat().st_mtime_ns == before
    assert bad.read_bytes() == FILES["weights/a.bin"]


def test_a_changed_file_is_never_loaded(tmp_path: Path, source: Path) -> None:
    """Workers compare each file with the hash that the registry vouched for."""
    published = model(str(tmp_path / "storage"))
    publish(published, source)
    Path(published.storage.path(published.name("model.json"))).write_bytes(b"[]")

    with pytest.raises(ContractError, match=r"model.json with SHA-256 .* remove models/d1"):
        published.local_folder()


def test_remote_files_are_fetched_once_whoever_asks(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker of a machine copies, the others wait for it and read the same folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    published = model("memory://scoring/storage", "d2")
    publish(published, source)

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: published.local_folder(), range(4)))
    fsspec.filesystem("memory").rm("/scoring", recursive=True)

    assert len(set(folders)) == 1
    assert published.local_folder() == folders[0]
    assert sorted(path.relative_to(folders[0]).as_posix() for path in folders[0].rglob("*") if path.is_file()) == sorted(FILES)


def test_it_travels_to_workers_and_is_a_key_there(tmp_path: Path) -> None:
    """Pickled with a task, hashed by the worker's cache: equal ones are one model."""
    published = model(str(tmp_path))

    travelled = pickle.loads(pickle.dumps(published))

    assert travelled == published
    assert hash(travelled) == hash(published)
    assert travelled != dataclasses.replace(published, digest="d3")
