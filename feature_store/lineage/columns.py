"""From which columns of its source each feature of a table is computed, as far as its declaration says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from feature_store.expressions import columns_of
from feature_store.table import FeatureTable
from feature_store.transform import Builder, Derived, Function

__all__ = ["columns_read"]

Reads = Mapping[str, Mapping[str, str]]


def columns_read(table: FeatureTable) -> Reads:
    """By feature the source's columns that its values or the choice of its rows depend on, and how.

    Nothing of a table whose rows are written, or made by a Python function: that says nothing about its columns.

    >>> from feature_store.aggregate import Aggregate
    >>> from feature_store.table import Feature
    >>> spent = Aggregate("sum", "euros", "7d", where="paid")
    >>> euros = {"euros": "amount * rate"}
    >>> columns_read(FeatureTable("t", "k", "at", Feature(spent.output, "double"), source="s", transform=euros, aggregates=spent, slide="1d"))
    {'euros_sum_7d': {'amount': 'sum over 7d', 'rate': 'sum over 7d', 'paid': 'where paid'}}
    """
    if table.source is None or isinstance(table.transform, Builder | Function):
        return {}
    derived = _Derivations(table.transform)
    if table.aggregates:
        found = {item.output: _aggregated(derived, item.column, f"{item.function} over {item.window}", item.where) for item in table.aggregates}
        return {feature.name: {**found[feature.name], **derived.filtered(found[feature.name])} for feature in table.features}
    plain = {feature.name: dict.fromkeys(derived.base([feature.name]), derived.text(feature.name)) for feature in table.features}
    return {name: {**columns, **derived.filtered(columns)} for name, columns in plain.items()}


class _Derivations:
    """Derived columns traced back to the source's."""

    def __init__(self, transform: object) -> None:
        self._made: dict[str, tuple[str, ...]] = {}
        self._texts: dict[str, str] = {}
        self._kept: tuple[str, ...] = ()
        self._where = transform.where if isinstance(transform, Derived) else None
        if isinstance(transform, Derived):
            for name, expression in transform.pairs:
                # A later one may use, and even replace, an earlier one.
                self._made[name.lower()] = self.base(columns_of(expression))
                self._texts[name.lower()] = expression
            self._kept = self.base(columns_of(transform.where)) if transform.where else ()

    def base(self, names: Iterable[str]) -> tuple[str, ...]:
        """The source's columns behind some columns; Spark tells no `A` from `a`."""
        return tuple(dict.fromkeys(column for name in names for column in self._made.get(name.lower(), (name,))))

    def text(self, name: str) -> str:
        """The expression of a derived column; empty for one of the source's."""
        return self._texts.get(name.lower(), "")

    def filtered(self, known: Mapping[str, str]) -> dict[str, str]:
        """The further columns that decide which rows are there."""
        return {column: f"rows where {self._where}" for column in self._kept if column not in known}


def _aggregated(derived: _Derivations, column: str | None, how: str, where: object) -> dict[str, str]:
    values = dict.fromkeys(derived.base([column]) if column else (), how)
    chosen = derived.base(columns_of(where)) if isinstance(where, str) else ()
    return {**values, **{name: f"where {where}" for name in chosen if name not in values}}
