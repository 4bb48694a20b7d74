"""The file list of a snapshot, without a JVM."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import Snapshot
from feature_store.scan import plan_scan


def test_files_are_found_whatever_a_partition_is_called(tmp_path: Path) -> None:
    """Colons, spaces, percent signs and other letters are escaped twice in the log, once in the folder."""
    values = ["a:b", "a b", "a%b", "ü", "2013-07"]
    deltalake.write_deltalake(str(tmp_path / "scores"), pa.table({"part": values, "x": range(5)}), partition_by=["part"])

    def no_session() -> None:
        raise AssertionError("a session was asked for")

    scan = plan_scan(Tables(no_session, Warehouse(root=str(tmp_path))), Snapshot("scores", 0))  # type: ignore[arg-type]

    assert scan is not None
    assert sorted(str(file.partition["part"]) for file in scan.files) == sorted(values)
    assert all(Path(file.path).is_file() for file in scan.files)
