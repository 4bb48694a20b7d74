"""When alerts open and resolve: the state machine by its rules, for any series of windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkml_ops.alerts import Alert, AlertEvent, Reading, Standing, Watched, fold, judge, moves, replay
from sparkml_ops.alerts.reading import Place
from sparkml_ops.alerts.rules import burning, drift_readings, unusual
from sparkml_ops.config.alerts import BurnPolicy, DriftPolicy, FreshnessPolicy

WHO = {"owner": "ada", "runbook": "https://wiki.example/late"}
START = datetime(2013, 1, 1, tzinfo=UTC)
PLACES = st.lists(st.sampled_from(["beyond", "between", "good"]), max_size=40)


def policy(**given: object) -> FreshnessPolicy:
    return FreshnessPolicy.model_validate({"signal": "freshness", "within": "1d", **WHO, **given})


def readings(places: list[Place], subject: str = "") -> list[Reading]:
    """A day each, measured at its end."""
    days = [START + timedelta(days=number) for number in range(len(places))]
    return [Reading(subject, f"{day:%Y-%m-%d}", day + timedelta(days=1), 0.0, 0.0, place, "") for day, place in zip(days, places, strict=True)]


POLICIES = st.builds(
    lambda of, share, clear, cooldown: policy(windows=max(1, round(share * of)), of=of, clear_windows=clear, cooldown=cooldown),
    st.integers(1, 5),
    st.floats(0, 1),
    st.integers(1, 4),
    st.sampled_from([None, "1d", "3d", "10d"]),
)


@given(PLACES, POLICIES)
def test_moves_alternate_and_each_has_its_evidence(places: list[Place], rule: FreshnessPolicy) -> None:
    """Each opening has enough windows beyond the limit, each resolution enough good ones after it, and a cooldown holds."""
    series = readings(places)
    numbers = {reading.window: number for number, reading in enumerate(series)}

    found = list(moves(rule, Standing(), series))

    assert [move.kind for move in found] == ["opened", "resolved"] * (len(found) // 2) + ["opened"] * (len(found) % 2)
    assert sorted(numbers[move.reading.window] for move in found) == [numbers[move.reading.window] for move in found]
    for move in found:
        number = numbers[move.reading.window]
        if move.kind == "opened":
            assert places[number] == "beyond"
            assert places[max(0, number + 1 - rule.of) : number + 1].count("beyond") >= rule.windows
        else:
            assert places[number + 1 - rule.clear_windows : number + 1] == ["good"] * rule.clear_windows
    gaps = [second.reading.end - first.reading.end for first, second in pairwise(found) if second.kind == "opened"]
    assert all(gap >= timedelta(days=int((rule.cooldown or "0d")[:-1])) for gap in gaps)


@given(PLACES, POLICIES)
def test_a_walk_may_stop_anywhere(places: list[Place], rule: FreshnessPolicy) -> None:
    """Windows that come one by one make the same moves as all at once: what is kept between two checks is enough."""
    series, standing, found = readings(places), Standing(until=START), []
    for number in range(len(series)):
        for move in moves(rule, standing, series[: number + 1]):
            found.append(move)
            end = move.reading.end
            standing = Standing(move.kind == "opened", end, move.reading.known, end if move.kind == "resolved" else standing.resolved)

    assert found == list(moves(rule, Standing(), series))


@given(PLACES, POLICIES, st.integers(0, 40))
def test_a_check_that_is_repeated_says_nothing(places: list[Place], rule: FreshnessPolicy, at: int) -> None:
    """Whenever it comes, a second check on the same figures has no events."""
    series, now = {"late": readings(places)}, START + timedelta(days=at)
    first = tuple(judge(Watched("p", "m"), {"late": rule}, series, {}, now))

    again = tuple(judge(Watched("p", "m"), {"late": rule}, series, fold(first), now))

    assert again == ()
    assert all(event.at == now for event in first)


@given(PLACES, POLICIES)
def test_a_back_test_is_what_daily_checks_would_have_said(places: list[Place], rule: FreshnessPolicy) -> None:
    """The same state machine, fed by the same clocks."""
    series, alerts, events = readings(places), dict[str, Alert](), list[AlertEvent]()
    for now in (reading.known for reading in series):
        events += judge(Watched("p", "m"), {"late": rule}, {"late": series}, alerts, now)
        alerts = fold(events)

    (found,) = replay(Watched("p", "m"), {"late": rule}, {"late": series}, ())

    assert [episode.window for episode in found.episodes] == [event.window for event in events if event.kind == "opened"]
    assert [episode.last for episode in found.episodes if episode.last] == [event.window for event in events if event.kind == "resolved"]


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), min_size=1, max_size=20), st.integers(1, 6))
def test_the_burn_is_the_share_of_rows_in_bad_windows(windows: list[tuple[int, bool]], long: int) -> None:
    """Against a plain count: rows in bad windows, over rows, over what the objective allows; the slower of both burns counts."""
    rule = BurnPolicy.model_validate({"signal": "burn", "at_least": 0.7, "objective": 0.9, "rate": 5.0, "long": long, **WHO})
    series = [
        Reading("", f"{START + timedelta(days=number):%Y-%m-%d}", START, 0.0, 0.0, "beyond" if bad else "good", "", rows)
        for number, (rows, bad) in enumerate(windows)
    ]

    found = burning(rule, series)

    for number, reading in enumerate(found):
        rates = []
        for length in (long, 1):
            part = windows[max(0, number + 1 - length) : number + 1]
            rates.append(sum(rows for rows, bad in part if bad) / sum(rows for rows, _ in part) / 0.1)
        assert reading.value == pytest.approx(min(rates))
        assert (reading.place == "beyond") == (min(rates) >= 5.0 - 1e-9)


def test_subjects_do_not_mix() -> None:
    """A column that drifts opens its own alert, whatever others do."""
    series = {"late": [*readings(["beyond", "good"], "column=a"), *readings(["good", "beyond"], "column=b")]}

    events = list(judge(Watched("p", "m"), {"late": policy()}, series, {}, START + timedelta(days=9)))

    assert [(event.kind, event.subject) for event in events] == [("opened", "column=b")]


def test_a_window_measured_again_resolves_alone_and_not_with_older_ones() -> None:
    """Where two good windows are asked for, one from before the opening is none of them."""
    again = Reading("", "2013-01-02", START + timedelta(days=9), 0.0, 0.0, "good", "")
    series = [readings(["good"])[0], again]
    standing = Standing(open=True, until=again.end, at=START + timedelta(days=2))

    one, two = (list(moves(policy(clear_windows=count), standing, series)) for count in (1, 2))

    assert [move.kind for move in one] == ["resolved"]
    assert two == []


def test_a_column_at_fault_is_no_drift() -> None:
    """A column that lost its values differs in every statistic: its fault is told, its drift is not counted."""
    rule = DriftPolicy.model_validate({"signal": "drift", "minimum_rows": 10, **WHO})
    row = {
        "window": "2013-01",
        "as_of": START,
        "segment": None,
        "n": 100,
        "m": 100,
        "threshold": 0.1,
        "q": 0.0,
        "lower": None,
        "upper": None,
        "current": "t@3",
    }
    lost = [
        {**row, "column": "amount", "statistic": name, "value": 0.5, "verdict": verdict} for name, verdict in (("ks", "drift"), ("missing", "fault"))
    ]
    far = {**row, "column": "distance", "statistic": "ks", "value": 0.4, "verdict": "drift"}

    (alone,), (both,) = (list(drift_readings(rule, rows, 1)) for rows in (lost, [*lost, far]))

    assert (alone.value, alone.place) == (0.0, "good")
    assert "1 at fault are left out (amount in t@3)" in alone.said
    assert (both.value, [cause["column"] for cause in both.causes]) == (1.0, ["distance"])


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, 3.0),
        ({"effect": 3.5}, 1.0),
        ({"q": 0.001}, 2.0),
        ({"columns": ["a", "b"]}, 2.0),
        ({"weights": {"a": 0.0, "b": 0.25}}, 1.25),
        ({"minimum_rows": 60}, 2.0),
    ],
)
def test_what_a_column_must_have_to_count(changes: dict[str, object], value: float) -> None:
    """Effect, false discovery rate, watched columns, weights and rows: each leaves out what it should."""
    rule = DriftPolicy.model_validate({"signal": "drift", "minimum_rows": 10, **WHO, **changes})
    row = {
        "window": "2013-01",
        "as_of": START,
        "segment": None,
        "statistic": "ks",
        "threshold": 0.1,
        "verdict": "drift",
        "lower": None,
        "upper": None,
        "current": "t@3",
    }
    rows = [
        {**row, "column": column, "value": found, "q": q, "n": n, "m": 100}
        for column, found, q, n in (("a", 0.2, 0.0, 100), ("b", 0.3, 0.01, 100), ("c", 0.4, 0.0, 50))
    ]

    (found,) = drift_readings(rule, rows, 1)

    assert found.value == pytest.approx(value)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_a_season_that_comes_again_is_not_unusual(values: list[int], history: int, season: int) -> None:
    """Beyond the limit is what is beyond it and above each of so many earlier windows of its season."""
    rule = DriftPolicy.model_validate({"signal": "drift", "at_least": 3, "history": history, "season": season, **WHO})
    series = [
        Reading("", f"{START + timedelta(days=number):%Y-%m-%d}", START, float(value), 3.0, "beyond" if value >= 3 else "good", "")
        for number, value in enumerate(values)
    ]

    found = unusual(rule, series)

    for number, value in enumerate(values):
        before = [values[number - season * back] for back in range(1, history + 1) if number - season * back >= 0]
        assert (found[number].place == "beyond") == (value >= 3 and all(value > other for other in before))
        assert (found[number].place == "good") == (value < 3)
