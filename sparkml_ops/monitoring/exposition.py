"""Metrics in Prometheus' words: which there are, and how they are written down or pushed."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from sparkml_ops.errors import ConfigurationError, RetryableError, first_line

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["METRICS", "Metric", "push", "write_textfile"]

# Name to what it says and its further labels; `project` is the first label of each. Their values are named by the configuration, so that
# their number does not grow with the data.
METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sparkml_metrics_written_timestamp_seconds": ("When these metrics were read from the tables, wall clock.", ()),
    "sparkml_table_newest_timestamp_seconds": (
        "End of the newest window, or instant of the newest row, of a table that the project makes.",
        ("table", "holds"),
    ),
    "sparkml_table_promise_seconds": ("Most seconds that the newest window or row may be old.", ("table", "holds")),
    "sparkml_champion_version": ("Version that the champion's events name.", ("model",)),
    "sparkml_window_rows": ("Scored rows of the newest scored window.", ("model",)),
    "sparkml_window_quarantine_ratio": ("Share of the newest scored window's rows in quarantine.", ("model",)),
    "sparkml_drift_columns": ("Columns of the newest compared window by their verdict.", ("model", "verdict")),
    "sparkml_drift_effect_ratio": ("Largest effect of a watched column in the newest compared window, in minimum effects.", ("model", "column")),
    "sparkml_performance": ("A figure of the newest window that has it; segment is empty for all rows.", ("model", "metric", "kind", "segment")),
    "sparkml_performance_lower": ("Lower end of its interval.", ("model", "metric", "kind", "segment")),
    "sparkml_performance_upper": ("Upper end of its interval.", ("model", "metric", "kind", "segment")),
    "sparkml_performance_window_end_timestamp_seconds": ("End of the window that the figure is of.", ("model", "metric", "kind", "segment")),
    "sparkml_run_finished_timestamp_seconds": ("When a verb finished last, wall clock.", ("verb",)),
    "sparkml_run_seconds": ("How long it took then.", ("verb",)),
    "sparkml_run_cpu_seconds": ("CPU time that it took on the driver's machine.", ("verb",)),
    "sparkml_run_peak_bytes": ("Most memory that it took there at one moment.", ("verb",)),
    "sparkml_run_queue_seconds": ("How long it waited then for a session, and for the ranks of a training.", ("verb",)),
    "sparkml_run_write_seconds": ("How long it was inside commits of tables then.", ("verb",)),
    "sparkml_alerts_open": ("Open alerts of a policy that are not muted.", ("policy", "severity")),
    "sparkml_alerts_undelivered": ("Events that channels have still to be told.", ()),
}


@dataclass(frozen=True)
class Metric:
    """One value.

    Args:
        name: One of `METRICS`.
        value: In the unit that its name ends with.
        labels: All but `project`.
    """

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def write_textfile(path: Path, project: str, metrics: Iterable[Metric]) -> None:
    """Write metrics for the textfile collector of a node exporter; a reader never sees half a file.

    Args:
        path: Its name ends with `.prom`, as the collector wants it.

    Raises:
        ConfigurationError: `prometheus-client` is not installed, or the file cannot be written there.
    """
    registry = _registry(project, metrics)
    from prometheus_client import write_to_textfile

    if path.suffix != ".prom":
        raise ConfigurationError(
            f"a textfile {path.name}", expected="a name that ends with .prom, which the node exporter reads", mend="correct --textfile"
        )
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise ConfigurationError(f"{path}, which cannot be written ({error.strerror})", mend="name a folder that can be written") from None


def push(address: str, project: str, metrics: Iterable[Metric], *, timeout: float = 10.0) -> None:
    """Replace the group `job="sparkml_ops", project=...` of a push gateway.

    Raises:
        ConfigurationError: `prometheus-client` is not installed, or the address is none.
        RetryableError: The gateway is away or refuses.
    """
    registry = _registry(project, metrics)
    from prometheus_client import push_to_gateway

    if urlparse(address).scheme not in ("http", "https") or not urlparse(address).hostname:
        raise ConfigurationError(f"the push gateway {address!r}", expected="http://host:9091 or https://...", mend="correct --push")
    try:
        push_to_gateway(address, "sparkml_ops", registry, {"project": project}, timeout)
    except (OSError, ssl.SSLError) as error:
        raise RetryableError(f"the push gateway did not take the metrics ({first_line(error)})", mend="start it, or write a textfile") from error


def _registry(project: str, metrics: Iterable[Metric]) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.core import GaugeMetricFamily
    except ImportError:
        raise ConfigurationError(
            "no package prometheus-client", expected="the extra `monitoring`", mend="install `sparkml-ops[monitoring]` where metrics are written"
        ) from None
    families: dict[str, Any] = {}
    for metric in metrics:
        said, labels = METRICS[metric.name]
        if metric.name not in families:
            families[metric.name] = GaugeMetricFamily(metric.name, said, labels=("project", *labels))
        families[metric.name].add_metric((project, *(metric.labels[label] for label in labels)), metric.value)

    class _Read:
        def collect(self) -> Iterable[Any]:
            return families.values()

    registry = CollectorRegistry()
    registry.register(_Read())
    return registry
