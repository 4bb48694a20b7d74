"""What a window feature computes: a function of a column over a trailing length of time."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta

from pyspark.sql import Column

from feature_store.duration import parse_duration
from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["FUNCTIONS", "Aggregate"]

FUNCTIONS = ("sum", "count", "mean", "min", "max", "std", "first", "last", "last_k", "distinct", "quantile")


@dataclass(frozen=True)
class Aggregate:
    """One feature over a trailing window.

    Args:
        function: One of `FUNCTIONS`. Null values are left out, except by `first`, `last` and `last_k`, which give the
            rows' values by (event time, known time, value), nulls included; `last_k` is a list, newest first, empty for
            an empty window. `std` is the sample's; `distinct` counts different values; `quantile` interpolates linearly.
        column: The events' column; None, with "count" alone, counts rows.
        window: Its length, as "7d", "90m", "36h" or "30s"; a day is 24 hours.
        where: A predicate over the events' columns, as SQL text or a Column; other rows are left out.
        q: With "quantile" alone, from 0 to 1.
        k: With "last_k" alone, 1 or more.
        name: Name of the feature; `<column>_<function>_<window>` by default, `count_<window>` for the count of rows.

    Raises:
        ContractError: An unknown function, no column where one is needed, a window that is no length of time, or q or k
            missing or out of place.

    >>> Aggregate("sum", "amount", "7d").output, Aggregate("count", None, "90m").output
    ('amount_sum_7d', 'count_90m')
    """

    function: str
    column: str | None
    window: str
    _: KW_ONLY
    where: str | Column | None = None
    q: float | None = None
    k: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ContractError(
                f"the function {self.function!r}{did_you_mean(str(self.function), FUNCTIONS)}", expected=", ".join(FUNCTIONS), mend="correct it"
            )
        if self.column is None and self.function != "count":
            raise ContractError(f"`{self.function}` of no column", expected="a column; only count has none", mend="name the column")
        if self.length <= timedelta(0):
            raise ContractError(f"a window of {self.window}", expected="more than zero", mend='set a length such as "7d"')
        for option, function, value in (("q", "quantile", self.q), ("k", "last_k", self.k)):
            if (value is not None) != (self.function == function):
                raise ContractError(
                    f"`{self.function}` with {option}={value}", expected=f"{option} with {function}, and only there", mend=f"set or drop {option}"
                )
        if self.q is not None and not 0 <= self.q <= 1:
            raise ContractError(f"the quantile q={self.q}", expected="0 to 1", mend="correct q")
        if self.k is not None and not (isinstance(self.k, int) and self.k >= 1):
            raise ContractError(f"last_k with k={self.k}", expected="a whole number, 1 or more", mend="correct k")

    @property
    def length(self) -> timedelta:
        """The window's length."""
        return parse_duration(self.window)

    @property
    def output(self) -> str:
        """Name of the feature."""
        return self.name or "_".join(part for part in (self.column, self.function, self.window) if part)
