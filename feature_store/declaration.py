"""Sources, feature tables and training sets as a project's YAML declares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from feature_store.aggregate import FUNCTIONS, Aggregate
from feature_store.closed import Declaration
from feature_store.column_type import parse_type
from feature_store.duration import duration_text, is_duration, parse_duration
from feature_store.errors import ContractError
from feature_store.expressions import check, columns_of
from feature_store.lookup import Lookup
from feature_store.names import parse_table
from feature_store.nearest import did_you_mean
from feature_store.quality.declaration import ExpectationDeclaration
from feature_store.row_function import RowFunction
from feature_store.row_function_declaration import RowFunctionDeclaration, checked_functions
from feature_store.split import Split
from feature_store.table import Feature, FeatureTable
from feature_store.transform import Derived

__all__ = [
    "AggregateDeclaration",
    "FeatureDeclaration",
    "FeatureTableDeclaration",
    "LookupDeclaration",
    "SourceDeclaration",
    "SplitDeclaration",
    "TrainingSetDeclaration",
    "check_inputs",
]

Duration = Annotated[str, AfterValidator(lambda text: duration_text(parse_duration(text)))]
# The text names the feature, so it stays as written.
WindowText = Annotated[str, AfterValidator(lambda text: _checked(text, parse_duration))]
Expression = Annotated[str, AfterValidator(check)]
TypeName = Annotated[str, AfterValidator(parse_type)]


TableName = Annotated[str, AfterValidator(lambda name: _checked(name, parse_table))]

_TYPES = dict.fromkeys(("count", "distinct", "approx_distinct"), "bigint") | dict.fromkeys(
    ("mean", "variance", "std", "quantile", "approx_quantile"), "double"
)


class SourceDeclaration(Declaration):
    """`sources.<name>`: a raw table, made by a builder under that name, or already there."""

    builder: str | None = Field(default=None, description="entry point of group feature_store.builders that makes the rows")
    table: TableName | None = Field(default=None, description="a table that is already in the warehouse")
    columns: dict[str, TypeName] = Field(default_factory=dict, description="contract: column to type; other columns may be there too")
    event_time: str = Field(description="column (timestamp) of the instant from which a row holds")
    known_time: str | None = Field(default=None, description='column (timestamp) or delay ("1h") of when a row became known; null: at its event time')
    row_id: tuple[str, ...] = Field(default=(), description="columns that identify a row, so that a corrected one counts once")
    meaning: str = Field(default="", description="one sentence")

    @model_validator(mode="after")
    def _one_origin(self) -> SourceDeclaration:
        if (self.builder is None) == (self.table is None):
            raise ContractError(f"builder={self.builder!r} and table={self.table!r}", expected="exactly one of them", mend="set builder or table")
        if self.columns:
            times = [self.event_time, *([self.known_time] if self.known_time and not is_duration(self.known_time) else [])]
            _require_known((*times, *self.row_id), self.columns, "the source's columns")
        return self

    def table_name(self, name: str) -> str:
        """Logical name of the table that holds the rows of the source `name`."""
        return self.table or name


class FeatureDeclaration(Declaration):
    """`features.<table>.features.<name>`: a column."""

    type: TypeName = Field(description="Spark's short form: double, bigint, string, timestamp, decimal(p,s), array<...>")
    unit: str | None = Field(default=None, description="unit of the values; null where they have none")
    meaning: str = Field(default="", description="one sentence")


class AggregateDeclaration(Declaration):
    """One trailing window, and the feature that it makes."""

    function: str = Field(description=", ".join(FUNCTIONS))
    column: str | None = Field(default=None, description="what is aggregated; null counts rows")
    window: WindowText = Field(description='length of the window, as "7d" or "90m"')
    where: Expression | None = Field(default=None, description="SQL condition on the rows that count")
    q: float | None = Field(default=None, ge=0, le=1, description="which quantile, 0 to 1")
    k: int | None = Field(default=None, ge=1, description="how many values last_k keeps")
    name: str | None = Field(default=None, description="name of the feature; null: <column>_<function>_<window>")
    type: TypeName | None = Field(
        default=None, description="type of the feature; null where the function says it: counts are bigint, means, spreads and quantiles double"
    )
    unit: str | None = Field(default=None, description="unit of the feature")
    meaning: str = Field(default="", description="one sentence")

    def aggregate(self) -> Aggregate:
        """The aggregate."""
        return Aggregate(self.function, self.column, self.window, where=self.where, q=self.q, k=self.k, name=self.name)

    def feature(self) -> Feature:
        """The feature that it makes.

        Raises:
            ContractError: Its type does not follow from the function and is not given.
        """
        name, kind = self.aggregate().output, self.type or _TYPES.get(self.function)
        if kind is None:
            raise ContractError(f"the aggregate `{name}` without a type", expected=f"type: the type of {self.function}({self.column})", mend="add it")
        return Feature(name, kind, self.unit, self.meaning)


class FeatureTableDeclaration(Declaration):
    """`features.<name>`: a feature table; each field as in `FeatureTable`."""

    keys: tuple[str, ...] = Field(min_length=1, description="columns that identify the entity")
    event_time: str | None = Field(default=None, description="column of the event time; null: the source's")
    features: dict[str, FeatureDeclaration | TypeName] = Field(default_factory=dict, description="column to {type, unit, meaning}, or to its type")
    source: str | None = Field(default=None, description="name of a source or of a table; null: written with store.write")
    transform: tuple[dict[str, Expression], ...] | str | None = Field(
        default=None, description="derived columns {name: SQL}, or the name of a builder"
    )
    where: Expression | None = Field(default=None, description="SQL condition on the source rows that are used")
    aggregates: tuple[AggregateDeclaration, ...] = Field(default=(), description="trailing windows; each makes a feature")
    slide: Duration | None = Field(default=None, description="step of the grid on which windows are evaluated; each window is a multiple of it")
    closed: Literal["right", "left"] = Field(default="right", description="which end of a window belongs to it")
    known_time: str | None = Field(default=None, description='column or delay ("1h"); null: the source\'s')
    known_early: bool = Field(default=False, description="whether values may be known before their event time")
    row_id: tuple[str, ...] | None = Field(default=None, description="columns that identify a source row; null: the source's")
    ttl: Duration | None = Field(default=None, description="age beyond which a lookup takes no value; null: never")
    version: int = Field(default=1, ge=1, description="raise it when values get another meaning")
    owner: str | None = Field(default=None, description="who answers for the table")
    meaning: str = Field(default="", description="one sentence")
    tags: tuple[str, ...] = Field(default=(), description="words to find it by")
    pii: tuple[str, ...] = Field(default=(), description="columns that hold personal data")
    expectations: tuple[ExpectationDeclaration, ...] = Field(default=(), description="rules about the rows that are written")
    retention: Duration | None = Field(default=None, description="how long rows are kept; null: for ever")
    freshness: Duration | None = Field(default=None, description="age of the newest row beyond which the table is stale")
    deprecated: date | None = Field(default=None, description="day from which nobody should read it any more, as 2027-01-31")

    def table(self, name: str, sources: Mapping[str, SourceDeclaration] | None = None) -> FeatureTable:
        """The feature table: the same object as its Python form.

        Args:
            name: Its logical name, the key in the YAML.
            sources: The project's sources; times and row identity that are not set here are theirs.

        Raises:
            ContractError: A column that the source's contract does not know, or what `FeatureTable` refuses.
        """
        source = (sources or {}).get(self.source or "")
        inherited = {} if source is None else {"event_time": source.event_time, "known_time": source.known_time}
        if source is not None and self.aggregates:
            inherited["row_id"] = source.row_id or None  # type: ignore[assignment]
        given = self.model_dump(exclude={"features", "aggregates", "transform", "where", "source", "expectations"})
        given.update({key: value for key, value in inherited.items() if given[key] is None})
        if given["event_time"] is None:
            raise ContractError(f"table `{name}` without an event time", expected="event_time, or a source that declares one", mend="add event_time")
        table = FeatureTable(
            name,
            features=self._features(),
            source=source.table_name(self.source or "") if source else self.source,
            transform=self._transform(name),
            aggregates=tuple(item.aggregate() for item in self.aggregates),
            expectations=tuple(item.expectation() for item in self.expectations),
            **given,
        )
        if source is not None and source.columns:
            check_inputs(table, source.columns)
        return table

    def _features(self) -> tuple[Feature, ...]:
        plain = {name: item if isinstance(item, FeatureDeclaration) else FeatureDeclaration(type=item) for name, item in self.features.items()}
        declared = {name: Feature(name, item.type, item.unit, item.meaning) for name, item in plain.items()}
        made = (item.feature() for item in self.aggregates if item.aggregate().output not in declared)
        return (*declared.values(), *made)

    def _transform(self, name: str) -> Derived | str | None:
        if isinstance(self.transform, str):
            if self.where is not None:
                raise ContractError(
                    f"where beside the builder `{self.transform}` in table `{name}`", expected="one of them", mend="filter in the builder"
                )
            return self.transform
        return Derived(self.transform or (), self.where) if self.transform or self.where else None


class LookupDeclaration(Declaration):
    """One lookup of a training set."""

    table: TableName = Field(description="a feature table")
    keys: tuple[str, ...] | dict[str, str] = Field(description="columns of both, or {spine column: table column}")
    features: tuple[str, ...] | None = Field(default=None, description="what to take; null: all")
    event_time: str | None = Field(default=None, description="only for a table that is not registered")
    known_time: str | None = Field(default=None, description="only for a table that is not registered")
    ttl: Duration | None = Field(default=None, description="overrides the table's")
    exact_match: bool = Field(default=True, description="whether a value of the spine time itself counts")
    tie_break: tuple[str, ...] = Field(default=(), description="columns that decide between equal times")
    prefix: str = Field(default="", description="set before the names of the features")
    defaults: dict[str, bool | int | float | str] = Field(default={}, description="feature to its value where no row matches")

    @model_serializer(mode="wrap")
    def _without_the_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name != "defaults" or value}

    def lookup(self) -> Lookup:
        """The lookup."""
        known = parse_duration(self.known_time) if self.known_time and is_duration(self.known_time) else self.known_time
        ttl = parse_duration(self.ttl) if self.ttl else None
        return Lookup(**{**{name: getattr(self, name) for name in type(self).model_fields}, "known_time": known, "ttl": ttl})


class SplitDeclaration(Declaration):
    """Parts of a training set relative to the day until which it trains."""

    validation: Duration | Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of the training rows' keys or groups that is held out, 0: none; or the length of a part of its own before `until`, as"
        ' "30d": what is chosen by it (epochs, a search) is then chosen for rows that come later',
    )
    evaluation: Duration | Annotated[float, Field(gt=0, lt=1)] = Field(
        description='length of the evaluation part after `until`, as "31d"; or a share of the keys or groups before it, as 0.2'
    )
    group: tuple[str, ...] = Field(default=(), description="columns of the spine whose rows stay in one part of those that are shares")

    def at(self, until: datetime, seed: int = 0, since: datetime | None = None, replay: float = 0.0) -> Split:
        """The split that trains on rows before `until`, and not before `since` but for a share of the keys there."""
        shares: dict[str, float] = {}
        boundaries: dict[str, datetime | None] = {"train": until}
        if isinstance(self.validation, str):
            boundaries = {"train": until - parse_duration(self.validation), "validation": until}
        elif self.validation:
            shares["validation"] = self.validation
        if isinstance(self.evaluation, float):
            shares["evaluation"] = self.evaluation
        else:
            boundaries["evaluation"] = until + parse_duration(self.evaluation)
        return Split(boundaries, shares, seed, since, self.group, replay)


class TrainingSetDeclaration(Declaration):
    """`training_set`: examples from a spine and the lookups at each row's time."""

    spine: TableName = Field(description="table with a row for each example")
    time: str = Field(description="its column (timestamp) of the instant of prediction")
    row_key: tuple[str, ...] = Field(min_length=1, description="columns that identify an example")
    label: str = Field(description="column of the label; null is pending")
    label_known_time: str | None = Field(default=None, description="column (timestamp) of when the label became known")
    columns: tuple[str, ...] = Field(default=(), description="further columns of the spine to carry")
    where: Expression | None = Field(default=None, description="SQL condition on the spine's rows")
    lookups: tuple[LookupDeclaration, ...] = Field(default=(), description="features to join")
    functions: Annotated[dict[str, RowFunctionDeclaration], AfterValidator(checked_functions)] = Field(
        default_factory=dict, description="features computed of each joined row, in order: name to {type, inputs, expression or builder}"
    )
    split: SplitDeclaration | None = Field(default=None, description="null: every row is for training")
    maturity: Duration = Field(default="0d", description="age that an example needs before its label counts")
    seed: int = Field(default=0, description="seed of order and split")
    weight: Expression | None = Field(
        default=None, description="how much an example counts: a column or expression of the spine's; null: all the same"
    )
    site: str | None = Field(
        default=None,
        description="column of the spine (text or whole number, at most 256 values) that says where a row is at home: each site has files of its"
        " own, as training.sites needs; null: rows have no sites",
    )

    @model_serializer(mode="wrap")
    def _without_the_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Finished runs of projects without row functions, weights and sites keep the hash of their configuration.
        return {name: value for name, value in serialize(self).items() if name not in ("functions", "weight", "site") or value}

    def row_functions(self) -> tuple[RowFunction, ...]:
        """The row functions, in order."""
        return tuple(item.function(name) for name, item in self.functions.items())

    def spine_inputs(self, columns: Iterable[str]) -> list[str]:
        """Columns of the spine that row functions read.

        Args:
            columns: The spine's.
        """
        read = {name for item in self.functions.values() for name in item.inputs}
        return [name for name in columns if name in read]

    def options(self, until: datetime | None = None, since: datetime | None = None, replay: float = 0.0) -> dict[str, Any]:
        """Keyword arguments for `FeatureStore.training_set`, but for `name` and `as_of`.

        Args:
            until: End of the training part; needed where a split is declared.
            since: Its inclusive start; None: from the first row on.
            replay: Share of the keys before `since` that are trained on as well.

        Raises:
            ContractError: A split without `until`, `since` without a split, or not before `until`; `replay` without `since`.
        """
        if self.split is None and replay:
            raise ContractError(f"replay {replay} without a declared split", expected="split and since", mend="declare training_set.split")
        if self.split is None and since is not None:
            raise ContractError(f"since {since.isoformat()} without a declared split", expected="split", mend="declare training_set.split")
        if self.split is not None and until is None:
            raise ContractError("a declared split without an instant", expected="until", mend="say until when the model trains")
        return {
            "spine": self.spine,
            "lookups": tuple(item.lookup() for item in self.lookups),
            "spine_time": self.time,
            "label": self.label,
            "label_known_time": self.label_known_time,
            "row_key": self.row_key,
            "columns": self.columns,
            "where": self.where,
            "split": self.split.at(until, self.seed, since, replay) if self.split is not None and until is not None else None,
            "maturity": parse_duration(self.maturity),
            "seed": self.seed,
            **({"functions": self.row_functions()} if self.functions else {}),
            "weight": self.weight,
            "site": self.site,
        }


