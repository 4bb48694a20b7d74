"""Gates: what passes, what fails, and what is no evidence."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from feature_store.records import Snapshot, TrainingSet
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.records import GateReport, ModelVersion
from sparkml_ops.release.gates import evaluate_gates

NAN, INF = math.nan, math.inf
VERSION = ModelVersion("flights", 3, "d" * 64, TrainingSet("set_1", Snapshot("training_set_1", 0), {}, "0123456789abcdef", 90_000))
GOOD = {
    "evaluation_rows": 28_000.0,
    "evaluation_auc": 0.75,
    "evaluation_log_loss": 0.44,
    "auc_gain_logistic_lower": 0.012,
    "baseline_logistic_log_loss": 0.45,
    "baseline_rate_log_loss": 0.53,
}
BASELINES = {"baselines": {"kind": "against_baselines"}}


def judge(gates: dict[str, Any], **changes: float | None) -> GateReport:
    """A report on good metrics with some changed; None takes one away."""
    metrics = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return evaluate_gates(ReleaseSection.model_validate({"gates": gates}), metrics, version=VERSION, config_hash="c0ffee")


def verdict(gates: dict[str, Any], **changes: float | None) -> str:
    """The verdict of the only configured gate."""
    (name,) = gates
    return next(result.verdict for result in judge(gates, **changes).results if result.gate == name)


@pytest.mark.parametrize(
    ("limits", "value", "expected"),
    [
        ({"at_least": 0.7}, 0.7, "pass"),
        ({"at_least": 0.7}, 0.699999, "fail"),
        ({"at_most": 0.7}, 0.7, "pass"),
        ({"at_most": 0.7}, 0.700001, "fail"),
        ({"at_least": 0.7, "at_most": 0.8}, 0.75, "pass"),
        ({"at_least": 0.7, "at_most": 0.8}, 0.81, "fail"),
        ({"at_least": 0.7, "at_most": 0.8}, 0.69, "fail"),
        ({"at_least": 0.7}, None, "no evidence"),
        ({"at_least": 0.7}, NAN, "no evidence"),
        ({"at_least": 0.7}, INF, "no evidence"),
        ({"at_most": 0.7}, -INF, "no evidence"),
    ],
)
def test_an_absolute_gate_holds_its_limits(limits: dict[str, float], value: float | None, expected: str) -> None:
    """Limits are inclusive; a metric that is missing or not finite proves nothing."""
    assert verdict({"auc": {"kind": "absolute", "metric": "evaluation_auc", **limits}}, evaluation_auc=value) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "pass"),
        ({"auc_gain_logistic_lower": 0.0}, "fail"),
        ({"auc_gain_logistic_lower": -0.001}, "fail"),
        ({"evaluation_log_loss": 0.45}, "pass"),
        ({"evaluation_log_loss": 0.4501}, "fail"),
        ({"evaluation_log_loss": 0.5, "baseline_logistic_log_loss": 0.6, "baseline_rate_log_loss": 0.49}, "fail"),
        ({"evaluation_auc": 0.5}, "fail"),
        ({"auc_gain_logistic_lower": None}, "no evidence"),
        ({"auc_gain_logistic_lower": NAN}, "no evidence"),
        ({"baseline_logistic_log_loss": None}, "no evidence"),
        ({"baseline_rate_log_loss": NAN}, "no evidence"),
        ({"evaluation_log_loss": None}, "no evidence"),
        ({"evaluation_auc": NAN}, "no evidence"),
        ({"evaluation_log_loss": 0.9, "auc_gain_logistic_lower": None}, "no evidence"),
    ],
)
def test_the_baselines_must_be_beaten(changes: dict[str, float | None], expected: str) -> None:
    """A gain in AUC beyond chance and a log loss no worse than either baseline's; nothing missing."""
    assert verdict(BASELINES, **changes) == expected


def test_the_margins_of_the_baselines_are_configured() -> None:
    """A project may ask for more gain, or allow a little log loss."""
    strict = {"baselines": {"kind": "against_baselines", "auc_gain": 0.02}}
    mild = {"baselines": {"kind": "against_baselines", "log_loss_margin": 0.01}}

    assert verdict(strict) == "fail"
    assert verdict(mild, evaluation_log_loss=0.459) == "pass"
    assert verdict(mild, evaluation_log_loss=0.461) == "fail"


@pytest.mark.parametrize(("rows", "expected"), [(1000.0, "pass"), (999.0, "no evidence"), (None, "no evidence"), (NAN, "no evidence")])
def test_few_rows_prove_nothing(rows: float | None, expected: str) -> None:
    """A small or uncounted evaluation split refuses, however good its metrics look."""
    report = judge(BASELINES, evaluation_rows=rows)

    assert (report.results[0].gate, report.results[0].verdict) == ("minimum_rows", expected)
    assert report.passed == (expected == "pass")


@pytest.mark.parametrize("value", [0.69, None, NAN])
def test_a_report_passes_only_where_every_gate_does(value: float | None) -> None:
    """One failed gate, or one without evidence, refuses the version."""
    gates = {**BASELINES, "positive": {"kind": "absolute", "metric": "evaluation_recall", "at_least": 0.7}}

    assert judge(gates, evaluation_recall=0.8).passed
    assert not judge(gates, evaluation_recall=value).passed


def test_a_report_says_what_was_judged_by_which_rules() -> None:
    """It is bound to artifact, evaluation set and configuration."""
    report = judge(BASELINES)

    assert (report.model, report.version, report.digest) == ("flights", 3, VERSION.digest)
    assert (report.evaluation_hash, report.config_hash) == ("0123456789abcdef", "c0ffee")


def test_a_gate_shows_what_it_found_and_its_limits() -> None:
    """The reader of a refusal sees the numbers, and NaN never enters a document."""
    failed = judge({"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.8}}).results[1]
    unknown = judge(BASELINES, evaluation_auc=NAN).results[1]

    assert failed.found == {"evaluation_auc": 0.75}
    assert failed.limit == {"evaluation_auc >=": 0.8}
    assert failed.message == "evaluation_auc 0.75, limit >= 0.8"
    assert unknown.message == "no finite value of evaluation_auc"
    assert "evaluation_auc" not in unknown.found


def test_the_baselines_are_a_gate_unless_the_project_says_otherwise() -> None:
    """Safety is on by default."""
    assert [type(gate).__name__ for gate in ReleaseSection().gates.values()] == ["BaselinesGate"]


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"gates": {}}, "at least 1 item"),
        ({"gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc"}}}, "neither at_least nor at_most"),
        ({"gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.9, "at_most": 0.1}}}, "nothing would pass"),
        ({"gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": NAN}}}, "finite number"),
        ({"gates": {"auc": {"kind": "shell", "command": "true"}}}, "absolute"),
        ({"gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc", "atleast": 0.7}}}, "atleast"),
        ({"model": "../flights"}, "model"),
        ({"minimum_rows": 0}, "minimum_rows"),
        ({"loader": "os"}, "loader"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(section: dict[str, Any], named: str) -> None:
    """The section is closed: no empty set of gates, no unknown kind or key, no limit that nothing meets."""
    with pytest.raises(ValidationError, match=named):
        ReleaseSection.model_validate(section)
