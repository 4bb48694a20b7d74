"""Reasons that a task finds in rows that it has read itself: those of checks.py, in the same order and with the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_ops.config.scoring import CheckSection
from sparkml_ops.scoring.features import filled
from sparkml_ops.scoring.kinds import arrow_kind, is_nested
from sparkml_ops.scoring.matching import Match
from sparkml_ops.scoring.reason import Reason, RowReasons

__all__ = ["RowChecks", "model_inputs"]


@dataclass(frozen=True)
class RowChecks:
    """What is looked at before a row goes to the model.

    Args:
        row_key: Columns that identify a row.
        spine_time: Column of its time.
        matches: Columns that feed the model.
        rules: Limits by column; rules that fit the columns' types.
    """

    row_key: tuple[str, ...]
    spine_time: str
    matches: tuple[Match, ...]
    rules: Mapping[str, CheckSection] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """What a task has to read: key, time, inputs and columns with rules."""
        inputs = (match.field.name for match in self.matches)
        return tuple(dict.fromkeys((*self.row_key, self.spine_time, *inputs, *self.rules)))

    def __call__(self, rows: pa.RecordBatch, doubled: npt.NDArray[np.bool_] | None) -> RowReasons:
        """The reasons of a batch.

        Args:
            rows: With the columns, as the table holds them.
            doubled: True where a row shares its key with another; None: nowhere.
        """
        reasons = RowReasons(pa.nulls(rows.num_rows, pa.string()))
        for name in self.row_key:
            reasons.add(_null(rows.column(name)), Reason.NULL_IDENTITY.value)
        if doubled is not None:
            reasons.add(doubled, Reason.DUPLICATE_IDENTITY.value)
        reasons.add(_null(rows.column(self.spine_time)), Reason.NULL_TIME.value)
        for match in self.matches:
            _refuse(rows.column(match.field.name), match, reasons)
        for name, rule in self.rules.items():
            _judge(rows.column(name), name, rule, reasons)
        return reasons


def model_inputs(rows: pa.RecordBatch, matches: tuple[Match, ...]) -> pa.Table:
    """The model's inputs; the value of a row that `RowChecks` refuses may be any."""
    return pa.table({match.field.name: _value(rows.column(match.field.name), match) for match in matches})


def _value(column: pa.Array, match: Match) -> pa.Array:
    wanted = arrow_kind(match.field.type)
    if pa.types.is_decimal(column.type):
        column = _from_decimal(column)
    if column.type != wanted:
        column = column.cast(wanted, safe=False)
    return filled(column if match.field.nullable or is_nested(match.field.type) else pc.fill_null(column, pa.scalar(0).cast(wanted)), match.field)


def _from_decimal(column: pa.Array) -> pa.Array:
    """The nearest double: Arrow's own cast multiplies by a power of ten that is not exact."""
    return column.cast(pa.string()).cast(pa.float64())


def _refuse(column: pa.Array, match: Match, reasons: RowReasons) -> None:
    read = match.field
    if match.limits is not None:
        least, most = match.limits
        outside = _either(pc.less(column, pa.scalar(least, pa.int64())), pc.greater(column, pa.scalar(most, pa.int64())))
        reasons.add(outside, Reason.UNCASTABLE.of(f"{read.name} is a whole number beyond 2^{match.bits}"))
    if read.length is not None:
        other = _true(pc.not_equal(pc.list_value_length(column), read.length))
        reasons.add(other, Reason.UNCASTABLE.of(f"{read.name} as {read.length} elements"))
    if not read.nullable:
        reasons.add(_null(column), Reason.MISSING.of(f"{read.name}, {read.type} in the model's signature"))
    if read.unseen:
        missing = _missing(column)
        if pa.types.is_list(column.type):
            missing[pc.list_parent_indices(column).to_numpy()[_missing(column.flatten())]] = True
        reasons.add(missing, Reason.UNSEEN_NULL.of(f"{read.name}, never missing in training"))
    if read.gapless and (elements := column.flatten()).null_count:
        reasons.add_at(
            pc.list_parent_indices(column).to_numpy()[_null(elements)],
            Reason.MISSING.of(f"an element of {read.name}, {read.type} in the model's signature"),
        )


def _judge(column: pa.Array, name: str, rule: CheckSection, reasons: RowReasons) -> None:
    if not rule.allow_null:
        reasons.add(_null(column), Reason.MISSING.of(f"{name} is null"))
    if not rule.allow_nan and pa.types.is_floating(column.type):
        reasons.add(_true(pc.is_nan(column)), Reason.MISSING.of(f"{name} is NaN"))
    sides: list[tuple[float | None, str, Callable[..., pa.Array]]] = [(rule.minimum, "below", pc.less), (rule.maximum, "above", pc.greater)]
    for limit, side, beyond in sides:
        if limit is not None:
            # As Spark compares a number with a double; NaN is on neither side.
            values = _from_decimal(column) if pa.types.is_decimal(column.type) else column.cast(pa.float64(), safe=False)
            reasons.add(_true(beyond(values, limit)), Reason.OUT_OF_RANGE.of(f"{name} {side} {limit:g}"))


def _null(column: pa.Array) -> npt.NDArray[np.bool_]:
    # Not `is_null(nan_is_null)`: null and NaN differ here.
    return _none(len(column)) if not column.null_count else np.asarray(column.is_null().to_numpy(zero_copy_only=False), bool)


def _missing(column: pa.Array) -> npt.NDArray[np.bool_]:
    return _null(column) | _true(pc.is_nan(column)) if pa.types.is_floating(column.type) else _null(column).copy()


def _none(count: int) -> npt.NDArray[np.bool_]:
    return np.zeros(count, bool)


def _true(mask: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), bool)


def _either(left: pa.Array, right: pa.Array) -> npt.NDArray[np.bool_]:
    return _true(left) | _true(right)
