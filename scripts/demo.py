"""The year of flights: raw tables to a champion, then month by month scores, drift, truth and a decision, in one process and one session.

Each month is played as of its end: what became known later is not used. A second run repeats nothing. Data go to `data/` beside this checkout, or to --data.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Column, Table

from sparkml_ops import logs, release
from sparkml_ops.config.load import load
from sparkml_ops.drift import DriftReport
from sparkml_ops.errors import OpsError
from sparkml_ops.monitoring.year_page import render
from sparkml_ops.monitoring.year_table import year_table
from sparkml_ops.records import ModelVersion, MonitorReport, RetrainDecision, ScoredWindow, TrainingResult, TrainingSet
from sparkml_ops.verbs import build_features, drift, history, monitor, promote, register, retrain, score, train, training_set
from sparkml_ops.verbs.outcome import Outcome
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

ROOT = Path(__file__).resolve().parent.parent
R = TypeVar("R")
YEAR_END, UNTIL = "2014-01-01", "2013-07-01"
MONTHS = tuple(Window.parse(f"2013-{month:02d}") for month in range(7, 13))


@dataclass(frozen=True)
class Step:
    """One line of the table at the end."""

    verb: str
    made: str
    version: str
    rows: str
    seconds: float
    jobs: int
    commits: int
    fresh: bool


def main() -> int:
    """Run every verb and print what each did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="folder for tables, objects, MLflow and reports")
    parser.add_argument("--months", type=int, default=len(MONTHS), help="months to play, from July on")
    parser.add_argument("--set", action="append", default=[], help="key=value over the project's configuration")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    logs.configure(human=True)
    data = arguments.data.absolute()
    places = (f"storage.root={data}/storage", f"warehouse.root={data}/warehouse", f"mlflow.tracking_uri=sqlite:///{data}/mlflow.db")
    started = time.monotonic()
    try:
        with PeakMemory() as memory:
            work = Work(load(ROOT / "conf", "flights", overrides=(*places, *arguments.set)))
            steps = walk(work, arguments.months)
            pages = write_pages(work, data / "reports")
    except OpsError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    show(steps, time.monotonic() - started, memory.peak)
    show_year(work, pages)
    if arguments.json:
        document = {"steps": [asdict(step) for step in steps], "peak_gib": memory.peak, "seconds": time.monotonic() - started}
        arguments.json.write_text(json.dumps(document, indent=1))
    return 0


class Walk:
    """Takes verbs one after the other and remembers what each did."""

    def __init__(self, work: Work) -> None:
        self._work, self.steps = work, list[Step]()

    def take(self, name: str, call: Callable[[], Outcome[R]]) -> R:
        """Run a verb and return its record."""
        before, began = _counts(self._work), time.monotonic()
        done = call()
        after = _counts(self._work)
        made, version, rows = describe(done.record)
        self.steps.append(Step(name, made, version, rows, time.monotonic() - began, after[0] - before[0], after[1] - before[1], done.fresh))
        return done.record


def walk(work: Work, months: int) -> list[Step]:
    """The first champion, judged on July, then the months, each as of its end."""
    path, first = Walk(work), MONTHS[0].end
    path.take("build-features", lambda: build_features.perform(work, as_of=YEAR_END))
    made = path.take("training-set", lambda: training_set.perform(work, until=UNTIL, as_of=first))
    trained = path.take("train", lambda: train.perform(work, training_set=made, as_of=first))
    version = path.take("register", lambda: register.perform(work, result=trained, as_of=first))
    path.take("promote", lambda: first_champion(work, version, first))
    for month in MONTHS[:months]:
        for verb in (score, drift, monitor, retrain):
            name = f"{verb.__name__.rpartition('.')[2]} {month.label}"
            path.take(name, partial(verb.perform, work, window=month.label, as_of=month.end))
    return path.steps


def first_champion(work: Work, version: ModelVersion, as_of: datetime) -> Outcome[ModelVersion]:
    """Promote it, unless it has been champion before: a later champion stays."""
    if any(event.to_version == version.version for event in release.history(work.tables, version.name)):
        return Outcome(version, fresh=False, run_id="", seconds=0.0)
    return promote.perform(work, version=version, as_of=as_of, actor="demo")


