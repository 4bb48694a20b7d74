"""Which rows of a spine are examples of a training set, in which order and for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

from feature_store.content import Content, content_columns, content_of, row_hash
from feature_store.contract import in_range
from feature_store.duration import duration_text, parse_duration
from feature_store.errors import ContractError
from feature_store.layout import MOST_SITES, SITE_BITS, Layout, SiteLayout, cell_of, site_text
from feature_store.names import quote
from feature_store.split import Split
from feature_store.timeline import micros
from feature_store.weight import WEIGHT, is_unusable

__all__ = ["ENTERED", "Census", "Examples", "take_census"]

ENTERED = "__entered"
_MOST_ROWS = (MOST_SITES << SITE_BITS) + 1  # of a census by site: the cells of all, and what is no example
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Examples:
    """Which rows of a spine are examples, and in which order and part they stand.

    Args:
        spine_time: Column of the instant of prediction.
        label: Column of the label; null or NaN is pending.
        label_known_time: Column of when it became known; None: with the label's maturity.
        row_key: Columns that identify an example; none: all columns of the spine.
        split: Parts; None: every row is "train".
        maturity: Age that an example needs before its label counts.
        seed: Seed of the order.
        weight: The column or expression that `sample_weight` was made of; None: there is none.
        site: Column that names where a row is at home; None: rows have no sites.
    """

    spine_time: str
    label: str
    label_known_time: str | None
    row_key: tuple[str, ...]
    split: Split | None
    maturity: timedelta
    seed: int
    weight: str | None = None
    site: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **{name: getattr(self, name) for name in ("spine_time", "label", "label_known_time", "seed")},
            "row_key": list(self.row_key),
            "maturity": duration_text(self.maturity),
            "split": self.split.document() if self.split else None,
            # Left out where there is none: sets without it keep their ids.
            **({"weight": self.weight} if self.weight else {}),
            **({"site": self.site} if self.site else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Examples:
        """The examples of a stored document; keys of other parts of it are left aside."""
        document = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        split = Split.from_document(document["split"]) if document["split"] else None
        changed = {"row_key": tuple(document["row_key"]), "maturity": parse_duration(document["maturity"]), "split": split}
        return cls(**{**document, **changed})

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that the spine must have."""
        known = (self.label_known_time,) if self.label_known_time else ()
        site = (self.site,) if self.site else ()
        return (*self.row_key, self.spine_time, self.label, *known, *(self.split.group if self.split else ()), *site)

    def part(self, spine: DataFrame) -> Column:
        """The part of a row, null where it belongs to none."""
        if self.split is None:
            return F.lit("train")
        together = self.split.group or self.row_key or None
        return self.split.column(F.col(quote(self.spine_time)), row_hash(spine, columns=together, salt=f"split {self.split.seed}"))

    def order(self, spine: DataFrame) -> Column:
        """The hash that orders the rows."""
        return row_hash(spine, columns=self.row_key or None, salt=f"order {self.seed}")

    def pending(self, spine: DataFrame) -> Column:
        """Whether the label is unknown."""
        label = F.col(quote(self.label))
        missing = label.isNull()
        return missing | F.isnan(label) if isinstance(spine.schema[self.label].dataType, FloatType | DoubleType) else missing

    def entry(self) -> Column:
        """Microseconds since the epoch from which a row may enter, null if never."""
        mature = F.unix_micros(F.col(quote(self.spine_time))) + F.lit(micros(self.maturity))
        if self.label_known_time is None:
            return mature
        known = F.unix_micros(F.col(quote(self.label_known_time)))
        return F.when(known.isNotNull(), F.greatest(mature, known))

    def due(self, spine: DataFrame, as_of: datetime) -> Column:
        """Whether a row's label, or that it was taken back, counts as of an instant."""
        return F.coalesce(self.entry() <= F.lit(micros(as_of - _EPOCH)), F.lit(False)) & self.part(spine).isNotNull()

    def entered(self, spine: DataFrame, as_of: datetime) -> Column:
        """Whether a row is an example as of an instant, unless another one corrects it."""
        return self.due(spine, as_of) & ~self.pending(spine)

    def mark(self, spine: DataFrame, as_of: datetime) -> DataFrame:
        """The spine with a column `ENTERED`: whether a row is an example as of an instant.

        A corrected label is a further row of its key and time: the one known last is the example, and where that says
        nothing the label was taken back and is pending again. Rows that are equal in all three stay.
        """
        entered = self.entered(spine, as_of)
        if self.corrected:
            known = F.col(quote(self.label_known_time or ""))
            rows = Window.partitionBy(*(F.col(quote(name)) for name in dict.fromkeys((*self.row_key, self.spine_time))))
            entered = F.coalesce(entered & (known == F.max(F.when(self.due(spine, as_of), known)).over(rows)), F.lit(False))
        return spine.withColumn(ENTERED, entered)

    @property
    def corrected(self) -> bool:
        """Whether a label may have several rows, of which a known time tells the last."""
        return self.label_known_time is not None and bool(self.row_key)


@dataclass(frozen=True)
class Census:
    """What one pass over a spine tells before anything is joined.

    Args:
        layout: Where the examples will lie; of sites, no two in a file.
        content: Hash of the examples' spine rows.
        until: Instant in microseconds from which the last of them could enter, or was taken back: any `as_of` up to the next one gives the same set.
        corrected: Rows that would be examples, did no other one correct them.
        between: The first and the last time of the examples.
    """

    layout: Layout | SiteLayout
    content: Content
    until: int
    corrected: int
    between: tuple[datetime, datetime]


