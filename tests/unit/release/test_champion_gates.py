"""Gates beside the champion: margins, the first model, missing evidence, slices and their support."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sparkml_ops.config.release import ChampionGate, ReleaseSection, SlicesGate
from sparkml_ops.records import GateResult
from sparkml_ops.release.champion_gates import against_champion, slices
from sparkml_ops.release.comparison import NO_CHAMPION, Comparison

CHAMPION = f"3 {'c' * 64}"
METRICS = {
    "rows": 20_000.0,
    "positives": 6_000.0,
    "negatives": 14_000.0,
    "challenger_auc": 0.771,
    "champion_auc": 0.770,
    "challenger_log_loss": 0.520,
    "champion_log_loss": 0.521,
    "auc_gain_champion": 0.001,
    "auc_gain_champion_lower": -0.002,
    "auc_gain_champion_upper": 0.004,
    "log_loss_gain_champion": 0.001,
    "log_loss_gain_champion_lower": -0.001,
    "log_loss_gain_champion_upper": 0.003,
}
FIRST = Comparison(NO_CHAMPION)


def slice_of(rows: float = 5_000, positives: float = 1_500, **figures: float) -> dict[str, float]:
    """A slice in which both models are as good."""
    both = {"challenger_auc": 0.76, "champion_auc": 0.76, "challenger_log_loss": 0.5, "champion_log_loss": 0.5}
    return {
        "rows": rows,
        "positives": positives,
        "negatives": rows - positives,
        **both,
        "auc_gain_champion": 0.0,
        "log_loss_gain_champion": 0.0,
        **figures,
    }


def beside(
    gap: str = "", slices: dict[str, dict[str, float]] | None = None, unmeasured: dict[str, str] | None = None, **changes: float
) -> Comparison:
    """A comparison with the champion, some of whose figures are others."""
    return Comparison(CHAMPION, gap, {**METRICS, **changes}, slices or {}, unmeasured or {})


def champion_gate(comparison: Comparison | None, **options: Any) -> GateResult:
    return against_champion("champion", ChampionGate(kind="against_champion", **options), comparison)


def slices_gate(comparison: Comparison | None, **options: Any) -> GateResult:
    given = {"columns": ("origin",), "auc_margin": 0.02, **options}
    return slices("origins", SlicesGate(kind="slices", **given), comparison)


@pytest.mark.parametrize(
    ("options", "changes", "expected"),
    [
        ({}, {}, "pass"),
        ({}, {"auc_gain_champion_lower": -0.0049}, "pass"),
        ({}, {"auc_gain_champion_lower": -0.005}, "fail"),
        ({}, {"log_loss_gain_champion_lower": -0.005}, "fail"),
        ({"log_loss_margin": None}, {"log_loss_gain_champion_lower": -0.5}, "pass"),
        ({"log_loss_margin": 0.6}, {"log_loss_gain_champion_lower": -0.5}, "pass"),
        ({"auc_margin": 0.0}, {"auc_gain_champion_lower": 0.0}, "fail"),
        ({"auc_margin": 0.0}, {"auc_gain_champion_lower": 1e-9}, "pass"),
        ({}, {"rows": 999.0}, "no evidence"),
        ({"minimum_rows": 20_001}, {}, "no evidence"),
    ],
)
def test_a_challenger_may_be_worse_by_less_than_the_margin(options: dict[str, Any], changes: dict[str, float], expected: str) -> None:
    """The lower limit of the interval lies above minus the margin; a margin of 0 asks for more than chance; few rows prove nothing."""
    result = champion_gate(beside(**changes), **options)

    assert result.verdict == expected
    assert result.champion == CHAMPION


def test_a_result_says_beside_whom_and_by_what() -> None:
    """The reader sees version, rows, figures and limits."""
    result = champion_gate(beside(auc_gain_champion_lower=-0.03))

    assert result.message == "beside version 3 on 20000 rows: auc_gain_champion_lower -0.03, limit > -0.005"
    assert result.limit == {"auc_gain_champion_lower >": -0.005, "log_loss_gain_champion_lower >": -0.005}
    assert (result.found["champion_auc"], result.found["challenger_auc"]) == (0.770, 0.771)


def test_the_first_model_passes_and_says_that_it_is_the_first() -> None:
    """Its own wording, and bound to there being no champion."""
    for result in (champion_gate(FIRST), slices_gate(FIRST)):
        assert (result.verdict, result.champion) == ("pass", "none")
        assert result.message.startswith("first model: no champion")


@pytest.mark.parametrize("judge", [champion_gate, slices_gate])
def test_what_was_not_measured_is_no_evidence(judge: Any) -> None:
    """Neither where nobody measured, nor where it could not be trusted; the reason is the message."""
    unmeasured, untrusted = judge(None), judge(beside(gap="the evaluation rows are no test of the champion", slices={"origin=EWR": slice_of()}))

    assert (unmeasured.verdict, unmeasured.message) == ("no evidence", "not measured beside the champion")
    assert (untrusted.verdict, untrusted.message, untrusted.champion) == ("no evidence", "the evaluation rows are no test of the champion", CHAMPION)


def test_a_figure_that_does_not_exist_is_no_evidence() -> None:
    """One label only has no AUC."""
    comparison = Comparison(CHAMPION, metrics={name: value for name, value in METRICS.items() if "auc" not in name})

    assert champion_gate(comparison).verdict == "no evidence"


@pytest.mark.parametrize(
    ("options", "worst", "expected", "named"),
    [
        ({}, {"auc_gain_champion": -0.019}, "pass", "2 slices within their limits"),
        ({}, {"auc_gain_champion": -0.021}, "fail", "origin=JFK: auc_gain_champion -0.021, limit >= -0.02"),
        ({"auc_at_least": 0.7}, {"challenger_auc": 0.69}, "fail", "origin=JFK: challenger_auc 0.69, limit >= 0.7"),
        ({"log_loss_at_most": 0.55}, {"challenger_log_loss": 0.56}, "fail", "origin=JFK: challenger_log_loss 0.56"),
        ({"log_loss_margin": 0.01}, {"log_loss_gain_champion": -0.011}, "fail", "origin=JFK: log_loss_gain_champion -0.011"),
        ({"auc_margin": None, "auc_at_least": 0.7}, {"auc_gain_champion": -0.5}, "pass", "2 slices"),
    ],
)
def test_every_slice_holds_its_limits(options: dict[str, Any], worst: dict[str, float], expected: str, named: str) -> None:
    """One that does not is named with what was found."""
    result = slices_gate(beside(slices={"origin=EWR": slice_of(), "origin=JFK": slice_of(**worst)}), **options)

    assert result.verdict == expected
    assert named in result.message
    assert "origin=EWR" not in result.message


@pytest.mark.parametrize("small", [slice_of(rows=999), slice_of(positives=49), slice_of(positives=4_951)], ids=["rows", "positives", "negatives"])
def test_a_slice_below_its_support_is_reported_and_not_judged(small: dict[str, float]) -> None:
    """However bad it looks; and where all are so small there is no evidence."""
    bad = {**small, "auc_gain_champion": -0.4}
    beside_large = slices_gate(beside(slices={"origin=EWR": slice_of(), "origin=XXX": bad}))
    alone = slices_gate(beside(slices={"origin=XXX": bad}))

    assert beside_large.verdict == "pass"
    assert f"not judged: origin=XXX ({small['rows']:.0f} rows, {small['positives']:.0f} of label 1)" in beside_large.message
    assert (alone.verdict, alone.found) == ("no evidence", {})
    assert "no slice of 1000 rows with 50 of either label; there are origin=XXX" in alone.message


def test_other_columns_slices_are_not_this_gates() -> None:
    """Two gates share one pass."""
    result = slices_gate(beside(slices={"origin=EWR": slice_of(), "hour=3": slice_of(auc_gain_champion=-0.4)}))

    assert result.verdict == "pass"
    assert set(result.found) == {"origin=EWR auc_gain_champion"}


def test_a_column_that_was_not_measured_is_no_evidence() -> None:
    """It is not there, or has too many values."""
    result = slices_gate(beside(slices={"origin=EWR": slice_of()}, unmeasured={"tailnum": "more than 200 values"}), columns=("origin", "tailnum"))

    assert (result.verdict, result.message) == ("no evidence", "tailnum: more than 200 values")


def test_a_first_model_is_judged_by_what_it_must_hold_alone() -> None:
    """And by nothing else: there is no champion to be worse than."""
    alone = {"rows": 5_000.0, "positives": 900.0, "negatives": 4_100.0, "challenger_auc": 0.66, "challenger_log_loss": 0.5}
    first = Comparison(NO_CHAMPION, slices={"origin=EWR": alone})

    assert slices_gate(first, auc_at_least=0.7).verdict == "fail"
    passed = slices_gate(first, auc_at_least=0.6)
    assert (passed.verdict, passed.champion) == ("pass", "none")
    assert "first model" in passed.message


def test_limits_of_the_challenger_alone_are_not_bound_to_a_champion() -> None:
    """They hold whoever is champion, and whether it could be measured or not."""
    result = slices_gate(beside(gap="foreign", slices={"origin=EWR": slice_of()}), auc_margin=None, auc_at_least=0.7)

    assert (result.verdict, result.champion) == ("pass", "")


@pytest.mark.parametrize(
    ("gate", "named"),
    [
        ({"kind": "slices", "columns": ["origin"]}, "no limit is set"),
        ({"kind": "slices", "columns": [], "auc_at_least": 0.7}, "at least 1 item"),
        ({"kind": "slices", "columns": ["origin"], "auc_at_least": 0.7, "minimum_positives": 0}, "minimum_positives"),
        ({"kind": "against_champion", "auc_margin": -0.1}, "auc_margin"),
        ({"kind": "against_champion", "margin": 0.1}, "margin"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_refused(gate: dict[str, Any], named: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValidationError, match=named):
        ReleaseSection.model_validate({"gates": {"gate": gate}})