def _checked(text: str, check_text: Callable[[str], object]) -> str:
    """The text as it is, where the check accepts it."""
    check_text(text)
    return text


def _require_known(names: Iterable[str], known: Mapping[str, str] | Iterable[str], where: str) -> None:
    columns = list(known)
    _refuse_missing([name for name in dict.fromkeys(names) if name not in columns], columns, where)


def _require_read(expression: str | None, known: Iterable[str], where: str) -> None:
    """As `_require_known`, for the columns of an expression, in which Spark tells no `A` from `a`."""
    columns = list(known)
    folded = {name.lower() for name in columns}
    read = columns_of(expression) if expression else ()
    _refuse_missing([name for name in read if name.lower() not in folded], columns, where)


def _refuse_missing(missing: Sequence[str], columns: Sequence[str], where: str) -> None:
    if missing:
        hints = ", ".join(f"`{name}`{did_you_mean(name, columns)}" for name in missing[:5])
        raise ContractError(
            f"the column {hints}", expected=f"one of {where}: {sorted(columns)}", mend="correct the name, or add it to the source's columns"
        )


def check_inputs(table: FeatureTable, columns: Mapping[str, str]) -> None:
    """Find a wrong column name before Spark starts, as far as expressions tell.

    Args:
        columns: Of the source, with their types: the declared ones, or those that its log shows.

    Raises:
        ContractError: The table reads a column that is not there.
    """
    known, where = dict(columns), f"the columns of `{table.source}` and `{table.name}`"
    if isinstance(table.transform, Derived):
        for name, expression in table.transform.pairs:
            _require_read(expression, known, where)
            known[name] = ""
        _require_read(table.transform.where, known, where)
    elif table.transform is not None:
        return
    known_time = (table.known_time,) if isinstance(table.known_time, str) else ()
    _require_known((*table.keys, table.event_time, *known_time, *(table.row_id or ())), known, where)
    if not table.aggregates:
        _require_known((feature.name for feature in table.features), known, where)
    for item in table.aggregates:
        _require_known((item.column,) if item.column else (), known, where)
        _require_read(item.where if isinstance(item.where, str) else None, known, where)
