"""Feature tables on Delta: declared once, point-in-time exact, and training sets that can be proved.

Names are imported when they are first used: a rank of a training and a Python worker that scores need a few modules of this package,
and neither Spark's classes nor the parser of SQL.

>>> import feature_store as fs
>>> fs.Feature("delay", "double", unit="min").type
'double'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "Aggregate": "aggregate",
    "ConflictError": "errors",
    "Consumer": "consumers",
    "ContractError": "errors",
    "Derived": "transform",
    "ErasedError": "errors",
    "ErasureReport": "erasure",
    "Expectation": "quality",
    "Feature": "table",
    "FeatureStore": "store",
    "FeatureTable": "table",
    "JoinPlan": "point_in_time",
    "JoinStatistics": "point_in_time",
    "LeakageReport": "leakage",
    "Lineage": "lineage",
    "Lookup": "lookup",
    "OpsError": "errors",
    "Policy": "maintenance",
    "QualityReport": "quality",
    "RefreshPlan": "incremental",
    "RowFunction": "row_function",
    "Snapshot": "records",
    "Split": "split",
    "TableNotFound": "errors",
    "TableUpkeep": "maintenance",
    "TrainingSet": "records",
    "TrainingSetState": "records",
    "apply_functions": "row_function",
    "explain_join": "point_in_time",
    "join_statistics": "point_in_time",
    "point_in_time_join": "point_in_time",
    "windows_at": "windows",
    "windows_every": "windows",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
