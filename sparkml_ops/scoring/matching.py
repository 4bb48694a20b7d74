"""Columns of a table against a model's inputs: by name, before any task starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column
from pyspark.sql import functions as F

from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.kinds import element, is_nested, sorted_kind
from sparkml_ops.scoring.reason import Reason
from sparkml_ops.scoring.signature import Field

__all__ = ["Match", "match", "nearest"]

# Bits of magnitude of whole numbers, and how many each type holds exactly.
_WHOLE = {"tinyint": 7, "smallint": 15, "int": 31, "bigint": 63}
_HOLDS = {**_WHOLE, "float": 24, "double": 53}
_WIDER = {("float", "double")}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
# A decimal of 15 digits survives the way to a double and back (DBL_DIG of IEEE 754).
_DECIMAL_DIGITS = 15
_SAFE_CASTS = {("boolean", kind) for kind in _HOLDS} | {("date", "timestamp")} | {(kind, "string") for kind in (*_WHOLE, "boolean", "date")}


@dataclass(frozen=True)
class Match:
    """A column that feeds an input.

    Args:
        field: The input.
        bits: Values of this many bits of magnitude or fewer are exact in the model; others are quarantined. None: all are.
    """

    field: Field
    bits: int | None = None

    @property
    def column(self) -> Column:
        """The column as it is in the table."""
        return F.col(quote(self.field.name))

    @property
    def limits(self) -> tuple[int, int] | None:
        """Least and greatest whole number that the model takes exactly; None: all of the column's."""
        if self.bits is None:
            return None
        # Two's complement reaches one further down than up; -2^53 is exact in a double too.
        return -(2**self.bits), 2**self.bits - (1 if self.bits == _WHOLE.get(self.field.type) else 0)

    def value(self, *, text_integers: bool) -> Column:
        """The value on its way to the model; what cannot be cast is null (its row does not get there).

        Args:
            text_integers: Send long whole numbers that may be null as text: pandas makes doubles of them.
        """
        if "struct<" in self.field.type:  # of the very type: its names need no parser
            return self.column
        # A timestamp travels as its instant, whatever zone the session shows it in.
        value = F.unix_micros(self.column) if self.field.type == "timestamp" else self.column.try_cast(self.field.type)
        if self.field.gapless and text_integers:
            # A gap in one row would make doubles of all of them.
            return F.when(~self._gap(), value)
        if not self.field.nullable and not is_nested(self.field.type):
            return F.coalesce(value, F.lit(0).cast(self.field.type))
        return value.cast("string") if text_integers and self.field.type in ("bigint", "timestamp") else value

    def _missing(self) -> Column:
        """Whether the number is missing, or one of an array's."""
        inner = element(self.field.type)
        number = (inner or self.field.type) in ("float", "double")

        def absent(value: Column) -> Column:
            return value.isNull() | F.isnan(value.cast("double")) if number else value.isNull()

        return absent(self.column) if inner is None else self.column.isNull() | F.exists(self.column, absent)

    def _gap(self) -> Column:
        """Whether an element is missing."""
        return F.exists(self.column, lambda value: value.isNull())

    def refusals(self) -> list[Column]:
        """The reasons for which a row's value cannot be given to the model, or null."""
        found = []
        if self.limits is not None:
            outside = (self.column < F.lit(self.limits[0])) | (self.column > F.lit(self.limits[1]))
            found.append(F.when(outside, F.lit(Reason.UNCASTABLE.of(f"{self.field.name} is a whole number beyond 2^{self.bits}"))))
        if self.field.length is not None:
            other = F.size(self.column) != F.lit(self.field.length)
            found.append(F.when(self.column.isNotNull() & other, F.lit(Reason.UNCASTABLE.of(f"{self.field.name} as {self.field.length} elements"))))
        if not self.field.nullable:
            found.append(F.when(self.column.isNull(), F.lit(Reason.MISSING.of(f"{self.field.name}, {self.field.type} in the model's signature"))))
        if self.field.unseen:
            found.append(F.when(self._missing(), F.lit(Reason.UNSEEN_NULL.of(f"{self.field.name}, never missing in training"))))
        if self.field.gapless:
            found.append(
                F.when(self._gap(), F.lit(Reason.MISSING.of(f"an element of {self.field.name}, {self.field.type} in the model's signature")))
            )
        return found


def match(found: Mapping[str, str], inputs: Sequence[Field], *, where: str) -> tuple[Match, ...]:
    """Find each input among the columns by its exact name; order and further columns do not matter.

    Args:
        found: Column to Spark's simple type name.
        inputs: What the model reads.
        where: The table, for messages.

    Raises:
        ContractError: Missing columns and wrong types, at most five, each with what to do.

    >>> match({"b": "int", "a": "string"}, [Field("b", "double")], where="x")[0].bits is None
    True
    """
    faults: list[str] = []
    matches: list[Match] = []
    for field in inputs:
        if field.name not in found:
            if not field.optional:
                faults.append(f"no column `{field.name}`{nearest(field.name, found)}")
            continue
        kind = found[field.name]
        if "struct<" in field.type and sorted_kind(kind) == sorted_kind(field.type):
            # By the names of its fields too: a model gets them as a map.
            matches.append(Match(replace(field, type=kind)))
            continue
        if not _convertible(kind, field.type):
            faults.append(f"`{field.name}` of type {kind} where the model reads {field.type} ({_advice(field.name, kind, field.type)})")
            continue
        limit = min(_HOLDS.get(field.type, 64), field.bits or 64)
        matches.append(Match(field, limit if _WHOLE.get(kind, 0) > limit else None))
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        mend = "correct the feature tables, or promote a model trained on these columns"
        raise ContractError(f"in {where}: {'; '.join(faults[:5])}{more}", expected="the model's inputs by name and type", mend=mend)
    return tuple(matches)


def nearest(name: str, known: Mapping[str, object]) -> str:
    """A hint at the known name that is nearest, for a message.

    >>> nearest("distence", {"distance": 1})
    ' (did you mean `distance`?)'
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _convertible(found: str, wanted: str) -> bool:
    """Whether values pass without loss; whole numbers may lose, and are looked at one by one, but not the elements of arrays."""
    inner, read = element(found), element(wanted)
    if inner is not None and read is not None:
        return not _DECIMAL.fullmatch(inner) and _convertible(inner, read) and _WHOLE.get(inner, 0) <= _HOLDS.get(read, 64)
    if found == wanted or (found in _WHOLE and wanted in _HOLDS) or (found, wanted) in _WIDER:
        return True
    decimal = _DECIMAL.fullmatch(found)
    return decimal is not None and wanted == "double" and int(decimal[1]) <= _DECIMAL_DIGITS


def _advice(name: str, found: str, wanted: str) -> str:
    if (found, wanted) in _SAFE_CASTS:
        return f"a lossless cast exists: CAST({quote(name)} AS {wanted})"
    if (inner := element(found)) is not None and (deepest := element(inner)) is not None and f"array<{deepest}>" == wanted:
        return f"the elements of a tensor row by row: flatten({quote(name)})"
    if (found, wanted) == ("timestamp_ntz", "timestamp"):
        return "no cast without a time zone: convert it with to_utc_timestamp"
    return "no lossless cast exists"
