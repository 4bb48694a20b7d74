"""The table `gate_reports`: what each gate said of a model version, append-only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql.types import BooleanType, IntegerType, StringType, StructField, StructType, TimestampType

from feature_store.delta import Tables, Transaction
from sparkml_ops.records import GateReport, GateResult, to_json
from sparkml_ops.window import instant

__all__ = ["TABLE", "StoredReport", "export_speed", "newest_report", "report_id", "reports", "reports_on", "store_report"]

TABLE = "gate_reports"
_SCHEMA = StructType(
    [
        StructField("report_id", StringType(), nullable=False),
        StructField("model", StringType(), nullable=False),
        StructField("version", IntegerType(), nullable=False),
        *(StructField(name, StringType(), nullable=False) for name in ("digest", "evaluation_hash", "config_hash")),
        StructField("passed", BooleanType(), nullable=False),
        StructField("results", StringType(), nullable=False),
        StructField("run_id", StringType(), nullable=False),
        StructField("at", TimestampType(), nullable=False),
    ]
)


@dataclass(frozen=True)
class StoredReport:
    """A report with its identity.

    Args:
        id: Digest of the report's content, 16 hexadecimal digits.
        at: Clock of the evaluation, UTC.
    """

    id: str
    at: datetime
    report: GateReport

    @property
    def champions(self) -> frozenset[str]:
        """Identity of the champion that its gates compared with; none where no gate compared."""
        return frozenset(result.champion for result in self.report.results if result.champion)


def report_id(report: GateReport) -> str:
    """Identity of a report: the same verdicts on the same binding are the same report."""
    return hashlib.sha256(to_json(report).encode()).hexdigest()[:16]


def store_report(tables: Tables, report: GateReport, *, run_id: str, at: datetime) -> str:
    """Add a report, once.

    Args:
        run_id: MLflow run whose metrics were judged.
        at: Clock of the evaluation, UTC.

    Returns:
        The report's id.
    """
    identity = report_id(report)
    bound = {name: getattr(report, name) for name in ("model", "version", "digest", "evaluation_hash", "config_hash", "passed")}
    row = {"report_id": identity, **bound, "results": to_json(report.results), "run_id": run_id, "at": at}
    tables.add(TABLE, _SCHEMA, [row], transaction=Transaction(f"{TABLE}/{identity}"))
    return identity


def reports(tables: Tables, *, model: str, digest: str, evaluation_hash: str, config_hash: str) -> tuple[StoredReport, ...]:
    """The reports bound to exactly these, oldest first; of two of the same instant the one that refused is the later."""
    return _stored(tables, {"model": model, "digest": digest, "evaluation_hash": evaluation_hash, "config_hash": config_hash})


def reports_on(tables: Tables, model: str) -> tuple[StoredReport, ...]:
    """All reports on a model's versions in the same order, whatever they are bound to."""
    return _stored(tables, {"model": model})


def export_speed(report: GateReport) -> tuple[float, float] | None:
    """Rows a second of a model and of its export to ONNX, each on one core, as its parity gate measured them where both predict the same; None: it did not.

    >>> from sparkml_ops.records import GateResult
    >>> speeds = {"rows_per_second": 9000.0, "onnx_rows_per_second": 4000.0}
    >>> result = GateResult("parity", "pass", speeds, {"onnx_difference": 1e-6}, "")
    >>> export_speed(GateReport("trips", 1, "", "", "", True, (result,)))
    (9000.0, 4000.0)
    """
    for result in report.results:
        if result.verdict == "pass" and "onnx_rows_per_second" in result.found:
            return result.found["rows_per_second"], result.found["onnx_rows_per_second"]
    return None


def newest_report(tables: Tables, *, model: str, digest: str, evaluation_hash: str, config_hash: str) -> StoredReport | None:
    """The last report bound to exactly these."""
    found = reports(tables, model=model, digest=digest, evaluation_hash=evaluation_hash, config_hash=config_hash)
    return found[-1] if found else None


def _stored(tables: Tables, where: Mapping[str, str]) -> tuple[StoredReport, ...]:
    if not tables.exists(TABLE):
        return ()
    found = (_report(row) for row in tables.rows(TABLE, where))
    return tuple(sorted(found, key=lambda stored: (stored.at, not stored.report.passed, stored.id)))


def _report(row: Mapping[str, Any]) -> StoredReport:
    results = tuple(GateResult(**result) for result in json.loads(row["results"]))
    bound = {name: row[name] for name in ("model", "version", "digest", "evaluation_hash", "config_hash", "passed")}
    at = instant(row["at"])
    return StoredReport(row["report_id"], at, GateReport(**bound, results=results))
