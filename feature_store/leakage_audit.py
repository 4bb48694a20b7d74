"""The audit of a training set for leakage: few jobs, each of which brings a row a feature, key or lookup to the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DateType, NumericType, StringType, TimestampNTZType, TimestampType

from feature_store.assembly import Assembly
from feature_store.checks import is_orderable, require_columns
from feature_store.content import row_hash
from feature_store.errors import ContractError
from feature_store.examples import Examples
from feature_store.leakage import Finding, Kind, LeakageReport, LookupAge, TimeAhead
from feature_store.names import quote
from feature_store.records import TrainingSet
from feature_store.shared_keys import Shared, shared_rows
from feature_store.strength import Measure, Strength, strengths
from feature_store.weight import WEIGHT

__all__ = ["Audit", "Limits", "SourceTimes"]

_CHUNK = 50  # columns of one aggregate: 250 at once cost five times as much as in parts

_TWINS = "features and label"
_REFUSALS: dict[str, Kind] = {"with different values for": "tie", "gave a value from the future": "time from the future"}


@dataclass(frozen=True)
class Limits:
    """When something counts as a finding.

    Args:
        too_good: AUC, or rank correlation, from which a single feature is too good (above 0.5 up to 1).
        duplicates: Share of a part's rows above which twins (all features and the label alike) in the first part are a finding.
        sample: Most labelled rows on which features are judged; the rows are in an order by hash, so the first ones are a fair sample (of sites about as many,
            drawn by another hash).
        group: Columns whose values must stay in one part, whatever the split says.
        allow: Features that were looked at and accepted: their findings become notes.
    """

    too_good: float = 0.95
    duplicates: float = 0.01
    sample: int = 100_000
    group: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.5 < self.too_good <= 1 or not 0 <= self.duplicates <= 1 or self.sample < 1:
            raise ContractError(
                f"too_good={self.too_good}, duplicates={self.duplicates}, sample={self.sample}",
                expected="too_good above 0.5 up to 1, duplicates 0 to 1, a sample of one row or more",
                mend="correct them",
            )


@dataclass(frozen=True)
class SourceTimes:
    """The join of a training set done again, under its own audit, for the source times alone.

    Args:
        names: What each lookup's columns begin with.
        joined: The spine's keys and time, with the source times.
        spine_time: The spine's column.
    """

    names: tuple[str, ...]
    joined: DataFrame
    spine_time: str

    @classmethod
    def of(cls, assembly: Assembly) -> Self:
        """Plan it; starts no job.

        Raises:
            ContractError: The lookups do not fit the spine any more.
        """
        names = tuple(lookup.prefix or str(lookup.table) for lookup in assembly.lookups)
        return cls(names, assembly.source_times(), assembly.spine_time)

    def ages(self) -> tuple[tuple[LookupAge, ...], tuple[Finding, ...]]:
        """How old the values of each lookup are, in one job, and what the join refused."""
        spine, counts = F.unix_micros(F.col(quote(self.spine_time))), []
        for index, name in enumerate(self.names):
            event, known = (F.unix_micros(F.col(quote(f"{name}__{kind}_time"))) for kind in ("event", "known"))
            age = spine - F.greatest(event, known)
            counts += [F.count(age).alias(f"rows_{index}"), F.count_if(age < 0).alias(f"ahead_{index}"), F.min(age).alias(f"least_{index}")]
        if not counts:
            return (), ()
        try:
            row = self.joined.agg(*counts).first()
        except PySparkException as error:
            return (), (_refused(error),)
        assert row is not None
        least = [row[f"least_{index}"] for index in range(len(self.names))]
        seconds = [None if value is None else value / 1e6 for value in least]
        return tuple(LookupAge(name, row[f"rows_{index}"], row[f"ahead_{index}"], seconds[index]) for index, name in enumerate(self.names)), ()


@dataclass(frozen=True)
class Audit:
    """One training set under audit.

    Args:
        training_set: Which one.
        frame: Its rows.
        definition: How it was made.
        limits: When something counts.
    """

    training_set: TrainingSet
    frame: DataFrame
    definition: Mapping[str, Any]
    limits: Limits

    def run(self, times_joined: SourceTimes | None, unread: str = "") -> LeakageReport:
        """Look at everything.

        Args:
            times_joined: The join done again; None: it cannot be.
            unread: Why not.

        Raises:
            ContractError: A column of `group` or `allow` is not in the training set.
        """
        require_columns(self.frame, (*self.limits.group, *self.limits.allow), f"training set `{self.training_set.id}`")
        measure, times = self._counts()
        sample, judged = self._strengths(measure)
        shared = shared_rows(self.frame, self._keys, self._parts)
        ages, broken = ((), ()) if times_joined is None else times_joined.ages()
        notes = [unread] if unread else []
        if measure is None:
            notes.append(f"the label `{self._examples.label}` is no number: no feature was judged by itself")
        if self._other:
            notes.append(f"neither number, text nor time, and not judged: {self._other[:5]}")
        ages_found = [_ahead(age) for age in ages if age.ahead]
        found = [*self._too_good(judged), *map(_future, times), *self._shared(shared), *ages_found, *broken]
        accepted = [item for item in found if item.subject in self.limits.allow]
        notes += [f"accepted: {item.kind}, {item.subject}: {item.found}" for item in accepted]
        findings = tuple(item for item in found if item not in accepted)
        ordered = sorted(judged, key=lambda item: -(item.value or 0.0))
        return LeakageReport(self.training_set.id, self.training_set.rows, sample, findings, tuple(ordered), times, shared, ages, tuple(notes))

    @cached_property
    def _examples(self) -> Examples:
        return Examples.from_document(self.definition)

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        return ("train",) if self._examples.split is None else self._examples.split.parts

    @cached_property
    def _features(self) -> tuple[str, ...]:
        """Columns that a model may learn from."""
        examples = self._examples
        known = self.definition.get("spine_known_time")
        others = {*examples.needed, *([known] if known else []), "split", "row_position", WEIGHT}
        return tuple(name for name in self.frame.columns if name not in others)

    def _of(self, *kinds: type) -> list[str]:
        return [name for name in self._features if isinstance(self.frame.schema[name].dataType, kinds)]

    @property
    def _other(self) -> list[str]:
        known = self._of(NumericType, BooleanType, StringType, TimestampType, TimestampNTZType, DateType)
        return [name for name in self._features if name not in known]

    def _counts(self) -> tuple[Measure | None, tuple[TimeAhead, ...]]:
        """What kind of label it is, and in how many rows each column of times lies ahead."""
        label, kind = F.col(quote(self._examples.label)), self.frame.schema[self._examples.label].dataType
        spine = F.col(quote(self._examples.spine_time))
        number = isinstance(kind, NumericType | BooleanType)
        other = F.count_if(~label.cast("double").isin(0.0, 1.0)) if number else F.lit(0)
        times = self._of(TimestampType, TimestampNTZType, DateType)
        counts = [F.count_if(F.col(quote(name)).cast("timestamp") > spine).alias(f"ahead_{index}") for index, name in enumerate(times)]
        found: dict[str, int] = {}
        wanted = [other.alias("other"), *counts]
        for first in range(0, len(wanted), _CHUNK):
            row = self.frame.agg(*wanted[first : first + _CHUNK]).first()
            assert row is not None
            found |= row.asDict()
        measure: Measure | None = ("rank correlation" if found["other"] else "auc") if number else None
        ahead = (TimeAhead(name, found[f"ahead_{index}"]) for index, name in enumerate(times))
        return measure, tuple(item for item in ahead if item.rows)

    def _strengths(self, measure: Measure | None) -> tuple[int, tuple[Strength, ...]]:
        if measure is None:
            return 0, ()
        sample, rows = self._sample()
        return rows, strengths(sample, self._of(NumericType, BooleanType), self._of(StringType), self._examples.label, measure)

    def _sample(self) -> tuple[DataFrame, int]:
        """Rows on which features are judged, and how many: positions follow a hash, but those of sites begin with the first site alone."""
        most, rows = self.limits.sample, self.training_set.rows
        if self._examples.site is None or rows <= most:
            return self.frame.where(F.col("row_position") < most), min(most, rows)
        sample = self.frame.where(F.pmod(F.xxhash64("row_position"), F.lit(rows)) < most)
        return sample, sample.count()

    @cached_property
    def _groups(self) -> tuple[str, ...]:
        return self.limits.group or (self._examples.split.group if self._examples.split else ())

    @property
    def _keys(self) -> dict[str, list[Column]]:
        """What should, or might, not stand in two parts."""
        examples = self._examples
        lookups = (tuple(left for left, _ in item["keys"]) for item in self.definition["lookups"])
        named = dict.fromkeys(names for names in (examples.row_key, self._groups, *lookups) if names)
        keys = {_title(names): [F.col(quote(name)) for name in names] for names in named}
        compared = tuple(name for name in (*self._features, examples.label) if is_orderable(self.frame.schema[name].dataType))
        return {**keys, _TWINS: [row_hash(self.frame, columns=compared, salt="twin")]} if self._features else keys

    def _too_good(self, judged: Sequence[Strength]) -> list[Finding]:
        limit = self.limits.too_good
        mend = "ask when its value is known: correct its known time, or leave it out; where it is honest, name it in allow="
        return [
            Finding("too good", item.feature, f"{item.measure} {item.value:.4f} on {item.rows} rows, from {limit} on too good to be true", mend)
            for item in judged
            if item.value is not None and item.value >= limit
        ]

    def _shared(self, shared: Sequence[Shared]) -> list[Finding]:
        split, found = self._examples.split, []
        hashed = split.hashed if split else ()
        together = {_title(self._groups)} if self._groups else {_title(self._examples.row_key)}
        for item in shared:
            text = f"{item.shared} of {item.rows} rows of part {item.part} ({item.share:.2%}) share it with part {self._parts[0]}"
            if item.key == _TWINS and item.share > self.limits.duplicates:
                mend = "drop the copies from the spine, or split by a group that holds them together"
                found.append(Finding("duplicates", item.key, f"{text}; at most {self.limits.duplicates:.2%} are expected", mend))
            # Between parts by time a known entity is expected to come again, unless the caller says that it must not.
            elif item.key in together and item.shared and (item.part in hashed or self.limits.group):
                found.append(Finding("shared between splits", item.key, text, f"split with group={tuple(item.key.split(', '))}"))
        return found


def _title(names: Sequence[str]) -> str:
    return ", ".join(names)


def _future(item: TimeAhead) -> Finding:
    mend = "leave it out, or name it in allow= where it was planned before, as a schedule is"
    return Finding("time from the future", item.column, f"{item.rows} rows in which it lies after the spine time", mend)


def _ahead(age: LookupAge) -> Finding:
    mend = "make the training set anew; if that does not help, this is an error of the join"
    return Finding("time from the future", age.lookup, f"{age.ahead} rows with a value known or valid only after the spine time", mend)


def _refused(error: PySparkException) -> Finding:
    """What the join under audit refuses: rows that tie with different values, and a value from the future."""
    for words, kind in _REFUSALS.items():
        if line := next((line for line in str(error).splitlines() if words in line), None):
            return Finding(kind, "lookups", line.strip(), "name a column that decides in tie_break=, or correct the table")
    raise error
