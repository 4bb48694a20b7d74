"""A feature table as its team declares it: once, in YAML or as this object."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from typing import Any, Literal

from pyspark.sql import DataFrame

from feature_store.aggregate import Aggregate, require_multiples
from feature_store.column_type import parse_type
from feature_store.duration import duration_text, is_duration, parse_duration
from feature_store.errors import ContractError
from feature_store.expressions import check
from feature_store.names import parse_table
from feature_store.nearest import did_you_mean
from feature_store.quality.expectation import Expectation, check_expectations
from feature_store.transform import Transform, stored_transform, transform_of

__all__ = ["QUARANTINE_COLUMNS", "Feature", "FeatureTable", "definition_digest", "meaning_of"]

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# What describes a table without changing a value in it: it may change under the same version.
_DESCRIPTIVE = frozenset({"owner", "meaning", "tags", "pii", "expectations", "retention", "freshness", "deprecated"})
_RESERVED = frozenset({"feature_tables", "training_sets", "consumers", "erasures"})
# What the quarantine of a table adds to its columns: why a row was kept apart, and by which write.
QUARANTINE_COLUMNS = ("quarantine_reasons", "quarantine_write")
_DURATIONS = ("slide", "ttl", "retention", "freshness")
_TUPLES = ("keys", "features", "aggregates", "row_id", "tags", "pii", "expectations")


@dataclass(frozen=True)
class Feature:
    """One column of a feature table.

    Args:
        name: Letters, digits and _.
        type: Spark's short form: `double`, `bigint`, `decimal(10,2)`, `array<string>`; `long` and `integer` are understood.
        unit: Unit of the values, as `min` or `km`; None where they have none.
        meaning: One sentence for the people who search for it.

    >>> Feature("distance", "long", unit="mi").type
    'bigint'
    """

    name: str
    type: str
    unit: str | None = None
    meaning: str = ""

    def __post_init__(self) -> None:
        _require_column(self.name, "the feature")
        object.__setattr__(self, "type", parse_type(self.type))


@dataclass(frozen=True)
class FeatureTable:
    """Values of an entity over time, one row for each (keys, event time, known time).

    Args:
        name: Logical name; version 2 and later lie beside the first as `<name>@v<version>`.
        keys: Columns that identify the entity.
        event_time: Column (timestamp) of the instant from which a row's values hold.
        features: Columns with type, unit and meaning; with `aggregates`, one for each of them.
        source: Table that `refresh` computes the rows from; None where they are written with `store.write`.
        transform: How source rows become rows: a function `DataFrame -> DataFrame`, the name of a builder, or
            `Derived` columns. It sees only source rows that were known, where the source has this table's time columns.
        aggregates: Trailing windows over the transformed source rows.
        slide: Step of the grid on which windows are evaluated, of which each window is a multiple; a timedelta or text such as "1h".
        known_time: When a row became known: a column (timestamp), or a delay after the event time ("1h");
            None says at the event time. Values of `aggregates` are known at their grid time: there it is the source's.
        row_id: Columns that identify a source row, so that a corrected row counts once.
        ttl: Age beyond which a lookup no longer takes a value; None: never.
        version: Raise it when values get another meaning.
        owner: Who answers for the table.
        meaning: One sentence.
        tags: Words to find it by.
        pii: Columns that hold personal data.
        expectations: Rules about the rows that are written, and what happens where they do not hold.
        retention: How long rows are kept; None: for ever.
        freshness: Age of the newest row beyond which the table is stale; None: no promise.
        closed: Which end of a window belongs to it: "right" counts a row at the grid time itself, "left" does not.
        known_early: Whether values may be known before their event time, as a schedule or a forecast is.
        deprecated: Day (UTC) from which nobody should read it any more; lookups of it warn. None: none is set.

    Raises:
        ContractError: A name, type, duration or combination that cannot be meant.

    >>> table = FeatureTable("weather", ["origin"], "observed", [Feature("temperature", "double", "F")], known_time="1h", ttl="3h")
    >>> table.merge_keys, table.known_time
    (('origin', 'observed'), datetime.timedelta(seconds=3600))
    """

    name: str
    keys: tuple[str, ...]
    event_time: str
    features: tuple[Feature, ...]
    source: str | None = field(default=None, kw_only=True)
    transform: Transform | Callable[[DataFrame], DataFrame] | str | Mapping[str, str] | Sequence[Mapping[str, str]] | None = field(
        default=None, kw_only=True
    )
    aggregates: tuple[Aggregate, ...] = field(default=(), kw_only=True)
    slide: timedelta | None = field(default=None, kw_only=True)
    known_time: str | timedelta | None = field(default=None, kw_only=True)
    row_id: tuple[str, ...] | None = field(default=None, kw_only=True)
    ttl: timedelta | None = field(default=None, kw_only=True)
    version: int = field(default=1, kw_only=True)
    owner: str | None = field(default=None, kw_only=True)
    meaning: str = field(default="", kw_only=True)
    tags: tuple[str, ...] = field(default=(), kw_only=True)
    pii: tuple[str, ...] = field(default=(), kw_only=True)
    expectations: tuple[Expectation, ...] = field(default=(), kw_only=True)
    retention: timedelta | None = field(default=None, kw_only=True)
    freshness: timedelta | None = field(default=None, kw_only=True)
    closed: Literal["right", "left"] = field(default="right", kw_only=True)
    known_early: bool = field(default=False, kw_only=True)
    deprecated: date | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in _TUPLES:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, (value,) if isinstance(value, str | Feature | Aggregate | Expectation) else tuple(value))
        for name in _DURATIONS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _positive(value, f"{name} of `{self.name}`"))
        if is_duration(self.known_time) or isinstance(self.known_time, timedelta):
            object.__setattr__(self, "known_time", parse_duration(self.known_time))  # type: ignore[arg-type]
            if self.known_time < timedelta(0):  # type: ignore[operator]
                raise ContractError(
                    f"known_time {self.known_time} of `{self.name}`", expected="zero or more", mend="store the known time as a column"
                )
        object.__setattr__(self, "transform", transform_of(self.transform))
        _check_names(self)
        _check_source(self)
        _check_policies(self)

    @property
    def table_name(self) -> str:
        """Logical name of the Delta table of this version."""
        return self.name if self.version == 1 else f"{self.name}@v{self.version}"

    @property
    def stored_known_time(self) -> str | None:
        """The stored column of the known time; None where it follows from the event time."""
        return self.known_time if isinstance(self.known_time, str) and not self.aggregates else None

    @property
    def merge_keys(self) -> tuple[str, ...]:
        """Columns of which a combination stands in the table once."""
        known = self.stored_known_time
        return (*self.keys, self.event_time, *((known,) if known else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """All stored columns, in order."""
        stored = () if self.aggregates else self.row_id or ()
        return tuple(dict.fromkeys((*self.merge_keys, *stored, *(feature.name for feature in self.features))))

    @property
    def definition(self) -> dict[str, Any]:
        """Everything declared, as JSON types."""
        document = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        assert not callable(self.transform) or hasattr(self.transform, "document")
        document["transform"] = None if self.transform is None else self.transform.document()  # type: ignore[union-attr]
        document["features"] = [{"name": item.name, "type": item.type, "unit": item.unit, "meaning": item.meaning} for item in self.features]
        document["aggregates"] = [{part.name: _plain(getattr(item, part.name)) for part in fields(item)} for item in self.aggregates]
        document["expectations"] = [item.document() for item in self.expectations]
        return document

    @property
    def definition_hash(self) -> str:
        """SHA-256 over what determines the values; owner, words and policies do not count."""
        return definition_digest(meaning_of(self.definition))

    @classmethod
    def from_definition(cls, document: Mapping[str, Any]) -> FeatureTable:
        """The table of a stored definition; a Python function comes back by name only."""
        return cls(
            **{
                **document,
                "features": [Feature(**item) for item in document["features"]],
                "aggregates": [Aggregate(**item) for item in document["aggregates"]],
                "transform": stored_transform(document["transform"]),
                # Before they were rules, expectations were names that nothing looked at.
                "expectations": [Expectation(**item) for item in document["expectations"] if not isinstance(item, str)],
            }
        )


def definition_digest(document: Any) -> str:
    """SHA-256 of a document in canonical JSON: sorted keys, no spaces.

    >>> definition_digest({"b": 1, "a": 2}) == definition_digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def meaning_of(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a definition that determines values."""
    bare = [{key: value for key, value in feature.items() if key != "meaning"} for feature in definition["features"]]
    return {**{key: value for key, value in definition.items() if key not in _DESCRIPTIVE}, "features": bare}


def _check_names(table: FeatureTable) -> None:
    what = f"of table `{table.name}`"
    parse_table(table.name)
    if "@" in table.name:
        raise ContractError(f"the name `{table.name}`", expected="a name without @", mend="give the version as version=")
    if table.name in _RESERVED or table.name.startswith("training_set_") or table.name.endswith("_quarantine"):
        raise ContractError(f"the name `{table.name}`", expected="none of the store's own tables", mend="rename the table")
    if not isinstance(table.version, int) or table.version < 1:
        raise ContractError(f"version {table.version!r} {what}", expected="1, 2, 3, ...", mend="count versions from 1")
    if not table.keys or not table.features:
        raise ContractError(f"{len(table.keys)} keys and {len(table.features)} features {what}", expected="at least one of each", mend="declare them")
    if table.closed not in ("right", "left"):
        raise ContractError(f"closed={table.closed!r} {what}", expected='"right" or "left"', mend="choose one")
    times = (table.event_time, *((table.known_time,) if isinstance(table.known_time, str) else ()))
    for name in (*table.keys, *times, *(table.row_id or ())):
        _require_column(name, f"the column {what}")
    _require_once((*table.keys, *times, *(feature.name for feature in table.features)), what)
    known = (*table.columns, *times)
    for name in table.pii:
        if name not in known:
            raise ContractError(
                f"the PII mark `{name}` {what}{did_you_mean(name, known)}", expected=f"one of {sorted(known)}", mend="correct the name"
            )


def _check_source(table: FeatureTable) -> None:
    what = f"of table `{table.name}`"
    if table.source is not None:
        parse_table(table.source)
    if (table.transform is not None or table.aggregates) and table.source is None:
        raise ContractError(f"a transform or aggregates {what} without a source", expected="source=", mend="name the table that they read")
    if bool(table.aggregates) != (table.slide is not None):
        raise ContractError(
            f"{len(table.aggregates)} aggregates and slide={table.slide} {what}", expected="both or neither", mend="set aggregates and slide"
        )
    if not table.aggregates or table.slide is None:
        return
    require_multiples(table.aggregates, table.slide, what)
    for item in table.aggregates:
        if item.where is not None and not isinstance(item.where, str):
            raise ContractError(
                f"a Column as where of `{item.output}` {what}", expected="SQL text, which the registry can keep", mend="write it as text"
            )
        if item.where is not None:
            check(item.where)
    made, declared = [item.output for item in table.aggregates], [feature.name for feature in table.features]
    _require_once(made, what)
    if missing := [name for name in declared if name not in made]:
        hints = ", ".join(f"`{name}`{did_you_mean(name, made)}" for name in missing[:5])
        raise ContractError(
            f"the features {hints} {what}, which no aggregate makes", expected=f"{made}", mend="correct the name, or declare the aggregate"
        )
    if missing := [name for name in made if name not in declared]:
        lines = ", ".join(f'Feature("{name}", "<type>")' for name in missing[:5])
        raise ContractError(f"the aggregates {missing[:5]} {what}, which no feature declares", expected="a feature for each", mend=f"add {lines}")


def _check_policies(table: FeatureTable) -> None:
    what = f"of table `{table.name}`"
    object.__setattr__(table, "deprecated", _day(table.deprecated, what))
    if named := [item for item in table.expectations if not isinstance(item, Expectation)]:
        raise ContractError(f"the expectation {named[0]!r} {what}", expected='an Expectation, as Expectation("not_null", "delay")', mend="declare it")
    check_expectations(table.expectations, table.columns, {feature.name: feature.type for feature in table.features}, what)
    if any(item.otherwise == "quarantine" for item in table.expectations):
        _require_once((*table.columns, *QUARANTINE_COLUMNS), f"in the quarantine {what}")


def _day(given: object, what: str) -> date | None:
    if given is None or type(given) is date:
        return given
    try:
        return date.fromisoformat(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ContractError(f"deprecated={given!r} {what}", expected="a day, as 2027-01-31", mend="correct it") from None


def _require_column(name: object, what: str) -> None:
    if not isinstance(name, str) or not _COLUMN.fullmatch(name):
        raise ContractError(f"{what} {name!r}", expected="letters, digits and _, not beginning with a digit", mend="rename it")


def _require_once(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        # Spark and Delta take `A` and `a` for one column.
        if name.lower() in seen:
            raise ContractError(f"the column `{name}` twice {what}", expected="every column once, whatever its case", mend="rename one of them")
        seen.add(name.lower())


def _positive(value: str | timedelta, what: str) -> timedelta:
    length = parse_duration(value)
    if length <= timedelta(0):
        raise ContractError(f"{what} of {length}", expected="more than zero", mend="set a positive length, or leave it out")
    return length


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
