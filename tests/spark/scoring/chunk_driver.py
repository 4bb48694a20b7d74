"""Scores a window on the JVM of the tests, to be killed at a hook: `chunk_driver.py WAREHOUSE STORAGE ARTIFACT VERSION RUN`."""

from __future__ import annotations

import sys
from pathlib import Path

from running_session import attach
from scoring_rows import SETTINGS, ready, run

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops.records import Snapshot
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER

if __name__ == "__main__":
    warehouse, storage, folder, version, run_id = sys.argv[1:]
    model = ready(Path(folder), Storage(storage), OWN_LOADER, Signature.of_artifact(Path(folder)))
    scoring_set = Snapshot(f"{SETTINGS.target}_scoring_set", int(version))
    run(Tables(attach(), Warehouse(root=warehouse)), model, scoring_set, engine="files", chunk_rows=5, run_id=run_id)
