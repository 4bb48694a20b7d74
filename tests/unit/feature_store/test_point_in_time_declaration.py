"""Lookups and aggregates refuse what could not work before a Spark session exists."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from feature_store.aggregate import Aggregate
from feature_store.errors import ContractError
from feature_store.lookup import Lookup


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ()}, "one or more different columns"),
        ({"keys": ("a", "a")}, "one or more different columns"),
        ({"keys": {"a": "x", "b": "x"}}, "one or more different columns"),
        ({"features": ()}, "without features"),
        ({"ttl": timedelta(0)}, "a ttl of 0:00:00"),
        ({"ttl": timedelta(days=-1)}, "more than zero"),
        ({"ttl": "soon"}, "the duration 'soon'"),
        ({"known_time": 7}, "known_time 7"),
    ],
)
def test_lookup_refuses(options: dict[str, Any], message: str) -> None:
    """Keys, features, ttl and known_time are checked where the lookup is written."""
    with pytest.raises(ContractError, match=message):
        Lookup("weather", **{"keys": ("origin",), **options})


def test_lookup_takes_one_name_for_a_tuple() -> None:
    """A single name is not read letter by letter."""
    lookup = Lookup("weather", "origin", "wind", tie_break="revision")

    assert (lookup.keys, lookup.features, lookup.tie_break) == (("origin",), ("wind",), ("revision",))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("summ", "x", "7d"), {}, "did you mean `sum`"),
        (("sum", None, "7d"), {}, "`sum` of no column"),
        (("sum", "x", "7 days"), {}, "the duration '7 days'"),
        (("sum", "x", "0d"), {}, "more than zero"),
        (("quantile", "x", "7d"), {}, "q=None"),
        (("quantile", "x", "7d"), {"q": 1.5}, "0 to 1"),
        (("sum", "x", "7d"), {"q": 0.5}, "q=0.5"),
        (("last_k", "x", "7d"), {}, "k=None"),
        (("last_k", "x", "7d"), {"k": 0}, "1 or more"),
        (("last", "x", "7d"), {"k": 2}, "k=2"),
    ],
)
def test_aggregate_refuses(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    """Function, column, window, q and k are checked where the aggregate is written."""
    with pytest.raises(ContractError, match=message):
        Aggregate(*arguments, **options)


def test_an_aggregate_s_options_have_names() -> None:
    """What follows function, column and window says what it is."""
    with pytest.raises(TypeError, match="positional"):
        Aggregate("sum", "amount", "7d", "amount > 0")  # type: ignore[misc]


def test_aggregate_names() -> None:
    """Features are named by column, function and window; a count of rows has no column."""
    named = [
        Aggregate("sum", "amount", "7d"),
        Aggregate("count", None, "7d"),
        Aggregate("last_k", "x", "90m", k=2),
        Aggregate("min", "x", "30s", name="low"),
    ]

    assert [item.output for item in named] == ["amount_sum_7d", "count_7d", "x_last_k_90m", "low"]
