"""Windows of work and instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkml_ops.errors import ContractError
from sparkml_ops.window import Window, instant

HOURS = st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC))


class TestWindow:
    @given(HOURS, st.sampled_from(["%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H"]))
    def test_windows_follow_each_other_without_gap(self, moment: datetime, form: str) -> None:
        """The next window begins where this one ends, and has the same size of label."""
        window = Window.parse(moment.strftime(form))

        assert window.start <= moment < window.end
        assert window.next().start == window.end
        assert len(window.next().label) == len(window.label)

    @given(HOURS, st.sampled_from(["%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H"]))
    def test_the_window_before_leads_back(self, moment: datetime, form: str) -> None:
        """The window after the previous one is the window itself."""
        window = Window.parse(moment.strftime(form))

        assert window.previous().next() == window

    @pytest.mark.parametrize(("label", "span"), [("2013-07", "week"), ("2012-02-29", "year")])
    def test_a_window_that_never_was_is_refused(self, label: str, span: Literal["week", "year"]) -> None:
        """A month has no week ago, a leap day no year ago."""
        with pytest.raises(ContractError, match=f"{label} a {span} ago"):
            Window.parse(label).ago(span)

    @pytest.mark.parametrize("label", ["2013", "2013-13", "2013-02-30", "2013-7", "2013-07-14T24", "", "2013-07-14 05"])
    def test_a_wrong_label_is_refused(self, label: str) -> None:
        """The message shows the three forms."""
        with pytest.raises(ContractError, match="2013-07-14T05"):
            Window.parse(label)


class TestInstant:
    def test_text_without_a_zone_is_utc(self) -> None:
        """The laptop's zone never counts."""
        assert instant("2013-07-01T05:00:00") == datetime(2013, 7, 1, 5, tzinfo=UTC)

    def test_another_zone_becomes_utc(self) -> None:
        """An offset is honoured."""
        assert instant("2013-07-01T05:00:00-04:00") == datetime(2013, 7, 1, 9, tzinfo=UTC)
        assert instant("2013-07-01T05:00:00-04:00").utcoffset() == timedelta(0)

    def test_nonsense_is_refused(self) -> None:
        """An instant that cannot be read is no instant."""
        for text in ("tomorrow", date(2013, 7, 1)):
            with pytest.raises(ContractError, match="ISO 8601"):
                instant(text)
