"""Objects under storage.root: whole, listed, inside the root; a folder and an object store alike."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.storage import Storage


@pytest.fixture(params=["folder", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "root") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/root")


def test_what_is_published_is_read(storage: Storage) -> None:
    """An object is put whole, and again."""
    storage.publish("a/b.bin", b"one", kind="test")
    storage.publish("a/b.bin", b"two", kind="test")

    assert storage.read("a/b.bin") == b"two"
    assert storage.exists("a/b.bin")
    assert not storage.exists("a/c.bin")


def test_the_list_is_sorted_and_relative_to_the_root(storage: Storage) -> None:
    """Names, not addresses; nothing under a prefix is an empty list."""
    for name in ("runs/2", "runs/10", "runs/1/x", "other"):
        storage.publish(name, b"", kind="test")

    assert storage.list("runs") == ["runs/1/x", "runs/10", "runs/2"]
    assert storage.list("nothing") == []


def test_files_go_there_and_back(storage: Storage, tmp_path: Path) -> None:
    """A local file and an object are copies of each other."""
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(bytes(range(256)))
    storage.publish_file("x", source, kind="test")
    storage.fetch("x", target)

    assert target.read_bytes() == source.read_bytes()


def test_removing_is_by_prefix_and_forgives_what_is_not_there(storage: Storage) -> None:
    """A group goes at once."""
    storage.publish("a/1", b"", kind="test")
    storage.publish("b/1", b"", kind="test")
    storage.remove("a")
    storage.remove("never")

    assert storage.list("a") == []
    assert storage.list("b") == ["b/1"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a/../../b", ".."])
def test_a_name_cannot_leave_the_root(storage: Storage, name: str) -> None:
    """Ids come from outside now and then."""
    with pytest.raises(ContractError, match="relative name"):
        storage.publish(name, b"", kind="test")
