"""Finding out what the gates with evidence of their own ask for: each gate costs only what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pyarrow as pa
from pyspark.sql import DataFrame

from sparkml_ops.config.gates import (
    CalibrationGate,
    CardGate,
    ContractGate,
    FairnessGate,
    LineageGate,
    ParityGate,
    ReproducibilityGate,
    SecurityGate,
    SizeGate,
    StabilityGate,
    ThroughputGate,
)
from sparkml_ops.config.release import Gate, ReleaseSection
from sparkml_ops.errors import ContractError, TableNotFound
from sparkml_ops.records import ModelVersion, Reproduction, TrainingResult, TrainingSet
from sparkml_ops.release.card import Declared
from sparkml_ops.release.challenge import Challenger, Lineage
from sparkml_ops.release.evidence_gates import Finding
from sparkml_ops.release.parity import parity
from sparkml_ops.release.row_evidence import RowEvidence
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Registry
from sparkml_ops.tracking.pickles import pickles

__all__ = ["Probe", "Subject", "Witnesses", "gather"]


class Probe(Protocol):
    """The function that scoring uses, on the executors."""

    def sample(self, version: ModelVersion, rows: DataFrame, position: str, count: int) -> tuple[pa.Table, pa.Table]:
        """The first rows by position: inputs, and what the function predicts for them."""

    def measure(self, version: ModelVersion, rows: DataFrame) -> Mapping[str, float]:
        """`rows_per_second` and `peak_memory` (MiB) of scoring rows."""


@dataclass(frozen=True)
class Witnesses:
    """Whom a release asks about what it does not know itself.

    Args:
        lineage: What models were trained on; without it nothing is measured beside the champion.
        absent: What the records of a training lack, by the training's result, in words.
        reproduction: The last `reproduce` of a run that finished; None where there was none.
        probe: The function that scoring uses.
        declared: What feature tables say of the columns of a training set.
    """

    lineage: Lineage | None = None
    absent: Callable[[TrainingResult], Sequence[str]] | None = None
    reproduction: Callable[[str], Reproduction | None] | None = None
    probe: Probe | None = None
    declared: Callable[[TrainingSet], Declared] | None = None


@dataclass(frozen=True)
class Subject:
    """What is judged, and where it can be looked at.

    Args:
        challenger: The version.
        result: What training said of it.
        rows: Its evaluation rows, read when they are needed.
        seen: Why these rows are no test of it, asked when that matters; empty where they are one.
        tracking: Has its package.
        storage: Has its artifact.
    """

    challenger: Challenger
    result: TrainingResult
    rows: Callable[[], DataFrame]
    seen: Callable[[], str]
    tracking: Registry
    storage: Storage


def gather(settings: ReleaseSection, subject: Subject, witnesses: Witnesses) -> dict[str, Finding]:
    """Findings by the name of their gate; a gate that cannot be asked about says why."""
    found: dict[str, Finding] = {}
    examined = RowEvidence(settings, subject.challenger, subject.storage, subject.rows, subject.seen)
    for name, gate in settings.gates.items():
        try:
            finding = _finding(gate, settings, subject, witnesses, examined)
        except (ContractError, TableNotFound) as error:
            finding = Finding(gap=f"cannot be measured: {error.found}")
        if finding is not None:
            found[name] = finding
    return found


def _finding(gate: Gate, settings: ReleaseSection, subject: Subject, witnesses: Witnesses, rows: RowEvidence) -> Finding | None:
    if isinstance(gate, ContractGate | StabilityGate | CalibrationGate | FairnessGate):
        return rows.of(gate)
    if isinstance(gate, LineageGate):
        return _lineage(subject, witnesses)
    if isinstance(gate, ReproducibilityGate):
        return _reproducibility(subject, witnesses)
    if isinstance(gate, ParityGate | ThroughputGate):
        return _probed(gate, subject, witnesses.probe)
    if isinstance(gate, SizeGate | SecurityGate):
        return _package(gate, subject)
    return _card(gate, settings) if isinstance(gate, CardGate) else None


def _card(gate: CardGate, settings: ReleaseSection) -> Finding:
    empty = [field for field in gate.fields if not str(getattr(settings.card, field)).strip()]
    return Finding({"empty_fields": float(len(empty))}, note=f"release.card says nothing of {', '.join(empty)}" if empty else "")


def _lineage(subject: Subject, witnesses: Witnesses) -> Finding:
    if witnesses.absent is None or witnesses.lineage is None:
        return Finding(gap="nobody to ask what is on record")
    absent = list(witnesses.absent(subject.result))
    if witnesses.lineage(subject.result.run_id) is None:
        absent.append("a training that this one went on from")
    return Finding({"absent": float(len(absent))}, note=f"not on record: {', '.join(absent)}" if absent else "")


def _reproducibility(subject: Subject, witnesses: Witnesses) -> Finding:
    run = subject.result.run_id
    done = witnesses.reproduction(run) if witnesses.reproduction is not None else None
    if done is None:
        return Finding(gap=f"run {run[:12]} was not reproduced: run `sparkml-ops reproduce {run[:12]}`, then register again with --generation next")
    changes = [abs(then - now) if then is not None and now is not None else float("inf") for then, now in done.metrics.values()]
    figures = {"differing_files": float(done.digest != done.digest_again), "differing_metrics": float(len(changes))}
    # A metric that only one of them has is no number: the gate finds no finite difference then.
    return Finding(figures | {"largest_metric_difference": max(changes, default=0.0)}, note=f"reproduced by run {done.run_id[:12]}, rows {done.rows}")


def _probed(gate: ParityGate | ThroughputGate, subject: Subject, probe: Probe | None) -> Finding:
    if probe is None:
        return Finding(gap="no function of scoring to ask")
    version, rows = subject.challenger.version, subject.rows()
    if isinstance(gate, ParityGate):
        inputs, predicted = probe.sample(version, rows, "row_position", gate.rows)
        with TemporaryDirectory() as scratch:
            registered = subject.tracking.resolve(version.name, version.version)
            folder = subject.tracking.fetch(registered, Path(scratch) / "model")
            return Finding(parity(folder, inputs, predicted, onnx=gate.onnx))
    return Finding(dict(probe.measure(version, _thinned(rows, gate.rows, subject.result.metrics.get("evaluation_rows", 0.0)))))


def _thinned(rows: DataFrame, count: int, there: float) -> DataFrame:
    """About so many of the rows, on all partitions alike: a limit would leave one."""
    from pyspark.sql import functions as F

    share = 1_000_000 * count / there if there > count else 1_000_000
    return rows.where(F.pmod(F.xxhash64("row_position"), F.lit(1_000_000)) < int(share))


def _package(gate: SizeGate | SecurityGate, subject: Subject) -> Finding:
    version = subject.challenger.version
    with TemporaryDirectory() as scratch:
        package = Path(scratch) / "model"
        try:
            # Digest, loader, code, links and paths are checked here, before anything is read.
            subject.tracking.fetch(subject.tracking.resolve(version.name, version.version), package)
        except ContractError as error:
            return Finding({"refusals": 1.0}, note=error.found) if isinstance(gate, SecurityGate) else Finding(gap=error.found)
        if isinstance(gate, SizeGate):
            return Finding({"mebibytes": sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) / (1 << 20)})
        hostile = pickles(package)
        return Finding({"refusals": float(len(hostile))}, note=f"files that hold a pickle: {', '.join(hostile)}" if hostile else "")