def write_pages(work: Work, folder: Path) -> list[Path]:
    """A page of drift for each month and one of the year, from what is stored."""
    folder.mkdir(parents=True, exist_ok=True)
    year, pages = history.months(work), []
    for month in year.months:
        pages.append(folder / f"drift-{month.window}.html")
        drift.perform(work, window=month.window, as_of=month.as_of).record.to_html(pages[-1])
    pages.append(folder / "year.html")
    pages[-1].write_text(render(year), encoding="utf-8")
    return pages


def describe(record: Any) -> tuple[str, str, str]:
    """What a record stands for, its version and its rows."""
    match record:
        case TrainingSet():
            told = record.id, str(record.snapshot.version), f"{record.rows:,}"
        case TrainingResult():
            told = (
                f"run {record.run_id[:8]}, July AUC {record.metrics['evaluation_auc']:.4f}",
                "",
                f"{record.metrics['evaluation_rows']:,.0f}",
            )
        case ModelVersion():
            told = f"model {record.name}", str(record.version), ""
        case ScoredWindow():
            told = f"{record.snapshot.table}, {record.quarantined} quarantined", str(record.snapshot.version), f"{record.rows:,}"
        case DriftReport():
            whole = [column for column in record.columns if column.segment is None]
            drifted = sum(column.verdict == "drift" for column in whole)
            version = "" if record.snapshot is None else str(record.snapshot.version)
            told = f"{drifted} of {len(whole)} columns drift", version, f"{whole[0].current.n:,}"
        case MonitorReport():
            real, guess = (_figure(record.value("auc", kind)) for kind in ("realised", "estimated"))
            told = f"AUC {real}, estimated {guess}", str(record.snapshot.version), f"{record.labelled:,}"
        case RetrainDecision():
            made = f"{record.decision}, version {record.challenger.version}" if record.challenger else record.decision
            told = f"{made}: {record.reason}", "", ""
        case _:
            told = f"{len(record)} feature tables", ", ".join(str(snapshot.version) for snapshot in record), ""
    return told


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def show(steps: list[Step], seconds: float, peak: float) -> None:
    """The table of the verbs."""
    table = Table("verb", Column("what it made", overflow="ellipsis", no_wrap=True, max_width=56), "version", box=None, pad_edge=False)
    for title in ("rows", "seconds", "Spark jobs", "commits"):
        table.add_column(title, justify="right")
    for step in steps:
        made = step.made if step.fresh else f"already done: {step.made}"
        table.add_row(step.verb, made, step.version, step.rows, f"{step.seconds:.1f}", str(step.jobs), str(step.commits))
    console = Console(width=130, highlight=False)
    console.print(table)
    console.print(f"{seconds:.0f} s, {peak:.1f} GiB at the peak in all processes\n")


def show_year(work: Work, pages: list[Path]) -> None:
    """The year as a table, and where its pages lie."""
    console = Console(width=130, highlight=False)
    console.print(year_table(history.months(work)))
    for page in pages:
        console.print(f"report: {page}", soft_wrap=True)


def _counts(work: Work) -> tuple[int, int]:
    """Spark jobs started and Delta commits made so far; neither is counted where there is no session or table yet."""
    session = SparkSession.getActiveSession()
    newest = -1
    if session is not None:
        # Through the JVM: the list that PySpark makes of the ids takes a call for each of a thousand.
        context = session.sparkContext
        ids = context._jsc.statusTracker().getJobIdsForGroup(None)
        newest = context._jvm.java.util.Arrays.stream(ids).max().orElse(-1)
    root = Path(work.sections.warehouse.root or "")
    commits = sum(1 for path in root.glob("*/_delta_log/*.json") if path.stem.isdigit())
    return newest + 1, commits


class PeakMemory:
    """Largest proportional share of memory of this process and all below it, in GiB, sampled once a second."""

    def __enter__(self) -> PeakMemory:
        self.peak, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._done.wait(1):
            processes = (own, *own.children(recursive=True))
            # A share is no more than what is resident. To tell it, the kernel walks all pages: not where it cannot be a new peak.
            if sum(_bytes(process, _resident) for process in processes) > self.peak * 2**30:
                self.peak = max(self.peak, sum(_bytes(process, _share) for process in processes) / 2**30)


def _bytes(process: psutil.Process, measure: Callable[[psutil.Process], int]) -> int:
    try:
        return measure(process)
    except psutil.Error:
        return 0  # it ended between the listing and the reading


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _share(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.uss))


if __name__ == "__main__":
    raise SystemExit(main())
