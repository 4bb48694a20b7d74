"""Erasure: an entity goes from every table of a warehouse, with a proof, and does not come back."""

from __future__ import annotations

from feature_store.erasure.forgotten import without_forgotten
from feature_store.erasure.report import ErasureReport

__all__ = ["ErasureReport", "without_forgotten"]
