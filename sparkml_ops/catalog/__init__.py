"""The catalog of features: what there is, how its values lie, how fresh it is and who uses it."""

from __future__ import annotations

from sparkml_ops.catalog.distribution import Distribution, distribution_of
from sparkml_ops.catalog.entry import Catalog, FeatureEntry, TableEntry, Users

__all__ = ["Catalog", "Distribution", "FeatureEntry", "TableEntry", "Users", "distribution_of"]
