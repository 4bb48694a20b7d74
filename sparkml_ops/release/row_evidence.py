"""What the evaluation rows say of a challenger alone: one pass for contract and stability, one for calibration and fairness, where gates ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeAlias

from pyspark.sql import DataFrame

from sparkml_ops.config.gates import CalibrationGate, ContractGate, FairnessGate, StabilityGate
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ContractError
from sparkml_ops.performance.calibration import calibration
from sparkml_ops.performance.contest import Contest, Contestant, Standing, hold
from sparkml_ops.performance.decisions import Confusion, confusion
from sparkml_ops.performance.examination import Examination, Examined, examine
from sparkml_ops.performance.fairness import disparities
from sparkml_ops.release.challenge import Challenger
from sparkml_ops.release.comparison import CHALLENGER
from sparkml_ops.release.evidence_gates import Finding
from sparkml_ops.storage import Storage

__all__ = ["RowEvidence"]

RowGate: TypeAlias = ContractGate | StabilityGate | CalibrationGate | FairnessGate
_SHOWN = 5


class RowEvidence:
    """Looks at the rows once for all gates that ask.

    Args:
        settings: The gates.
        challenger: The version.
        storage: Where its artifact lies.
        rows: Its evaluation rows, read when they are needed.
        seen: Why these rows are no test of it; empty where they are one.
    """

    def __init__(
        self, settings: ReleaseSection, challenger: Challenger, storage: Storage, rows: Callable[[], DataFrame], seen: Callable[[], str]
    ) -> None:
        self._settings, self._challenger, self._storage, self._read, self._ask = settings, challenger, storage, rows, seen

    def of(self, gate: RowGate) -> Finding:
        """What a gate wants to know.

        Raises:
            ContractError: The rows cannot be scored.
        """
        task = self._challenger.spec.target.task
        if isinstance(gate, CalibrationGate | FairnessGate) and task != "binary":
            return Finding(gap=f"a model of the task {task}: only binary ones have calibrated decisions")
        if isinstance(gate, ContractGate | StabilityGate) and task == "retrieval":
            return Finding(gap="a model of two towers, whose items are no rows")
        if isinstance(gate, ContractGate):
            return self._contract()
        if isinstance(gate, StabilityGate):
            return self._stability()
        if self._seen:
            return Finding(gap=self._seen)
        return self._calibration(gate) if isinstance(gate, CalibrationGate) else self._fairness(gate)

    @cached_property
    def _seen(self) -> str:
        return self._ask()

    @cached_property
    def _rows(self) -> DataFrame:
        return self._read()

    @cached_property
    def _mine(self) -> Contestant:
        version, spec = self._challenger.version, self._challenger.spec
        return Contestant(CHALLENGER, self._challenger.folder, tuple(name for name, _ in spec.inputs), version.digest)

    @cached_property
    def _wrong(self) -> list[str]:
        """Inputs whose column is gone or of another type."""
        types = {field.name: field.dataType.simpleString() for field in self._rows.schema.fields}
        found = [(name, kind, types.get(name, "none")) for name, kind in self._challenger.spec.inputs]
        return [f"`{name}` {there} (learnt as {kind})" for name, kind, there in found if there != kind]

    @cached_property
    def _examined(self) -> Examined:
        stable = [gate for gate in self._settings.gates.values() if isinstance(gate, StabilityGate)]
        # Of several such gates the hardest is asked: what holds there holds for all.
        perturbation, extreme = (max((getattr(gate, key) for gate in stable), default=0.0) for key in ("perturbation", "extreme"))
        return examine(self._rows, Examination(self._storage, self._mine, self._challenger.spec, perturbation, extreme))

    @cached_property
    def _standing(self) -> Standing:
        fair = [gate.column for gate in self._settings.gates.values() if isinstance(gate, FairnessGate)]
        slices = tuple(dict.fromkeys(column for column in fair if column in self._rows.columns))
        settings = self._settings
        contest = Contest(self._storage, (self._mine,), self._challenger.label, settings.replicates, settings.confidence, settings.seed, slices)
        standing = hold(self._rows, contest)
        if standing.unscored:
            raise ContractError(f"{standing.unscored} evaluation rows without a prediction")
        return standing

    def _contract(self) -> Finding:
        if self._wrong:
            zeros = dict.fromkeys(("missing_share", "unknown_share", "infinite_share"), 0.0)
            return Finding({"wrong_types": float(len(self._wrong)), **zeros}, note=", ".join(self._wrong[:_SHOWN]))
        found = self._examined
        if not found.rows:
            return Finding(gap="no evaluation rows")
        missing, unknown = ({name: rows / found.rows for name, rows in counts.items()} for counts in (found.missing, found.unknown))
        figures = {
            "rows": float(found.rows),
            "wrong_types": 0.0,
            "missing_share": max(missing.values(), default=0.0),
            "unknown_share": max(unknown.values(), default=0.0),
            "infinite_share": found.infinite / found.rows,
        }
        worst = [
            f"`{name}` {share:.2%} {what}" for what, shares in (("missing", missing), ("unknown", unknown)) for name, share in shares.items() if share
        ]
        return Finding(figures, note=", ".join(worst[:_SHOWN]))

    def _stability(self) -> Finding:
        if self._wrong:
            return Finding(gap=f"inputs of other types: {', '.join(self._wrong[:_SHOWN])}")
        found = self._examined
        if not found.rows:
            return Finding(gap="no evaluation rows")
        figures = {"rows": found.rows, "unscored": found.unscored, "broken": found.broken, "largest_change": found.moved}
        return Finding({name: float(value) for name, value in figures.items()})

    def _calibration(self, gate: CalibrationGate) -> Finding:
        measured = self._standing.measured[CHALLENGER]
        return Finding({"rows": float(measured.rows), **calibration(measured.counts, gate.bins)})

    def _fairness(self, gate: FairnessGate) -> Finding:
        if gate.column not in self._rows.columns:
            return Finding(gap=f"no column `{gate.column}` in the training set")
        if gate.column in self._standing.crowded:
            return Finding(gap=f"`{gate.column}` has too many values to be groups")
        begin = f"{gate.column}="
        groups = {
            cut.removeprefix(begin): confusion(found[CHALLENGER].counts, gate.threshold)
            for cut, found in self._standing.slices.items()
            if cut.startswith(begin)
        }
        large = {name: found for name, found in groups.items() if _supported(found, gate)}
        small = [f"{name} ({found.rows} rows)" for name, found in groups.items() if name not in large]
        note = f"not judged: {', '.join(small[:_SHOWN])}" if small else ""
        if len(large) < 2:
            return Finding(gap=f"fewer than two groups of `{gate.column}` large enough to judge by; {note}")
        return Finding({"groups": float(len(large)), **disparities(large)}, note=note)


def _supported(found: Confusion, gate: FairnessGate) -> bool:
    positives = found.true_positives + found.false_negatives
    return found.rows >= gate.minimum_rows and min(positives, found.rows - positives) >= gate.minimum_of_label
