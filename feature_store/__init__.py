"""Feature tables on Delta: declared once, point-in-time exact, and training sets that can be proved.

>>> import feature_store as fs
>>> fs.Feature("delay", "double", unit="min").type
'double'
"""

from __future__ import annotations

from feature_store.aggregate import Aggregate
from feature_store.errors import ConflictError, ContractError, OpsError, TableNotFound
from feature_store.incremental import RefreshPlan
from feature_store.lookup import Lookup
from feature_store.point_in_time import point_in_time_join
from feature_store.records import Snapshot, TrainingSet
from feature_store.split import Split
from feature_store.store import FeatureStore
from feature_store.table import Feature, FeatureTable
from feature_store.transform import Derived
from feature_store.windows import windows_at, windows_every

__all__ = [
    "Aggregate",
    "ConflictError",
    "ContractError",
    "Derived",
    "Feature",
    "FeatureStore",
    "FeatureTable",
    "Lookup",
    "OpsError",
    "RefreshPlan",
    "Snapshot",
    "Split",
    "TableNotFound",
    "TrainingSet",
    "point_in_time_join",
    "windows_at",
    "windows_every",
]
