"""`metrics`: how a project stands, as numbers for Prometheus; reads small tables without Spark and writes none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from sparkml_ops import alerts, clock, monitoring, release
from sparkml_ops.drift.measure import METRICS_TABLE
from sparkml_ops.monitoring.exposition import Metric
from sparkml_ops.verbs.finished import Finished
from sparkml_ops.verbs.status import output_tables
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window, instant

__all__ = ["collect"]


def collect(work: Work, *, as_of: datetime | str | None = None) -> tuple[Metric, ...]:
    """Every metric that has a value.

    Args:
        as_of: Runs and measurements with a later clock do not count.
    """
    now = clock.resolve(as_of)
    work.check()
    finished = Finished(work, now)
    return (
        Metric("sparkml_metrics_written_timestamp_seconds", clock.wall().timestamp()),
        *_tables(work, finished, now),
        *_champion(work, now),
        *_scored(work, finished),
        *_drift(work, finished),
        *_performance(work, now),
        *_runs(work, now),
        *_alerts(work),
    )


def _tables(work: Work, finished: Finished, now: datetime) -> Iterator[Metric]:
    for table in output_tables(work, finished, now):
        labels = {"table": table.table, "holds": table.holds}
        if table.age is not None:
            yield Metric("sparkml_table_newest_timestamp_seconds", now.timestamp() - table.age, labels)
        if table.freshness is not None:
            yield Metric("sparkml_table_promise_seconds", table.freshness, labels)


def _champion(work: Work, now: datetime) -> Iterator[Metric]:
    model = work.sections.release.model
    version = release.champion_at(work.tables, model, now)
    if version is not None:
        yield Metric("sparkml_champion_version", version, {"model": model})


def _scored(work: Work, finished: Finished) -> Iterator[Metric]:
    if (newest := finished.newest_window("score")) is not None:
        model, rows, aside = {"model": work.sections.release.model}, int(newest.record["rows"]), int(newest.record["quarantined"])
        yield Metric("sparkml_window_rows", rows, model)
        yield Metric("sparkml_window_quarantine_ratio", aside / max(rows + aside, 1), model)


def _drift(work: Work, finished: Finished) -> Iterator[Metric]:
    newest, model = finished.newest_window("drift"), {"model": work.sections.release.model}
    if newest is None:
        return
    verdicts = Counter(column["verdict"] for column in newest.record["columns"].values())
    for verdict in ("drift", "fault", "no drift", "undecided"):
        yield Metric("sparkml_drift_columns", verdicts[verdict], {**model, "verdict": verdict})
    if not work.sections.metrics.columns or not work.tables.exists(METRICS_TABLE):
        return
    rows = work.tables.rows(METRICS_TABLE, {"project": work.config.project, "window": newest.key.window, "slot": release.CHAMPION})
    whole = [row for row in rows if row["run_id"] == newest.run_id and row["segment"] is None and row["value"] is not None and row["threshold"]]
    for column in work.sections.metrics.columns:
        effects = [row["value"] / row["threshold"] for row in whole if row["column"] == column]
        if effects:
            yield Metric("sparkml_drift_effect_ratio", max(effects), {**model, "column": column})


def _performance(work: Work, now: datetime) -> Iterator[Metric]:
    rows = monitoring.performance(work.tables, work.config.project, target=work.sections.scoring.target, as_of=now)
    newest = {}
    for row in sorted(rows, key=lambda row: Window.parse(row["window"]).end):
        if row["value"] is not None and (row["segment"] is None or row["segment"] in work.sections.metrics.segments):
            newest[row["metric"], row["kind"], row["segment"]] = row
    for (metric, kind, segment), row in newest.items():
        labels = {"model": row["model"], "metric": metric, "kind": kind, "segment": segment or ""}
        yield Metric("sparkml_performance", row["value"], labels)
        yield Metric("sparkml_performance_window_end_timestamp_seconds", Window.parse(row["window"]).end.timestamp(), labels)
        for end in ("lower", "upper"):
            if row[end] is not None:
                yield Metric(f"sparkml_performance_{end}", row[end], labels)


def _runs(work: Work, now: datetime) -> Iterator[Metric]:
    newest = {run.key.verb: run for run in work.ledger.runs({"project": work.config.project}) if run.as_of <= now}
    for verb, run in sorted(newest.items()):
        yield Metric("sparkml_run_finished_timestamp_seconds", instant(run.finished_at).timestamp(), {"verb": verb})
        yield Metric("sparkml_run_seconds", run.seconds, {"verb": verb})
        if run.cost is not None:
            yield Metric("sparkml_run_cpu_seconds", run.cost.cpu_seconds, {"verb": verb})
            yield Metric("sparkml_run_peak_bytes", run.cost.peak_bytes, {"verb": verb})
            if run.cost.queue_seconds is not None:
                yield Metric("sparkml_run_queue_seconds", run.cost.queue_seconds, {"verb": verb})
            if run.cost.write_seconds is not None:
                yield Metric("sparkml_run_write_seconds", run.cost.write_seconds, {"verb": verb})


def _alerts(work: Work) -> Iterator[Metric]:
    settings, book = work.sections.alerts, alerts.read(work.tables, work.config.project)
    found = Counter(
        (alert.opening.policy, alert.opening.severity) for alert in alerts.fold(book.events).values() if alert.state in ("open", "acknowledged")
    )
    # A policy without an open alert has a zero: a rule that counts must not lose its series when the last one resolves.
    counts: dict[tuple[str, str], int] = {(name, policy.severity): 0 for name, policy in settings.policies.items()}
    counts.update(found)
    for (policy, severity), count in counts.items():
        yield Metric("sparkml_alerts_open", count, {"policy": policy, "severity": severity})
    yield Metric("sparkml_alerts_undelivered", len(alerts.pending(book, settings, clock.wall())))
