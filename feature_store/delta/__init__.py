"""Reading and writing of Delta tables: the only package that does either.

`log` reads a table's log and its rows, `tables` writes, `folder` lists what lies in a table's folder, `purge` removes for good.
"""

from __future__ import annotations

from feature_store.delta.commits import Commit, Transaction
from feature_store.delta.folder import LeftFile, left_files, table_names
from feature_store.delta.log import FORMAT_VERSION
from feature_store.delta.purge import Purge
from feature_store.delta.tables import Tables

__all__ = ["FORMAT_VERSION", "Commit", "LeftFile", "Purge", "Tables", "Transaction", "left_files", "table_names"]
