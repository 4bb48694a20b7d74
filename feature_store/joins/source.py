"""A lookup with its frame resolved and checked: what every plan of the join starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    NumericType,
    StringType,
    StructType,
    TimestampType,
)

from feature_store.checks import is_plain, refuse_clash, require_columns, require_instant, require_same_keys
from feature_store.errors import ContractError
from feature_store.lookup import Lookup
from feature_store.names import quote
from feature_store.timeline import known_micros, orderable

__all__ = ["Source", "check", "groups", "resolve"]

_FITTING: Mapping[type, tuple[type[DataType], ...]] = {
    bool: (BooleanType,),
    int: (NumericType,),
    float: (FloatType, DoubleType),
    Decimal: (DecimalType,),
    str: (StringType,),
    date: (DateType,),
    datetime: (TimestampType,),
}


@dataclass(frozen=True)
class Source:
    """A lookup with its frame and features resolved.

    Args:
        lookup: As given.
        frame: The table's rows.
        event_time: The frame's column.
        features: Columns to take.
        hit: Name of the column that carries the matched row on the way.
        audit_name: Begins the names of the audit columns.
        title: What messages call the table.
        audited: Whether the times of the matched row are wanted.
    """

    lookup: Lookup
    frame: DataFrame
    event_time: str
    features: tuple[str, ...]
    hit: str
    audit_name: str
    title: str
    audited: bool

    @property
    def outputs(self) -> list[str]:
        """Names of the features in the joined rows."""
        return [self.lookup.prefix + name for name in self.features]

    @property
    def audit_outputs(self) -> list[str]:
        """Names of the audit columns."""
        return [f"{self.audit_name}__{kind}_time" for kind in ("event", "known")] if self.audited else []

    @property
    def types(self) -> list[DataType]:
        """Types of the features."""
        return [self.frame.schema[name].dataType for name in self.features]

    @property
    def sortable(self) -> bool:
        """Whether Spark can order the values as they are."""
        return all(map(is_plain, self.types))

    @property
    def newest_wins(self) -> bool:
        """Whether the row that begins to count last is the one to take: not so where a correction of an old value arrives late."""
        return not isinstance(self.lookup.known_time, str)

    @property
    def timed(self) -> bool:
        """Whether a matched row's times are needed after the match, or decide it."""
        return self.audited or self.lookup.ttl is not None or not self.newest_wins

    @property
    def _bare(self) -> bool:
        """Whether the features alone are carried."""
        return not self.timed and not self.lookup.tie_break

    @property
    def rank(self) -> str:
        """The column that decides between two rows, the greatest first choice."""
        return self.hit if self.sortable else f"rank_{self.hit}"

    @property
    def ties(self) -> list[str]:
        """Names of the tie-break columns inside the rank."""
        return [f"tie_{index}" for index in range(len(self.lookup.tie_break))]

    def rows(self, names: Sequence[str], keys: Sequence[str]) -> DataFrame:
        """The table's rows on the timeline: keys, the time from which they count, and one struct.

        Args:
            names: The spine's key columns.
            keys: What they are called on the timeline, in the same order.
        """
        lookup, pairs = self.lookup, dict(self.lookup.pairs)
        event = F.unix_micros(F.col(quote(self.event_time)))
        known = known_micros(event, lookup.known_time)
        # Times are whole microseconds, so "event time < spine time" is "event time + 1 <= spine time".
        starts = event if lookup.exact_match else F.try_add(event, F.lit(1))
        # greatest() skips nulls, and a row whose event or known time is null never counts.
        later = starts if lookup.known_time is None else F.when(starts.isNotNull() & known.isNotNull(), F.greatest(starts, known))
        columns = [F.col(quote(pairs[name])).alias(key) for name, key in zip(names, keys, strict=True)]
        return self.frame.select(*self._carried(event, known), *columns, later.alias("time")).dropna(subset=[*keys, "time"])

    def found(self, match: Column) -> list[Column]:
        """The features of a matched row, with defaults where none matched."""
        defaults = self.lookup.defaults
        columns = []
        for name, kind in zip(self.features, self.types, strict=True):
            value = (match if self._bare else match["value"]).getField(name)
            if name in defaults:
                value = F.when(match.isNull(), F.lit(defaults[name]).cast(kind)).otherwise(value)
            columns.append(value.alias(self.lookup.prefix + name))
        return columns

    def found_times(self, match: Column) -> list[Column]:
        """The audit columns of a matched row."""
        return [F.timestamp_micros(match[kind]).alias(name) for kind, name in zip(("event", "known"), self.audit_outputs, strict=False)]

    def _carried(self, event: Column, known: Column) -> list[Column]:
        """The row as one struct, and what it is ordered by where the struct itself has no order."""
        schema = self.frame.schema
        ties = [orderable(F.col(quote(name)), schema[name].dataType).alias(tie) for name, tie in zip(self.lookup.tie_break, self.ties, strict=True)]
        values = [F.col(quote(name)) for name in self.features]
        times = [event.alias("event"), known.alias("known")] if self.timed else []
        whole = F.struct(*values)
        columns = [(whole if self._bare else F.struct(*times, *ties, whole.alias("value"))).alias(self.hit)]
        if not self.sortable:
            order = [orderable(value, kind).alias(f"order_{index}") for index, (value, kind) in enumerate(zip(values, self.types, strict=True))]
            columns.append(F.struct(*times, *ties, *order).alias(self.rank))
        return columns


