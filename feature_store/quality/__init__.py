"""What is expected of a feature table's rows: declared, judged in one pass, bad rows kept apart.

`expectation` is what a team declares, `tally` the pass, `verdicts` the judgement, `quarantine` where bad rows go,
and `checked` the whole way of a write.
"""

from __future__ import annotations

from feature_store.quality.expectation import Expectation
from feature_store.quality.report import ColumnProfile, QualityReport, Verdict

__all__ = ["ColumnProfile", "Expectation", "QualityReport", "Verdict"]
