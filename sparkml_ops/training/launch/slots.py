"""Spark's slots: how many a session has, and what it says when they are too few for a barrier stage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparkml_ops.errors import ConfigurationError, OpsError
from sparkml_ops.training.launch.errors import RankFailed, StartTimeout

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["Slots", "gist"]


@dataclass(frozen=True)
class Slots:
    """What is known of a session's slots.

    Args:
        master: Spark's master.
        total: Slots in all, free or not; None where the master does not say.
        dynamic: Whether executors come and go (`spark.dynamicAllocation.enabled`, which a local master ignores).

    >>> Slots.of_master("local[4]", cores_of_a_task=2)
    Slots(master='local[4]', total=2, dynamic=False)
    >>> Slots.of_master("spark://host:7077").total is None
    True
    """

    master: str
    total: int | None
    dynamic: bool = False

    @classmethod
    def of(cls, spark: SparkSession) -> Slots:
        """The slots of a session."""
        dynamic = spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true"
        return cls.of_master(spark.conf.get("spark.master", "") or "", int(spark.conf.get("spark.task.cpus", "1") or 1), dynamic=dynamic)

    @classmethod
    def of_master(cls, master: str, cores_of_a_task: int = 1, *, dynamic: bool = False) -> Slots:
        """The slots of a local master, by its name."""
        match = re.fullmatch(r"local(?:\[(\d+)(?:,\s*\d+)?\])?", master)
        total = int(match[1] or 1) // cores_of_a_task if match else None
        return cls(master, total, dynamic and master != "local" and not master.startswith("local["))

    def refuse_unfit(self, needed: int) -> None:
        """Say at once what Spark says later: of too few slots after looking again forty times, every 15 seconds.

        Raises:
            ConfigurationError: Executors come and go: Spark 4.2 runs no barrier stage then (SPARK-24942).
            StartTimeout: The session has fewer slots in all than are needed.
        """
        if self.dynamic:
            raise _no_barrier_stage()
        if self.total is not None and self.total < needed:
            raise self.too_few(f"{self.total} slots in total", needed)

    def too_few(self, found: str, needed: int) -> StartTimeout:
        """The error of ranks that did not meet."""
        known = f"; {self.master} has {self.total} in total" if self.total is not None else f" on {self.master}"
        return StartTimeout(
            found,
            expected=f"{needed} free slots at once, one for each of training.workers={needed}{known}",
            mend="wait for other jobs, add executors or lower training.workers; if slots are free, raise training.start_timeout "
            "and see that the executors reach storage.root",
        )

    def refusal(self, text: str, needed: int) -> OpsError | None:
        """What Spark's error says about barrier stages or the executors; None for the loss of a stage, which another attempt may mend."""
        if "SPARK-24819" in text:
            return self.too_few("too few slots in the cluster for a barrier stage", needed)
        if "dynamic resource allocation" in text:  # SPARK-24942
            return _no_barrier_stage()
        if "ModuleNotFoundError" in text or "ImportError" in text:
            return RankFailed(
                "executors that cannot import sparkml_ops or its libraries",
                mend="install sparkml-ops[executor] on every executor, and name its Python in PYSPARK_PYTHON",
                type="ImportError",
                message=gist(text),
                traceback=text,
            )
        return None


def _no_barrier_stage() -> ConfigurationError:
    return ConfigurationError(
        "spark.dynamicAllocation.enabled=true",
        expected="false: Spark runs no barrier stage with it, and ranks are one",
        mend="train in a session of its own with a fixed number of executors (spark.executor.instances), or with training.backend=local",
    )


def gist(text: str) -> str:
    r"""The line of a Java stack trace that says most: py4j puts one that says nothing before it.

    >>> gist("An error occurred while calling o1.collect.\n: org.SparkException: lost\n\tat org.Stage")
    ': org.SparkException: lost'
    """
    lines = text.splitlines() or [""]
    wanted = ("ModuleNotFoundError: ", "ImportError: ", "Exception: ")
    return next((line for want in wanted for line in lines if want in line), lines[0])[:300]
