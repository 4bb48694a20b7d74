"""Which windows `score --due` takes, and in which order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from finished_work import Night
from hypothesis import given
from hypothesis import strategies as st

from sparkml_ops.errors import ContractError
from sparkml_ops.verbs.due import due_windows, open_windows
from sparkml_ops.window import Size, Window

MARCH = datetime(2020, 3, 1, tzinfo=UTC)


def labels(*scored: str, as_of: datetime, since: str | None = None, size: Size | None = None) -> list[str]:
    return [window.label for window in due_windows(scored, as_of=as_of, since=None if since is None else Window.parse(since), size=size)]


class TestDueWindows:
    def test_it_goes_on_after_the_newest_up_to_the_last_that_has_ended(self) -> None:
        """A window that ends at the clock itself has ended; the one that runs has not."""
        assert labels("2019-11", as_of=MARCH) == ["2019-12", "2020-01", "2020-02"]
        assert labels("2019-12", as_of=datetime(2020, 2, 29, 23, 59, tzinfo=UTC)) == ["2020-01"]

    def test_nothing_is_due_where_the_newest_is_scored_or_the_clock_steps_back(self) -> None:
        """Neither is an error: the scheduler may come as often as it likes."""
        assert labels("2020-02", as_of=MARCH) == []
        assert labels("2020-02", as_of=datetime(2019, 7, 1, tzinfo=UTC)) == []

    def test_windows_in_any_order_and_twice_are_scored_once(self) -> None:
        """The newest is the one that ends last, not the one that was scored last."""
        assert labels("2020-01", "2019-12", "2020-01", as_of=MARCH) == ["2020-02"]

    def test_a_gap_comes_first(self) -> None:
        """What was missed between scored windows is due without a word, before what comes after them."""
        assert labels("2019-09", "2020-01", "2019-11", as_of=MARCH) == ["2019-10", "2019-12", "2020-02"]

    def test_from_leaves_earlier_gaps(self) -> None:
        """It takes what is missing from there on and leaves what is there; before the first scored window it goes further back."""
        assert labels("2019-11", "2020-01", as_of=MARCH, since="2020-01") == ["2020-02"]
        assert labels("2019-11", "2020-01", as_of=MARCH, since="2019-10") == ["2019-10", "2019-12", "2020-02"]

    def test_days_of_a_month_that_was_scored_as_one_are_no_gap(self) -> None:
        """They would have two predictions."""
        assert labels("2020-01-30", "2020-02", "2020-03-01", as_of=datetime(2020, 3, 3, tzinfo=UTC)) == ["2020-01-31", "2020-03-02"]

    def test_the_size_is_that_of_the_windows_before(self) -> None:
        """A project that scores days goes on with days, over the end of a month too."""
        assert labels("2020-02-27", as_of=MARCH) == ["2020-02-28", "2020-02-29"]
        assert labels("2020-02-29T21", as_of=MARCH) == ["2020-02-29T22", "2020-02-29T23"]

    def test_the_configured_size_counts_more(self) -> None:
        """A month that was scored once as a back-fill does not make a daily project monthly."""
        assert labels("2020-02-28", "2020-01", as_of=MARCH, size="day") == ["2020-02-29"]

    def test_the_first_time_needs_a_beginning(self) -> None:
        """Nobody scores ten years by mistake."""
        with pytest.raises(ContractError, match="--from 2013-07"):
            labels(as_of=MARCH)
        assert labels(as_of=MARCH, since="2020-01") == ["2020-01", "2020-02"]

    def test_another_size_is_refused(self) -> None:
        """Days over scored months would predict each row twice."""
        with pytest.raises(ContractError, match=r"a day; expected a month.*two predictions"):
            labels("2020-01", as_of=MARCH, since="2020-02-01")

    @given(st.lists(st.integers(0, 40), min_size=1), st.integers(0, 45))
    def test_what_is_due_and_what_is_scored_leave_no_gap(self, days: list[int], now: int) -> None:
        """Scoring what is due leaves nothing due."""
        first = Window.parse("2020-02-01")
        calendar = [first]
        for _ in range(50):
            calendar.append(calendar[-1].next())
        scored, as_of = [calendar[day].label for day in days], calendar[now].start

        due = labels(*scored, as_of=as_of)

        assert due == [window.label for window in calendar if window.label not in scored and window.label > min(scored) and window.end <= as_of]
        assert labels(*scored, *due, as_of=as_of) == []


class TestOpenWindows:
    @pytest.fixture
    def night(self, tmp_path: Path) -> Night:
        """Three windows were scored, in another order than that of the calendar."""
        night = Night(tmp_path / "p")
        for window in ("2020-01", "2019-11", "2019-12"):
            night.score(window)
        night.score("2020-02", slot="shadow")
        return night

    def test_a_gap_between_scored_windows_is_due(self, tmp_path: Path) -> None:
        """An outage needs no option of anybody."""
        night = Night(tmp_path / "q")
        for window in ("2020-01", "2020-05"):
            night.score(window)

        assert open_windows(night.work, "score", as_of="2020-07-01") == ("2020-02", "2020-03", "2020-04", "2020-06")

    def test_drift_has_to_do_what_was_scored_and_not_compared(self, night: Night) -> None:
        """Of its slot, oldest first."""
        night.drift("2019-12", {})

        assert open_windows(night.work, "drift") == ("2019-11", "2020-01")
        assert open_windows(night.work, "drift", slot="shadow") == ("2020-02",)

    def test_monitor_comes_again_until_the_truth_is_final(self, night: Night) -> None:
        """A measurement that was not final leaves the window open, a later one closes it."""
        night.monitor("2019-11", 0.7, final=False)
        night.monitor("2019-12", 0.7, final=False)
        night.monitor("2019-12", 0.7, final=True, generation=1)

        assert open_windows(night.work, "monitor") == ("2019-11", "2020-01")

    def test_retrain_decides_after_the_newest_window_only(self, night: Night) -> None:
        """Once."""
        assert open_windows(night.work, "retrain") == ("2020-01",)
        night.enter("retrain", {"decision": "no"}, as_of="2020-03-01", target="tiny", window="2020-01")

        assert open_windows(night.work, "retrain") == ()

    def test_score_has_to_do_what_is_due(self, night: Night) -> None:
        """As of the clock; other verbs do not go by windows."""
        assert open_windows(night.work, "score", as_of="2020-04-01") == ("2020-02", "2020-03")
        with pytest.raises(ContractError, match="one of score, drift, monitor, retrain"):
            open_windows(night.work, "train")
