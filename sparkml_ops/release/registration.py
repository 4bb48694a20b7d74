"""From a training result to a registered version and its gate report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from feature_store.delta import Tables
from sparkml_ops.config.gates import FairnessGate, ParityGate
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION, WEIGHTS
from sparkml_ops.model.onnx_nodes import need_onnx
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.performance.fairness import need_fairlearn
from sparkml_ops.records import GateReport, ModelVersion, TrainingResult
from sparkml_ops.release.approval import approval_gate, note_author
from sparkml_ops.release.card import Card, Declared
from sparkml_ops.release.challenge import Challenger, compare, evaluation_rows, seen
from sparkml_ops.release.evidence import Subject, Witnesses, gather
from sparkml_ops.release.gates import evaluate_gates
from sparkml_ops.release.reports import report_id, store_report
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

__all__ = ["register"]

_SHOWN = 5  # columns on a card
_NOBODY = Witnesses()


def register(
    tables: Tables,
    tracking: Tracking,
    storage: Storage,
    result: TrainingResult,
    settings: ReleaseSection,
    config_hash: str,
    as_of: datetime,
    *,
    label: str = "label",
    witnesses: Witnesses = _NOBODY,
    author: str = "",
) -> tuple[ModelVersion, GateReport]:
    """Register the artifact of a training, judge it by the gates and write its card; the same again gives the same version and report.

    A version that no gate passed is registered too: its report says why it cannot be promoted.

    Args:
        result: What training handed on; `checkpoint` is the artifact's folder under storage.root.
        config_hash: Of the configuration that holds the gates.
        as_of: Clock of the evaluation, UTC.
        label: Column of the label in the training set.
        witnesses: Whom gates ask about what a release does not know itself; who is missing leaves the gates that need him without evidence.
        author: Who registers it; needed where a gate asks for an approval by somebody else.

    Raises:
        ContractError: The artifact is not there, or is no model; no entry point makes its network; or a gate needs a package that is missing, or an
            author.
    """
    _check_means(settings, author)
    declared = witnesses.declared(result.training_set) if witnesses.declared is not None else Declared()
    number, spec = _registered(tracking, storage, result, settings.model, declared.units)
    version = tracking.resolve(settings.model, number).record
    challenger = Challenger(version, result.run_id, result.checkpoint, spec, label)
    lineage = witnesses.lineage
    comparison = None if lineage is None else compare(tables, tracking, storage, settings, challenger, lineage)
    subject = Subject(challenger, result, lambda: evaluation_rows(tables, challenger), lambda: seen(tables, challenger, lineage), tracking, storage)
    findings = gather(settings, subject, witnesses)
    report = evaluate_gates(settings, result.metrics, version=version, config_hash=config_hash, comparison=comparison, findings=findings)
    if approval_gate(settings) is not None:
        note_author(tables, version, report_id(report), author, as_of)
    run = tracking.existing(result.run_id)
    run.log_document(f"gates/{report_id(report)}.json", report)
    sensitive = tuple(sorted({*settings.card.sensitive, *declared.personal}))
    card = Card(version, settings.card, spec, result.metrics, report, sensitive, declared.units)
    for ending, text in (("md", card.markdown()), ("html", card.html())):
        run.log_text(f"cards/version_{version.version}.{ending}", text)
    store_report(tables, report, run_id=result.run_id, at=as_of)
    return version, report


def _check_means(settings: ReleaseSection, author: str) -> None:
    """Refuse before anything is written what the gates could not be asked for."""
    gates = settings.gates.values()
    if any(isinstance(gate, FairnessGate) for gate in gates):
        need_fairlearn()
    if any(isinstance(gate, ParityGate) and gate.onnx for gate in gates):
        need_onnx()
    if approval_gate(settings) is not None and not author.strip():
        raise ContractError("a registration by nobody", expected="who registers: somebody else has to approve", mend="add --actor <name>")


def _registered(tracking: Tracking, storage: Storage, result: TrainingResult, name: str, units: Mapping[str, str]) -> tuple[int, ModelSpec]:
    """Number and description of the version that an artifact is."""
    with TemporaryDirectory() as scratch:
        folder = _fetch(storage, result.checkpoint, Path(scratch) / "artifact")
        spec = ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if spec.kind == "module" and spec.module is None:
            raise ContractError(
                f"run {result.run_id}, whose network an object of a notebook made",
                expected="one that an installed wheel makes: scoring and serving load it by its entry point",
                mend="put it into a wheel with an entry point of the group sparkml_ops.models, and train with training.model.kind=module",
            )
        number = tracking.register(
            result.run_id,
            folder,
            name=name,
            training_set=result.training_set,
            inputs=spec.requested,
            outputs=spec.outputs,
            card=_card(spec, result),
            units={column: units[column] for column, _ in spec.requested if column in units},
        )
    return number, spec


def _fetch(storage: Storage, prefix: str, folder: Path) -> Path:
    """The two files of an artifact; whatever else training keeps beside them is not part of the model."""
    needed = (DESCRIPTION, WEIGHTS)
    if missing := [name for name in needed if not storage.exists(f"{prefix}/{name}")]:
        raise ContractError(
            f"no {' and no '.join(missing)} under {storage.path(prefix)}", expected="the artifact of a finished training", mend="train again"
        )
    for name in needed:
        storage.fetch(f"{prefix}/{name}", folder / name)
    return folder


def _card(spec: ModelSpec, result: TrainingResult) -> dict[str, str]:
    """What a reader of the registry wants to know first."""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(result.metrics.items()) if name.startswith("evaluation_"))
    return {
        "Model": f"{spec.kind}; {len(spec.numeric)} numeric and {len(spec.categorical)} categorical inputs; "
        f"{spec.target.task}, {', '.join(f'`{name}`' for name, _ in spec.outputs[:_SHOWN])}{', …' if len(spec.outputs) > _SHOWN else ''}",
        "Evaluation": metrics or "no metrics",
    }
