"""Refresh of a feature table by what changed in its source: the keys and times that a change touches, and no others.

`plan` decides, `changes` finds the rows of the source that differ, `region` the part of the table that they touch,
`update` computes that part again and merges it in one commit, `stream` does so as the source grows.
"""

from __future__ import annotations

from feature_store.incremental.plan import RefreshPlan

__all__ = ["RefreshPlan"]
