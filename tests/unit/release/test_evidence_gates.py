"""Gates with evidence of their own: limits, gaps, hostile packages, and who may approve."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from mlflow_store import artifact
from pydantic import ValidationError

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import Snapshot, TrainingSet
from sparkml_ops import embedded
from sparkml_ops.config.gates import ApprovalGate
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ContractError, GateRefused
from sparkml_ops.model.onnx_nodes import need_onnx
from sparkml_ops.performance.fairness import need_fairlearn
from sparkml_ops.records import ModelVersion
from sparkml_ops.release.approval import approvals, approve, approved, note_author
from sparkml_ops.release.evidence_gates import Finding
from sparkml_ops.release.explanation import explain
from sparkml_ops.release.gates import evaluate_gates
from sparkml_ops.release.parity import parity
from sparkml_ops.release.reports import newest_report, store_report
from sparkml_ops.tracking.pickles import pickles

__all__ = ["artifact"]

AT = datetime(2013, 8, 1, tzinfo=UTC)
VERSION = ModelVersion("flights", 3, "d" * 64, TrainingSet("set_1", Snapshot("training_set_1", 0), {}, "0123456789abcdef", 90_000))
SHARES = {"wrong_types": 0.0, "missing_share": 0.0, "unknown_share": 0.02, "infinite_share": 0.0}
STABLE = {"unscored": 0.0, "broken": 0.0, "largest_change": 0.001}
SAME = {"rows": 64.0, "clean_process_difference": 0.0, "executors_difference": 1e-9}


def verdict(gate: dict[str, Any], finding: Finding | None) -> str:
    """Of the only configured gate."""
    settings = ReleaseSection.model_validate({"gates": {"it": gate}})
    findings = {} if finding is None else {"it": finding}
    report = evaluate_gates(settings, {"evaluation_rows": 9e9}, version=VERSION, config_hash="c0ffee", findings=findings)
    result = next(result for result in report.results if result.gate == "it")
    assert report.passed == (result.verdict == "pass")
    return result.verdict


@pytest.mark.parametrize(
    ("gate", "good", "bad"),
    [
        ({"kind": "data_contract"}, SHARES, {"unknown_share": 0.051}),
        ({"kind": "data_contract"}, SHARES, {"missing_share": 0.001}),
        ({"kind": "data_contract"}, SHARES, {"wrong_types": 1.0}),
        ({"kind": "lineage"}, {"absent": 0.0}, {"absent": 1.0}),
        ({"kind": "reproducibility"}, {"differing_files": 0.0, "differing_metrics": 0.0}, {"differing_files": 1.0}),
        ({"kind": "reproducibility", "metric_tolerance": 0.01}, {"largest_metric_difference": 0.01}, {"largest_metric_difference": 0.02}),
        ({"kind": "calibration", "error_at_most": 0.03}, {"calibration_error": 0.03}, {"calibration_error": 0.031}),
        ({"kind": "calibration", "slope_at_least": 0.9, "slope_at_most": 1.1}, {"calibration_slope": 1.0}, {"calibration_slope": 0.8}),
        (
            {"kind": "fairness", "column": "c", "demographic_parity_at_most": 0.1},
            {"groups": 2, "demographic_parity": 0.1},
            {"demographic_parity": 0.2},
        ),
        ({"kind": "fairness", "column": "c", "equalised_odds_at_most": 0.1}, {"groups": 3, "equalised_odds": 0.0}, {"groups": 1}),
        ({"kind": "numeric_stability"}, STABLE, {"unscored": 1.0}),
        ({"kind": "numeric_stability"}, STABLE, {"largest_change": 0.02}),
        ({"kind": "parity"}, SAME, {"executors_difference": 1e-5}),
        ({"kind": "parity", "onnx": True}, {**SAME, "onnx_difference": 1e-7}, {"onnx_difference": 0.1}),
        ({"kind": "throughput", "rows_per_second_at_least": 1000}, {"rows_per_second": 1000}, {"rows_per_second": 999}),
        ({"kind": "throughput", "peak_memory_at_most": 512}, {"peak_memory": 512}, {"peak_memory": 513}),
        ({"kind": "artifact_size", "at_most": 10}, {"mebibytes": 10}, {"mebibytes": 10.1}),
        ({"kind": "security"}, {"refusals": 0}, {"refusals": 1}),
        ({"kind": "card"}, {"empty_fields": 0}, {"empty_fields": 1}),
    ],
)
def test_a_gate_passes_within_its_limits_and_refuses_without_evidence(gate: dict[str, Any], good: dict[str, float], bad: dict[str, float]) -> None:
    """Each kind: what holds, what breaks a limit, each figure missing or NaN, a gap, nothing at all."""
    assert verdict(gate, Finding(good)) == "pass"
    assert verdict(gate, Finding({**good, **bad})) == "fail"
    for name in set(good) - {"infinite_share"}:
        assert verdict(gate, Finding({key: value for key, value in good.items() if key != name})) == "no evidence"
        assert verdict(gate, Finding({**good, name: float("nan")})) == "no evidence"
    assert verdict(gate, Finding(good, gap="the rows are gone")) == "no evidence"
    assert verdict(gate, None) == "no evidence"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"gates": {"it": {"kind": "calibration"}}}, "no limit is set"),
        ({"gates": {"it": {"kind": "calibration", "slope_at_least": 2, "slope_at_most": 1}}}, "nothing would pass"),
        ({"gates": {"it": {"kind": "fairness", "column": "c"}}}, "no limit is set"),
        ({"gates": {"it": {"kind": "throughput"}}}, "no limit is set"),
        ({"gates": {"it": {"kind": "parity", "rows": 100_000}}}, "less than or equal to 1024"),
        ({"gates": {"a": {"kind": "approval"}, "b": {"kind": "approval"}}}, "more than one gate of kind approval"),
        ({"cluster": "customer", "gates": {"it": {"kind": "against_champion", "interval": "delong"}}}, "takes rows for independent"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_refused(section: dict[str, Any], said: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError, match=said):
        ReleaseSection.model_validate(section)


class Marker:
    """Leaves a trace where somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_found_in_any_disguise_and_never_followed(tmp_path: Path) -> None:
    """Every protocol, in a file of any name, in an archive; safetensors, JSON and YAML are none."""
    folder, trace = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / f"protocol{protocol}.json").write_bytes(pickle.dumps(Marker(trace), protocol))
    (folder / "weights.bin").write_bytes(pickle.dumps(np.arange(3), 4))
    with zipfile.ZipFile(folder / "archive.safetensors", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Marker(trace)))
    torch.save({"w": torch.zeros(2)}, folder / "state.pt")
    hostile = pickles(folder)
    harmless = {"model.json": b'{"a": [1, 2]}', "MLmodel": b"flavors:\n  python_function:\n    loader_module: x\n", "empty": b""}
    for name, data in harmless.items():
        (folder / name).write_bytes(data)
    import safetensors.numpy

    safetensors.numpy.save_file({"w": np.random.default_rng(0).normal(size=5000)}, folder / "weights.safetensors")

    assert set(hostile) == {
        *(f"protocol{protocol}.json" for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        "weights.bin",
        "archive.safetensors",
        "state.pt",
    }
    assert pickles(folder) == hostile
    assert not trace.exists()


def test_parity_asks_every_way_of_running_a_model(artifact: Path) -> None:
    """A clean process and the exported graph say the same to the last bits; what the executors say otherwise shows."""
    from sparkml_ops.model.reloaded import predicted_by

    rows = pa.table({"distance": [1400.0, None, float("inf")], "seats": pa.array([150, 180, None], pa.int32()), "carrier": ["UA", None, "ZZ"]})
    here = predicted_by(artifact, rows)
    found = parity(artifact, rows, here, onnx=True)
    values = here.column("probability").to_pylist()
    moved = parity(artifact, rows, pa.table({"probability": [values[0] + 0.25, values[1], None]}), onnx=False)
    gone = parity(artifact, rows, pa.table({"probability": [None, values[1], None]}, schema=here.schema), onnx=False)

    speeds = {name: found.pop(name) for name in ("rows_per_second", "onnx_rows_per_second")}
    assert min(speeds.values()) > 0
    assert found == {"rows": 3.0, "clean_process_difference": 0.0, "executors_difference": 0.0, "onnx_difference": pytest.approx(0.0, abs=1e-6)}
    assert moved["executors_difference"] == pytest.approx(0.25)
    assert gone["executors_difference"] == float("inf")


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("fairlearn", need_fairlearn, "fairness"),
        ("onnx", need_onnx, "onnx"),
        ("onnxruntime", lambda: embedded.load("any.onnx"), "onnx"),
        ("shap", lambda: explain(None, None), "explain"),  # type: ignore[arg-type]
    ],
)
def test_a_missing_package_is_named_with_its_extra(package: str, call: Any, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work."""
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ContractError, match=rf"no package {package}.*sparkml-ops\[{extra}\]"):
        call()


def test_a_clean_process_that_fails_says_why(artifact: Path) -> None:
    """A damaged artifact is told by the last line of its error."""
    from sparkml_ops.model.reloaded import in_clean_process

    (artifact / "model.json").write_text('{"format": 99}')

    with pytest.raises(ContractError, match=r"a clean process that ended with 1: .*a model description of format 99"):
        in_clean_process(artifact, pa.table({"distance": [1.0]}))


SETTINGS = ReleaseSection.model_validate({"model": "flights", "gates": {"second": {"kind": "approval", "longest": 30}}})


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Tables, str]:
    """A passed report on a version that Ada registered."""

    def nobody() -> Any:
        raise AssertionError("no Spark for a few rows")

    tables = Tables(nobody, Warehouse(root=str(tmp_path / "warehouse")))
    report = evaluate_gates(SETTINGS, {"evaluation_rows": 9e9}, version=VERSION, config_hash="c0ffee")
    identity = store_report(tables, report, run_id="run", at=AT)
    note_author(tables, VERSION, identity, "Ada ", AT)
    return tables, identity


def asked(tables: Tables, at: datetime) -> tuple[str, str]:
    bound = {"digest": VERSION.digest, "evaluation_hash": VERSION.training_set.content_hash, "config_hash": "c0ffee"}
    stored = newest_report(tables, model="flights", **bound)
    assert stored is not None
    result = approved("second", ApprovalGate(kind="approval", longest=30), stored, approvals(tables, "flights"), at)
    return result.verdict, result.message


def test_another_person_approves_a_report_for_some_days(judged: tuple[Tables, str]) -> None:
    """Nobody yet: no evidence; then it holds until its end, and for this report alone."""
    tables, identity = judged
    assert asked(tables, AT)[0] == "no evidence"
    given = approve(tables, SETTINGS, VERSION, "c0ffee", "Grace", AT + timedelta(days=7), AT)
    approve(tables, SETTINGS, VERSION, "c0ffee", "Grace", AT + timedelta(days=7), AT)

    assert (given.report_id, given.digest, given.person) == (identity, VERSION.digest, "grace")
    assert [(line.kind, line.person) for line in approvals(tables, "flights")] == [("author", "ada"), ("approval", "grace")]
    assert asked(tables, AT + timedelta(days=7)) == ("pass", "approved by grace until 2013-08-08 00:00")
    assert asked(tables, AT + timedelta(days=8))[0] == "fail"
    assert asked(tables, AT - timedelta(days=1))[0] == "fail"
    other = evaluate_gates(SETTINGS, {"evaluation_rows": 8e9}, version=VERSION, config_hash="c0ffee")
    store_report(tables, other, run_id="run", at=AT + timedelta(hours=1))
    assert asked(tables, AT + timedelta(days=2))[0] == "no evidence"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"by": " ADA"}, GateRefused, "which ada registered"),
        ({"by": ""}, ContractError, "the name ''"),
        ({"until": AT}, ContractError, "expected after 2013-08-01 00:00, until 2013-08-31 00:00"),
        ({"until": AT + timedelta(days=31)}, ContractError, "an approval until 2013-09-01"),
        ({"config_hash": "other"}, GateRefused, "without a gate report under this configuration"),
        ({"settings": ReleaseSection()}, ContractError, "no gate of kind approval"),
        ({"version": dataclasses.replace(VERSION, digest="e" * 64)}, GateRefused, "without a gate report"),
    ],
)
def test_an_approval_that_would_prove_nothing_is_refused(
    change: dict[str, Any], error: type[Exception], said: str, judged: tuple[Tables, str]
) -> None:
    """By its author, by nobody, without an end, for too long, of something that was not judged; nothing is written."""
    given = {"settings": SETTINGS, "version": VERSION, "config_hash": "c0ffee", "by": "grace", "until": AT + timedelta(days=7), "at": AT}

    with pytest.raises(error, match=said):
        approve(judged[0], **{**given, **change})
    assert [line.kind for line in approvals(judged[0], "flights")] == ["author"]