def take_census(spine: DataFrame, examples: Examples, as_of: datetime) -> Census:
    """Count the examples in each cell of the order's hash, in one job; at most 16,385 rows reach the driver, of sites 65,538."""
    # A label that was taken back takes an example away: it tells one set from another as well.
    counts = examples.due(spine, as_of) if examples.corrected else F.col(ENTERED)
    no_key = [F.col(quote(name)).isNull() for name in examples.row_key]
    time = F.unix_micros(F.col(quote(examples.spine_time)))
    site, bits = (site_text(examples.site), (SITE_BITS,)) if examples.site else (F.lit(""), ())
    counted = (
        examples.mark(spine, as_of)
        .groupBy(F.when(F.col(ENTERED), site).alias("site"), F.when(F.col(ENTERED), cell_of(examples.order(spine), *bits)).alias("cell"))
        .agg(
            *content_columns(row_hash(spine)),
            F.max(F.when(counts, examples.entry())).alias("until"),
            F.min(time).alias("first"),
            F.max(time).alias("last"),
            F.count_if(examples.pending(spine)).alias("pending"),
            F.count_if(examples.entered(spine, as_of) & ~F.col(ENTERED)).alias("corrected"),
            F.count_if(reduce(Column.__or__, no_key, F.lit(False))).alias("no_key"),
            F.count_if(~in_range(examples.spine_time)).alias("impossible"),
            F.count_if(is_unusable() if examples.weight else F.lit(False)).alias("unusable"),
            F.max(F.col(WEIGHT) if examples.weight else F.lit(1.0)).alias("heaviest"),
        )
    )
    # One more than there can be of as many sites as there may be tells that there are too many, however many they are.
    rows = (counted.limit(_MOST_ROWS + 1) if examples.site else counted).collect()
    inside = [row for row in rows if row["cell"] is not None]
    _check_census(rows, inside, examples, as_of)
    content = content_of(_summed(inside))
    layout = _sites(inside, examples.site, all_seen=len(rows) <= _MOST_ROWS) if examples.site else _layout(inside)
    until = max(row["until"] for row in rows if row["until"] is not None)
    between = min(row["first"] for row in inside), max(row["last"] for row in inside)
    return Census(layout, content, until, sum(row["corrected"] for row in rows), (_instant(between[0]), _instant(between[1])))


def _layout(rows: Iterable[Row], *bits: int) -> Layout:
    return Layout({row["cell"]: row["content_rows"] for row in rows}, *bits)


def _sites(rows: Sequence[Row], column: str, *, all_seen: bool) -> SiteLayout:
    """Where the rows of each site lie, in the order of the sites' texts."""
    if nowhere := sum(row["content_rows"] for row in rows if not row["site"]):
        raise ContractError(f"{nowhere} examples without a site in `{column}`", expected="a site in every row", mend="filter them with where")
    names = sorted({row["site"] for row in rows})
    if not all_seen or len(names) > MOST_SITES:
        raise ContractError(
            f"more than {MOST_SITES} sites in `{column}`, {names[:3]} among them",
            expected="few: each has files of its own",
            mend="name a coarser column",
        )
    return SiteLayout(column, {name: _layout((row for row in rows if row["site"] == name), SITE_BITS) for name in names})


def _instant(found: int) -> datetime:
    return _EPOCH + timedelta(microseconds=found)


def _check_census(rows: Sequence[Row], inside: Sequence[Row], examples: Examples, as_of: datetime) -> None:
    total = sum(row["content_rows"] for row in rows)
    if impossible := sum(row["impossible"] for row in rows):
        raise ContractError(
            f"{impossible} rows with `{examples.spine_time}` outside 1900 to 2200", expected="possible instants", mend="correct or filter them"
        )
    if not inside:
        pending = sum(row["pending"] for row in rows)
        raise ContractError(
            f"no example among {total} rows of the spine as of {as_of.isoformat()} ({pending} with a pending label)",
            expected=f"`{examples.spine_time}` + {duration_text(examples.maturity)} up to as_of, a known label, a time inside the split",
            mend="use a later as_of, or correct where, split or label_known_time",
        )
    if missing := sum(row["no_key"] for row in inside):
        raise ContractError(f"{missing} examples with a null in {examples.row_key}", expected="a row key in every row", mend="filter them with where")
    if unusable := sum(row["unusable"] for row in inside):
        raise ContractError(
            f"{unusable} examples whose weight {examples.weight!r} is null, not finite or below zero",
            expected="finite weights of zero or more",
            mend="correct the weight, as coalesce(weight, 1), or filter the rows with where",
        )
    if not any(row["heaviest"] for row in inside):
        raise ContractError(f"the weight {examples.weight!r}, zero in every example", expected="weights above zero", mend="correct it")


def _summed(rows: Iterable[Row]) -> Row:
    mixed = total = count = 0
    for row in rows:
        count, total, mixed = count + row["content_rows"], total + int(row["content_sum"]), mixed ^ row["content_xor"]
    return Row(content_rows=count, content_sum=total, content_xor=mixed)
