"""Jobs that another thread can end, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a rank imports this module, and no Spark
    from pyspark.sql import SparkSession

__all__ = ["Interruptible"]


class Interruptible:
    """A session for jobs that may have to be ended.

    Outside Spark Connect a tag is known to the thread alone that set it, so there the jobs get a session of their own, all of whose
    jobs are ended; a client of Spark Connect has one session, in which the jobs carry a tag.

    Args:
        spark: The session of all other jobs.
        tag: Of these.
    """

    def __init__(self, spark: SparkSession, tag: str) -> None:
        self._classic, self._tag = hasattr(spark, "newSession"), tag
        self.spark: SparkSession = spark.newSession() if self._classic else spark

    @contextmanager
    def jobs(self) -> Iterator[SparkSession]:
        """The session for this thread's jobs."""
        if self._classic:
            yield self.spark
            return
        self.spark.addTag(self._tag)
        try:
            yield self.spark
        finally:
            self.spark.removeTag(self._tag)

    def end(self) -> None:
        """End the jobs that run now; one that Spark holds back until the cluster has slots for it goes on waiting."""
        self.spark.interruptAll() if self._classic else self.spark.interruptTag(self._tag)
