"""The decision as a function of its evidence: triggers, brakes, and which of them speaks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_project import Place

from sparkml_ops.config.load import load
from sparkml_ops.config.retraining import PolicySection, RangeSection, RetrainingSection
from sparkml_ops.errors import ConfigurationError
from sparkml_ops.retraining.policy import Evidence, Figure, decide

NOW = datetime(2013, 11, 1, tzinfo=UTC)
CALM = Evidence(
    as_of=NOW,
    champion=1,
    trained_until=datetime(2013, 7, 1, tzinfo=UTC),
    drifted=(("2013-08", 2), ("2013-09", 0), ("2013-10", 1)),
    faults=(),
    figure=Figure("2013-10", "auc", "realised", 0.74, 20_000),
    new_labels=80_000,
    last_training=None,
    trainings_today=0,
    in_flight=None,
)
POLICY = {
    "schedule": "200d",
    "drift": {"windows": 2, "of": 3, "columns": 5},
    "performance": {"metric": "auc", "at_least": 0.70},
    "labels": 100_000,
    "minimum_labels": 10_000,
    "cooldown": "60d",
}


def policy(**changes: object) -> PolicySection:
    return PolicySection.model_validate({**POLICY, **changes})


def test_nothing_fires_and_the_figures_are_told() -> None:
    """A "no" says how far each trigger was from firing."""
    verdict = decide(CALM, policy())

    assert (verdict.decision, verdict.trigger) == ("no", "")
    assert verdict.reason == (
        "no trigger fired (realised auc 0.7400 in 2013-10, at least 0.7 is good enough; 0 of 3 windows drift, 2 are needed; "
        "newest training row 123 days old, the schedule says 200d; 80,000 new labels, 100,000 are enough)"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trained_until": None}, "newest training row of unknown age, the schedule says 200d"),
        ({"figure": None}, "auc unknown, at least 0.7 is good enough"),
        ({"figure": Figure("2013-10", "auc", "realised", 0.5, 999)}, "realised auc 0.5000 in 2013-10 of only 999 rows, at least 0.7 is good enough"),
    ],
)
def test_what_keeps_a_trigger_from_firing_is_told(changes: dict[str, object], said: str) -> None:
    """A champion of unknown age keeps no schedule, and a figure of too few rows is none."""
    verdict = decide(replace(CALM, **changes), policy())  # type: ignore[arg-type]

    assert verdict.decision == "no"
    assert said in verdict.reason


def test_a_person_who_may_not_ask_is_told() -> None:
    """With the key that says so."""
    verdict = decide(replace(CALM, on_demand=True), policy(on_demand=False))

    assert (verdict.decision, verdict.trigger) == ("no", "")
    assert verdict.reason.startswith("no trigger fired (asked for by a person, which retraining.policy.on_demand turns off; realised auc")


@pytest.mark.parametrize(
    ("trigger", "changes", "said"),
    [
        ("performance", {"figure": Figure("2013-10", "auc", "realised", 0.69, 20_000)}, "realised auc 0.6900 in 2013-10, below 0.7"),
        ("drift", {"drifted": (("2013-08", 5), ("2013-09", 9), ("2013-10", 0))}, "5 or more columns drift in 2 of 3 windows (2013-08, 2013-09)"),
        ("schedule", {"as_of": NOW + timedelta(days=77)}, "the champion's newest training row is 200 days old, the schedule says 200d"),
        ("labels", {"new_labels": 100_000}, "100,000 new labels, 100,000 are enough"),
        ("on demand", {"on_demand": True}, "asked for by a person"),
    ],
)
def test_each_trigger_alone_is_enough(trigger: str, changes: dict[str, object], said: str) -> None:
    """One trigger says yes, and names itself and what it saw."""
    verdict = decide(replace(CALM, **changes), policy())  # type: ignore[arg-type]

    assert (verdict.decision, verdict.trigger, verdict.reason) == ("yes", trigger, said)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"new_labels": 9_999}, "only 9,999 new labels of 10,000 needed"),
        ({"last_training": NOW - timedelta(days=59)}, "the last training was 59 days ago and the cooldown is 60d"),
        ({"in_flight": "retrain/x"}, "retrain/x trains at this moment"),
        ({"trainings_today": 1}, "the day's budget of 1 is spent"),
    ],
)
def test_each_brake_holds_a_trigger(changes: dict[str, object], held: str) -> None:
    """A brake turns yes into no, and the trigger is told too."""
    verdict = decide(replace(CALM, on_demand=True, **changes), policy())  # type: ignore[arg-type]

    assert (verdict.decision, verdict.trigger, verdict.reason) == ("no", "on demand", f"asked for by a person; but {held}")


def test_broken_data_never_retrain() -> None:
    """A contract failure says no to every trigger, also to a person."""
    verdict = decide(replace(CALM, faults=(("2013-08", "distance"),), on_demand=True), policy())

    assert verdict.decision == "no"
    assert verdict.reason.startswith("contract failure in 1 columns (distance in 2013-08)")


def test_a_cooldown_that_is_over_holds_nothing() -> None:
    """Exactly the cooldown ago is long enough."""
    verdict = decide(replace(CALM, on_demand=True, last_training=NOW - timedelta(days=60)), policy())

    assert verdict.decision == "yes"


def test_too_few_rows_say_nothing_about_performance() -> None:
    """A figure from a handful of rows fires no trigger."""
    verdict = decide(replace(CALM, figure=Figure("2013-10", "auc", "realised", 0.5, 999)), policy())

    assert verdict.decision == "no"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": None, "drift": None, "performance": None, "labels": None, "on_demand": False}, "can never fire"),
        ({"schedule": "30d"}, "cooldown 60d is longer than schedule 30d"),
        ({"drift": {"windows": 4, "of": 3}}, "it could never fire"),
        ({"performance": {"metric": "auc"}}, "neither at_least nor at_most"),
        ({"performance": {"metric": "auc", "at_least": 0}}, "at_least 0 of auc: no figure is beyond it"),
        ({"performance": {"metric": "auc", "at_least": -0.7}}, "it could never fire"),
        ({"performance": {"metric": "auc", "at_least": 70}}, "at_least 70 of auc: every figure is beyond it"),
        ({"performance": {"metric": "brier", "at_most": 1}}, "at_most 1 of brier: no figure is beyond it"),
        ({"performance": {"metric": "log_loss", "at_most": -1}}, "it would always fire"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, object], said: str) -> None:
    """Known from the configuration alone, so said before anything runs."""
    with pytest.raises(ValidationError, match=said):
        policy(**changes)


def test_limits_within_the_range_of_a_figure_are_taken() -> None:
    """A log loss has no upper end."""
    assert policy(performance={"metric": "log_loss", "at_most": 1.5}).performance is not None
    assert policy(performance={"metric": "brier", "at_least": 0.01, "at_most": 0.99}).performance is not None


def test_more_drifting_columns_than_are_compared_are_refused(tmp_path: Path) -> None:
    """As many as there are is fine; without `drift.columns` they are the features."""
    place = Place(tmp_path)

    def needed(columns: int, *overrides: str) -> None:
        load(place.folder / "conf", "tiny", overrides=(f"retraining.policy.drift.columns={columns}", *overrides))

    needed(2)
    needed(3, "drift.columns=null")
    with pytest.raises(ConfigurationError, match=r"policy\.drift\.columns 3 of 2 columns that are compared: it could never fire"):
        needed(3)
    with pytest.raises(ConfigurationError, match="4 of 3 columns"):
        needed(4, "drift.columns=null")


def test_a_rolling_range_needs_a_length() -> None:
    """And a growing one has none."""
    with pytest.raises(ValidationError, match="rolling needs one"):
        RangeSection.model_validate({"kind": "rolling"})
    with pytest.raises(ValidationError, match="rolling needs one"):
        RangeSection.model_validate({"length": "30d"})


@pytest.mark.parametrize("idle", [{"replay": 0.1}, {"full_every": 3}], ids=["replay", "full_every"])
def test_what_only_a_training_that_goes_on_has(idle: dict[str, float]) -> None:
    """From scratch it would say nothing."""
    assert RetrainingSection.model_validate({"mode": "stateful", **idle}).mode == "stateful"
    with pytest.raises(ValidationError, match="no meaning with mode stateless"):
        RetrainingSection.model_validate(idle)
