"""Shadows: other versions on the rows that the champion has scored, after its commit, so that nothing of theirs can touch it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from feature_store.duration import parse_duration
from sparkml_ops.errors import ContractError
from sparkml_ops.interruption import Interruptible
from sparkml_ops.logs import logger
from sparkml_ops.verbs.work import Work

__all__ = ["ended_after", "version_of"]


def version_of(work: Work, which: str, champion: int) -> int | None:
    """The number of a shadow's version; None where there is nothing to score: no such version yet, or the champion itself.

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
            logger.info("shadow: %s", error.found)
            return None
    return None if found == champion else found


@contextmanager
def ended_after(spark: SparkSession, limit: str | None) -> Iterator[SparkSession]:
    """A session whose jobs are ended when they take too long."""
    jobs = Interruptible(spark, f"sparkml-ops-shadow-{uuid.uuid4().hex}")
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
