"""The first path on real flights: raw tables to champion, scores and drift, in one process and one session.

A second run repeats nothing. Data go to `data/` beside this checkout, or to --data.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from sparkml_ops import logs
from sparkml_ops.config.load import load
from sparkml_ops.errors import OpsError
from sparkml_ops.records import to_document
from sparkml_ops.verbs import build_features, drift, promote, register, score, train, training_set
from sparkml_ops.verbs.outcome import Outcome
from sparkml_ops.verbs.work import Work

ROOT = Path(__file__).resolve().parent.parent
UNTIL, AS_OF, WINDOWS = "2013-07-01", "2013-09-04", ("2013-07", "2013-08")


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
            steps, reports = walk(work, data / "reports")
    except OpsError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    show(steps, reports, time.monotonic() - started, memory.peak)
    if arguments.json:
        document = {"steps": [asdict(step) for step in steps], "peak_gib": memory.peak, "seconds": time.monotonic() - started}
        arguments.json.write_text(json.dumps(document, indent=1))
    return 0


def walk(work: Work, reports: Path) -> tuple[list[Step], list[Path]]:
    """Each verb once, in the order of the path."""
    reports.mkdir(parents=True, exist_ok=True)
    calls: list[tuple[str, Callable[[], Outcome[Any]]]] = [
        ("build-features", lambda: build_features.perform(work, as_of=AS_OF)),
        ("training-set", lambda: training_set.perform(work, until=UNTIL, as_of=AS_OF)),
        ("train", lambda: train.perform(work, as_of=AS_OF)),
        ("register", lambda: register.perform(work, as_of=AS_OF)),
        ("promote", lambda: promote.perform(work, as_of=AS_OF, actor="demo")),
        *((f"score {window}", lambda window=window: score.perform(work, window=window, as_of=AS_OF)) for window in WINDOWS),
        *((f"drift {window}", lambda window=window: drift.perform(work, window=window, as_of=AS_OF)) for window in WINDOWS),
    ]
    steps, pages = [], []
    for name, call in calls:
        before, began = _counts(work), time.monotonic()
        done = call()
        after = _counts(work)
        made, version, rows = describe(name, done.record)
        steps.append(Step(name, made, version, rows, time.monotonic() - began, after[0] - before[0], after[1] - before[1], done.fresh))
        if name.startswith("drift"):
            pages.append(reports / f"{name.replace(' ', '-')}.html")
            done.record.to_html(pages[-1])
    return steps, pages


def describe(verb: str, record: Any) -> tuple[str, str, str]:
    """What a record stands for, its version and its rows."""
    document = to_document(record)
    if isinstance(document, list):
        return f"{len(document)} feature tables", ", ".join(str(item["version"]) for item in document), ""
    if verb == "training-set":
        return document["id"], str(document["snapshot"]["version"]), f"{document['rows']:,}"
    if verb == "train":
        metrics = document["metrics"]
        return f"run {document['run_id'][:8]}, July AUC {metrics['evaluation_auc']:.4f}", "", f"{metrics['evaluation_rows']:,.0f}"
    if verb in ("register", "promote"):
        return f"model {document['name']}", str(document["version"]), ""
    if verb.startswith("score"):
        return (
            f"{document['snapshot']['table']}, {document['quarantined']} quarantined",
            str(document["snapshot"]["version"]),
            f"{document['rows']:,}",
        )
    drifted = [name for name, column in document["columns"].items() if column["verdict"] == "drift"]
    made = f"{len(drifted)} of {len(document['columns'])} columns drift"
    return made, str(document["snapshot"]["version"]), f"{record.columns[0].current.n:,}"


def show(steps: list[Step], reports: list[Path], seconds: float, peak: float) -> None:
    """The table of the run, and where the reports lie."""
    table = Table("verb", "what it made", "version", box=None, pad_edge=False)
    for title in ("rows", "seconds", "Spark jobs", "commits"):
        table.add_column(title, justify="right")
    for step in steps:
        made = step.made if step.fresh else f"already done: {step.made}"
        table.add_row(step.verb, made, step.version, step.rows, f"{step.seconds:.1f}", str(step.jobs), str(step.commits))
    console = Console(width=130, highlight=False)
    console.print(table)
    console.print(f"{seconds:.0f} s, {peak:.1f} GiB at the peak in all processes")
    for report in reports:
        console.print(f"drift report: {report}", soft_wrap=True)


def _counts(work: Work) -> tuple[int, int]:
    """Spark jobs started and Delta commits made so far; neither is counted where there is no session or table yet."""
    session = SparkSession.getActiveSession()
    jobs = session.sparkContext.statusTracker().getJobIdsForGroup(None) if session else ()
    root = Path(work.sections.warehouse.root or "")
    commits = sum(1 for path in root.glob("*/_delta_log/*.json") if path.stem.isdigit())
    return max((*jobs, -1)) + 1, commits


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
            self.peak = max(self.peak, sum(_share(process) for process in (own, *own.children(recursive=True))) / 2**30)


def _share(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0  # it ended between the listing and the reading
    return int(getattr(full, "pss", full.uss))


if __name__ == "__main__":
    raise SystemExit(main())
