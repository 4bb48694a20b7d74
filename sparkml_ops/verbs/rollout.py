"""Canary and shadows: other versions on the rows that the champion has scored, after its commit, so that nothing of theirs can touch it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from feature_store.duration import parse_duration
from sparkml_ops import scoring
from sparkml_ops.errors import ContractError, first_line
from sparkml_ops.interruption import Interruptible
from sparkml_ops.logs import logger
from sparkml_ops.records import ScoredWindow
from sparkml_ops.verbs.work import Work

__all__ = ["arms_of", "beside", "ended_after"]

_LONGEST = 300


def beside(work: Work, what: str, which: str, champion: ScoredWindow, score: Callable[[Work, int], object]) -> None:
    """Score with another version; whatever becomes of it, the champion's rows have been committed, so a fault is told and goes no further.

    Args:
        what: For the log.
        which: `newest`, a number, or an alias.
        champion: What the champion has scored.
        score: Called with resources whose Spark jobs end when they take too long, and with the version.
    """
    try:
        version = _version(work, which, champion.model.version)
        if version is not None:
            with ended_after(work.spark, work.sections.rollout.timeout) as spark:
                score(Work(work.config, spark), version)
    except Exception as error:
        logger.warning("%s failed, the champion's predictions stand: %s", what, first_line(error)[:_LONGEST], exc_info=error)


def arms_of(work: Work, champion: int) -> scoring.Arms | None:
    """The arms to which the champion's rows are dealt now; None where no other version is there.

    Args:
        champion: Its version.
    """
    canary = work.sections.rollout.canary
    if canary is None or _version(work, canary.version, champion) is None:
        return None
    return scoring.Arms(canary.slot, canary.entity, canary.salt, canary.share)


@contextmanager
def ended_after(spark: SparkSession, limit: str | None) -> Iterator[SparkSession]:
    """A session whose jobs are ended when they take too long."""
    jobs = Interruptible(spark, f"sparkml-ops-rollout-{uuid.uuid4().hex}")
    if limit is None:
        yield spark
        return
    timer = threading.Timer(parse_duration(limit).total_seconds(), jobs.end)
    timer.daemon = True
    timer.start()
    try:
        with jobs.jobs() as session:
            yield session
    finally:
        timer.cancel()


def _version(work: Work, which: str, champion: int) -> int | None:
    """The number of another version; None where there is nothing to score: no such version yet, or the champion itself.

    Args:
        which: `newest`, a number, or an alias.
        champion: The version that scored the window.
    """
    name = work.sections.release.model
    if which == "newest":
        ours = [listed.version for listed in work.tracking.versions(name) if listed.registered is not None]
        found = max(ours, default=champion)
    else:
        try:
            found = work.tracking.resolve(name, which).version
        except ContractError as error:
            logger.info("rollout: %s", error.found)
            return None
    return None if found == champion else found
