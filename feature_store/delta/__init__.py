"""Reading and writing of Delta tables: the only package that does either.

`log` reads a table's log and its rows, `files` and `folder` what lies in its folder, `tables` writes, `upkeep` rewrites and vacuums,
`purge` removes for good.
"""

from __future__ import annotations

from feature_store.delta.commits import Commit, Transaction
from feature_store.delta.files import LiveFile, TableFiles, table_names
from feature_store.delta.folder import LeftFile, left_files
from feature_store.delta.log import FORMAT_VERSION
from feature_store.delta.purge import Purge
from feature_store.delta.tables import Tables
from feature_store.delta.upkeep import Upkeep

__all__ = ["FORMAT_VERSION", "Commit", "LeftFile", "LiveFile", "Purge", "TableFiles", "Tables", "Transaction", "Upkeep", "left_files", "table_names"]
