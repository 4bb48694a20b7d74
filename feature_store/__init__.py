"""Feature tables on Delta: declared once, point-in-time exact, and training sets that can be proved.

>>> import feature_store as fs
>>> fs.Feature("delay", "double", unit="min").type
'double'
"""

from __future__ import annotations

from feature_store.aggregate import Aggregate
from feature_store.consumers import Consumer
from feature_store.erasure import ErasureReport
from feature_store.errors import ConflictError, ContractError, ErasedError, OpsError, TableNotFound
from feature_store.incremental import RefreshPlan
from feature_store.leakage import LeakageReport
from feature_store.lineage import Lineage
from feature_store.lookup import Lookup
from feature_store.maintenance import Policy, TableUpkeep
from feature_store.point_in_time import JoinPlan, JoinStatistics, explain_join, join_statistics, point_in_time_join
from feature_store.quality import Expectation, QualityReport
from feature_store.records import Snapshot, TrainingSet, TrainingSetState
from feature_store.row_function import RowFunction, apply_functions
from feature_store.split import Split
from feature_store.store import FeatureStore
from feature_store.table import Feature, FeatureTable
from feature_store.transform import Derived
from feature_store.windows import windows_at, windows_every

__all__ = [
    "Aggregate",
    "ConflictError",
    "Consumer",
    "ContractError",
    "Derived",
    "ErasedError",
    "ErasureReport",
    "Expectation",
    "Feature",
    "FeatureStore",
    "FeatureTable",
    "JoinPlan",
    "JoinStatistics",
    "LeakageReport",
    "Lineage",
    "Lookup",
    "OpsError",
    "Policy",
    "QualityReport",
    "RefreshPlan",
    "RowFunction",
    "Snapshot",
    "Split",
    "TableNotFound",
    "TableUpkeep",
    "TrainingSet",
    "TrainingSetState",
    "apply_functions",
    "explain_join",
    "join_statistics",
    "point_in_time_join",
    "windows_at",
    "windows_every",
]
