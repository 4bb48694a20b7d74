"""Mergeable summaries of columns: one pass anywhere, merged anywhere, then a pure function on the driver."""

from __future__ import annotations

from sparkml_ops.summaries.category import CategoryMaker, CategorySummary, FrequentMaker, FrequentValues
from sparkml_ops.summaries.edges import CategoryEdges, ColumnEdges, Edges, NumberEdges, unpack_edges
from sparkml_ops.summaries.layout import BINS, Layout
from sparkml_ops.summaries.moments import CoMoments, CoMomentsMaker, VectorMaker, VectorMoments, Waves
from sparkml_ops.summaries.number import CellMaker, NumberSummary
from sparkml_ops.summaries.prefix import PrefixCounts, PrefixMaker
from sparkml_ops.summaries.state import Maker, Summary, merge_packed, unpack_summary
from sparkml_ops.summaries.values import Kind, Tally, group_labels, kind_of, labels, numbers

__all__ = [
    "BINS",
    "CategoryEdges",
    "CategoryMaker",
    "CategorySummary",
    "CellMaker",
    "CoMoments",
    "CoMomentsMaker",
    "ColumnEdges",
    "Edges",
    "FrequentMaker",
    "FrequentValues",
    "Kind",
    "Layout",
    "Maker",
    "NumberEdges",
    "NumberSummary",
    "PrefixCounts",
    "PrefixMaker",
    "Summary",
    "Tally",
    "VectorMaker",
    "VectorMoments",
    "Waves",
    "group_labels",
    "kind_of",
    "labels",
    "merge_packed",
    "numbers",
    "unpack_edges",
    "unpack_summary",
]