def resolve(lookups: Sequence[Lookup], tables: Mapping[str, DataFrame], *, audit: bool = False) -> tuple[Source, ...]:
    """Every lookup with its frame.

    Raises:
        ContractError: A registered name without a frame, no event time, no feature, or a default of none of the features.
    """
    return tuple(_resolve(index, lookup, tables, audit=audit) for index, lookup in enumerate(lookups))


def check(spine: DataFrame, sources: Sequence[Source], spine_time: str) -> None:
    """Refuse, before any job, what cannot be joined.

    Raises:
        ContractError: A clash of names, missing columns, differing key types, or a time that is no `timestamp`.
    """
    require_columns(spine, [spine_time], "the spine")
    require_instant(spine.schema, spine_time, "spine time")
    for source in sources:
        lookup, schema = source.lookup, source.frame.schema
        times = [source.event_time, *([lookup.known_time] if isinstance(lookup.known_time, str) else [])]
        require_columns(spine, [left for left, _ in lookup.pairs], "the spine")
        require_columns(source.frame, [*(right for _, right in lookup.pairs), *times, *lookup.tie_break, *source.features], source.title)
        for name in times:
            require_instant(schema, name, "event time" if name == source.event_time else "known time")
        require_same_keys(spine.schema, schema, lookup.pairs, source.title)
    outputs = {f"lookup {index} ({source.title})": [*source.outputs, *source.audit_outputs] for index, source in enumerate(sources)}
    refuse_clash({"the spine": spine.columns, **outputs})


def groups(sources: Sequence[Source]) -> Iterator[tuple[tuple[str, ...], list[Source]]]:
    """Lookups that share the spine's key columns, in whatever order they name them, with these columns."""
    found: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        found.setdefault(tuple(sorted(left for left, _ in source.lookup.pairs)), []).append(source)
    yield from found.items()


def _resolve(index: int, lookup: Lookup, tables: Mapping[str, DataFrame], *, audit: bool) -> Source:
    name = lookup.table if isinstance(lookup.table, str) else None
    frame = tables.get(name) if name is not None else lookup.table
    title = f"table `{name}`" if name is not None else f"the frame of lookup {index}"
    if not isinstance(frame, DataFrame):
        raise ContractError(
            f"{title} without a DataFrame", expected="a DataFrame", mend="use store.training_set for registered names, or pass tables={name: frame}"
        )
    if lookup.event_time is None:
        raise ContractError(f"no event_time for {title}", expected="the column that says since when a value holds", mend="set Lookup(event_time=...)")
    features = lookup.features or _all_but(frame.schema, lookup)
    if not features:
        raise ContractError(
            f"{title} without a column beside keys and times", expected="at least one feature", mend="name features=, or leave out the lookup"
        )
    _check_defaults(lookup.defaults, frame.schema, features, title)
    return Source(lookup, frame, lookup.event_time, features, f"hit_{index}", lookup.prefix or name or f"lookup{index}", title, audit)


def _all_but(schema: StructType, lookup: Lookup) -> tuple[str, ...]:
    """The columns that are neither key, time nor tie-break."""
    known = [lookup.known_time] if isinstance(lookup.known_time, str) else []
    used = {*(right for _, right in lookup.pairs), lookup.event_time, *known, *lookup.tie_break}
    return tuple(column for column in schema.names if column not in used)


def _check_defaults(defaults: Mapping[str, Any], schema: StructType, features: Sequence[str], title: str) -> None:
    if unknown := sorted(set(defaults) - set(features)):
        raise ContractError(
            f"defaults for {unknown[:5]} of {title}", expected=f"features that it looks up: {list(features)}", mend="correct the name"
        )
    for name, value in defaults.items():
        if name in schema.names and not isinstance(schema[name].dataType, _FITTING.get(type(value), ())):
            raise ContractError(
                f"the default {value!r} for `{name}` of type {schema[name].dataType.simpleString()} in {title}",
                expected="a value of that type",
                mend="correct the default, or look the feature up as it is and fill it afterwards",
            )
