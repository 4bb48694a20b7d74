"""What a window feature computes: a function of a column over a trailing length of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from math import gcd

from pyspark.sql import Column

from feature_store.duration import duration_text, parse_duration
from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean

__all__ = ["FUNCTIONS", "Aggregate", "require_multiples"]

FUNCTIONS = (
    "sum", "count", "mean", "variance", "std", "min", "max", "first", "last", "last_k",
    "distinct", "approx_distinct", "quantile", "approx_quantile",
)  # fmt: skip
_OPTIONS = {"q": ("quantile", "approx_quantile"), "k": ("last_k",)}


@dataclass(frozen=True)
class Aggregate:
    """One feature over a trailing window.

    Args:
        function: One of `FUNCTIONS`. Null values are left out, except by `first`, `last` and `last_k`, which give the
            rows' values by (event time, known time, value), nulls included; `last_k` is a list, newest first, empty for
            an empty window. `variance` and `std` are the sample's; `distinct` counts different values; `quantile`
            interpolates linearly. `approx_distinct` counts the 64-bit hashes of texts, bytes and decimals, which is lighter
            than carrying them: never too many, and one too few with a probability below n²/2^65 for n values in the window
            (a millionth at six million); other types are counted exactly. `approx_quantile` is the quantile of values rounded
            to eight significant bits: wrong by at most 0.4 % of the greater of the two values that it lies between.
        column: The events' column; None, with "count" alone, counts rows.
        window: Its length, as "7d", "90m", "36h" or "30s"; a day is 24 hours.
        where: A predicate over the events' columns, as SQL text or a Column; other rows are left out.
        q: With "quantile" and "approx_quantile" alone, from 0 to 1.
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
        for option, functions in _OPTIONS.items():
            value = getattr(self, option)
            if (value is not None) != (self.function in functions):
                only = f"{option} with {' and '.join(functions)}, and only there"
                raise ContractError(f"`{self.function}` with {option}={value}", expected=only, mend=f"set or drop {option}")
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


def require_multiples(aggregates: Sequence[Aggregate], slide: timedelta, what: str = "") -> None:
    """Refuse windows that are no multiple of the grid's step: each of their ends would lie between two grid instants.

    Args:
        aggregates: The features.
        slide: Distance of grid instants, more than zero.
        what: Where they are declared, for the message.

    Raises:
        ContractError: Names up to five of them, and the longest step that fits all.

    >>> require_multiples([Aggregate("count", None, "36h"), Aggregate("count", None, "2d")], timedelta(hours=12))
    """
    if odd := [item for item in aggregates if item.length % slide]:
        millisecond = timedelta(milliseconds=1)
        fits = duration_text(gcd(*(item.length // millisecond for item in aggregates)) * millisecond)
        raise ContractError(
            f"a slide of {_text(slide)} under {', '.join(f'`{item.output}` of {item.window}' for item in odd[:5])}{what and f' {what}'}",
            expected="windows that are multiples of the slide",
            mend=f"slide by {fits} or a part of it, or change the windows",
        )


def _text(length: timedelta) -> str:
    return str(length) if length % timedelta(milliseconds=1) else duration_text(length)
