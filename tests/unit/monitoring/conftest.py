"""Years without a JVM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from months_maker import Maker, model

from sparkml_ops.monitoring.year import Limit, Month, Takeover, Year


@pytest.fixture
def maker() -> Maker:
    """A new one for each test: the same numbers again."""
    return Maker(np.random.default_rng(2013))


@pytest.fixture(scope="session")
def a_year() -> Year:
    """July to December 2013 and January 2014: a yes, a refused challenger, a brake, and no October."""
    maker = Maker(np.random.default_rng(2013))
    windows = ("2013-07", "2013-08", "2013-09", "2013-11", "2013-12", "2014-01")
    levels, versions = (0.3, 0.6, 2.0, 1.2, 2.1, 0.8), (1, 1, 1, 2, 2, 2)
    months = {
        window: maker.month(window, version, level=level, final=window != "2014-01")
        for window, level, version in zip(windows, levels, versions, strict=True)
    }

    def decided(window: str, **changes: object) -> None:
        months[window] = replace(months[window], decision=replace(months[window].decision, **changes))  # type: ignore[arg-type, type-var]

    drifting = "5 or more columns drift in 2 of 3 windows (2013-08, 2013-09)"
    decided("2013-08", trigger="drift", reason=f"{drifting}; but only 9,999 new labels of 10,000 needed")
    decided("2013-09", decision="yes", trigger="drift", reason=drifting, challenger=model(2), promoted=True)
    decided(
        "2013-12",
        decision="yes",
        trigger="performance",
        reason="realised auc 0.6812 in 2013-12, below 0.69; the challenger stays one: gate against_champion: 0.002 worse",
        challenger=model(3),
    )
    limit = Limit("auc", at_least=0.69)
    takeovers = (Takeover("2013-08-01T00:00:00+00:00", 1, "promote"), Takeover("2013-10-01T00:00:00+00:00", 2, "promote"))
    found = tuple(months.values())
    return Year("flights", "flights", 2, found, ("no scores of 2013-10",), as_of="2014-02-01T00:00:00+00:00", takeovers=takeovers, limit=limit)


@pytest.fixture
def made_up(a_year: Year) -> Year:
    """The same year."""
    return a_year


@pytest.fixture
def only() -> Callable[[Month], Year]:
    """A year of one month."""
    return lambda month: Year("flights", "flights", month.model_version, (month,))
