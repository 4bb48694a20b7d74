"""Columns looked at together, as rows of `drift_metrics`: correlations, main directions, a domain classifier, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame

from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.classifier import tell_apart
from sparkml_ops.drift.embedding import compare_embeddings
from sparkml_ops.drift.inference import Verdict
from sparkml_ops.drift.joint import JointDrift, compare_jointly
from sparkml_ops.drift.source import Source
from sparkml_ops.summaries import Edges, kind_of
from sparkml_ops.summaries.views import view_of

__all__ = ["TOGETHER", "together_rows"]

#: What stands in the column `column` where a statistic is about all of them.
TOGETHER = "(together)"
_FEWEST = 2


def together_rows(
    sides: tuple[Source, Source], frames: Callable[[], tuple[DataFrame, DataFrame]], types: Mapping[str, str], edges: Edges, settings: DriftSection
) -> list[dict[str, Any]]:
    """What `drift.together` asks for, one row a statistic; nothing by default.

    Args:
        sides: Reference and current rows.
        frames: Makes the same as frames, for the classifier.
        types: Of the columns that are compared.
        edges: Of these columns.
        settings: `drift`.

    Raises:
        ContractError: A column of embeddings is missing or holds no vectors.
    """
    asked, rows = settings.together, list[dict[str, Any]]()
    plain = [name for name in types if view_of(name) is None]
    numbers = [name for name in plain if kind_of(types[name]) == "number"]
    if asked.correlations is not None and len(numbers) >= _FEWEST:
        joint = compare_jointly(*sides, numbers, threshold=asked.correlations, edges=edges, settings=settings)
        rows += _of_joint(joint, asked.pairs, settings.level)
    if asked.classifier is not None and plain:
        found = tell_apart(*frames(), plain, threshold=asked.classifier, settings=settings)
        said = f"trees on {found.n + found.m} of {sum(found.rows)} rows"
        rows.append(
            _row(TOGETHER, "classifier_auc", found.auc, (found.n, found.m), said, (found.lower, found.upper), found.p, found.threshold, found.verdict)
        )
    for column, dimension in asked.embeddings.items():
        rows += _of_embedding(column, dimension, sides, settings)
    return rows


def _of_joint(joint: JointDrift, most: int, level: float) -> Iterator[dict[str, Any]]:
    """The pairs whose correlation moved most, and what the reference's directions miss of the current rows, over what they miss of its own."""
    for pair in joint.pairs[:most]:
        known = pair.reference is not None and pair.current is not None
        value = abs(pair.change) if known else None
        column, sizes = f"{pair.first} ~ {pair.second}", (pair.n, pair.m)
        yield _row(column, "correlation", value, sizes, "normal", pair.interval(level), pair.p, pair.threshold, pair.verdict, q=pair.q)
    if joint.reconstruction is not None and joint.reconstruction[0] > 0:
        n, m = (min(getattr(pair, side) for pair in joint.pairs) for side in ("n", "m"))
        ratio = joint.reconstruction[1] / joint.reconstruction[0]
        yield _row(TOGETHER, "reconstruction_ratio", ratio, (n, m), f"{joint.components} of {len(joint.columns)} directions")


def _of_embedding(column: str, dimension: int, sides: tuple[Source, Source], settings: DriftSection) -> Iterator[dict[str, Any]]:
    found = compare_embeddings(*sides, column, dimension, threshold=settings.together.mmd, settings=settings)
    sizes = found.n, found.m
    yield _row(column, "mmd", found.mmd, sizes, "random features", (None, None), found.p, found.threshold, found.verdict)
    yield _row(column, "mean_shift", found.shift, sizes, "in spreads of the reference")
    yield _row(column, "covariance_shift", found.covariance, sizes, "share of the reference's norm")


def _row(
    column: str,
    statistic: str,
    value: float | None,
    sizes: tuple[int, int],
    method: str,
    interval: tuple[float | None, float | None] = (None, None),
    p: float | None = None,
    threshold: float | None = None,
    verdict: Verdict | None = None,
    *,
    q: float | None = None,
) -> dict[str, Any]:
    """A row as `DriftReport.rows` has them; a test that stands alone is its own family, so that its q is its p."""
    ends = dict(zip(("lower", "upper"), interval, strict=True))
    judged = {"p": p, "q": p if q is None else q, "threshold": threshold, "method": method, "verdict": verdict}
    return {"segment": None, "column": column, "statistic": statistic, "value": value, **ends, "n": sizes[0], "m": sizes[1], **judged}
