"""Reading and writing of Delta tables: the only package that does either.

`log` reads a table's log and its rows, `files` and `folder` what lies in its folder, `tables` writes, `upkeep` rewrites and vacuums,
`purge` removes for good, `placed` commits files that tasks have written.
"""

from __future__ import annotations

from feature_store.delta.commits import Commit, Transaction
from feature_store.delta.files import LiveFile, TableFiles, table_names
from feature_store.delta.folder import LeftFile, left_files
from feature_store.delta.log import FORMAT_VERSION
from feature_store.delta.placed import PlacedFile, folder_of, refusal_of, remove_left
from feature_store.delta.purge import Purge
from feature_store.delta.tables import Tables
from feature_store.delta.upkeep import Upkeep

__all__ = [
    "FORMAT_VERSION",
    "Commit",
    "LeftFile",
    "LiveFile",
    "PlacedFile",
    "Purge",
    "TableFiles",
    "Tables",
    "Transaction",
    "Upkeep",
    "folder_of",
    "left_files",
    "refusal_of",
    "remove_left",
    "table_names",
]
