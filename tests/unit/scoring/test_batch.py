"""One batch through a model: isolation of bad rows, and what comes out for each."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_ops.scoring.batch import Budget, LoadedModel, score_rows
from sparkml_ops.scoring.kinds import arrow_kind
from sparkml_ops.scoring.reason import Reason, RowReasons
from sparkml_ops.scoring.signature import Field

INPUTS = (Field("x", "double"),)
OUTPUTS = (Field("y", "double"),)


class Doubling:
    """y = 2 x; raises on a batch that holds one of the bad values; counts its calls."""

    def __init__(self, bad: Sequence[float] = ()) -> None:
        self.bad, self.calls = set(bad), 0

    def __call__(self, rows: pa.Table) -> list[pa.Array]:
        self.calls += 1
        values = rows["x"].to_numpy()
        if found := self.bad & set(values):
            raise ValueError(f"cannot take {sorted(found)[0]}")
        return [pa.array(values * 2)]


def scored(
    predict: Callable[[pa.Table], Sequence[pa.Array]],
    values: Sequence[float],
    reasons: Sequence[str | None] = (),
    budget: int | None = None,
    seconds: float | None = None,
) -> tuple[list[object], list[str | None]]:
    model = LoadedModel(INPUTS, OUTPUTS, predict, seconds)
    found = pa.array(reasons or [None] * len(values), pa.string())
    result = score_rows(model, pa.table({"x": pa.array(values, pa.float64())}), RowReasons(found), Budget(budget))
    return result.outputs[0].to_pylist(), result.reasons.to_pylist()


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 300), bad=st.sets(st.integers(0, 299), max_size=4))
def test_the_model_s_error_costs_only_the_rows_at_fault(rows: int, bad: set[int]) -> None:
    """Whatever rows fail, the others keep their predictions, each row has one of the two, and k rows cost k log n calls."""
    bad = {row for row in bad if row < rows}
    model = Doubling([float(row) for row in bad])

    outputs, reasons = scored(model, [float(row) for row in range(rows)])

    assert [output for row, output in enumerate(outputs) if row not in bad] == [2.0 * row for row in range(rows) if row not in bad]
    assert {row for row, reason in enumerate(reasons) if reason} == bad
    assert all((output is None) == (reason is not None) for output, reason in zip(outputs, reasons, strict=True))
    assert model.calls <= 1 + 2 * len(bad) * math.ceil(math.log2(rows) if rows > 1 else 0)


def test_the_reason_names_the_error() -> None:
    """A user sees type and message of what the model raised for this very row."""
    _, reasons = scored(Doubling([1.0]), [0.0, 1.0, 2.0])

    assert reasons == [None, "model error: ValueError: cannot take 1.0", None]


def test_rows_with_a_reason_never_reach_the_model() -> None:
    """A row refused before is not scored, and its output is null."""
    outputs, reasons = scored(Doubling([1.0]), [0.0, 1.0, 2.0], [None, "null row identity", None])

    assert outputs == [0.0, None, 4.0]
    assert reasons == [None, "null row identity", None]


def test_a_batch_of_refused_rows_calls_no_model() -> None:
    """Nothing to score means no call."""
    model = Doubling()

    outputs, _ = scored(model, [1.0, 2.0], ["null row identity"] * 2)

    assert (outputs, model.calls) == ([None, None], 0)


def test_an_infinite_feature_is_refused_and_nan_is_scored() -> None:
    """Infinity is no measurement; NaN is a missing one, which models know."""
    outputs, reasons = scored(lambda rows: [pa.array(np.nan_to_num(rows["x"].to_numpy()))], [1.0, math.inf, math.nan, -math.inf])

    assert outputs == [1.0, None, 0.0, None]
    assert reasons == [None, "infinite feature: x", None, "infinite feature: x"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_prediction_that_is_no_number_is_quarantined(value: float | None) -> None:
    """NaN, infinity and null are no predictions; the rows beside them are."""
    outputs, reasons = scored(lambda rows: [pa.array([0.5, value], pa.float64())], [1.0, 2.0])

    assert outputs == [0.5, None]
    assert reasons == [None, "non-finite prediction: y"]


def test_a_model_that_drops_a_row_loses_none() -> None:
    """Fewer outputs than rows say nothing on which is whose: the batch is halved until the row at fault stands alone."""

    def dropping(rows: pa.Table) -> list[pa.Array]:
        values = rows["x"].to_numpy()
        return [pa.array(values[values != 3.0])]

    outputs, reasons = scored(dropping, [0.0, 1.0, 2.0, 3.0, 4.0])

    assert outputs == [0.0, 1.0, 2.0, None, 4.0]
    assert reasons[3] == "wrong output length: 0 for 1 rows"
    assert [reason for reason in reasons if reason] == [reasons[3]]


def test_a_model_that_fails_at_every_row_stops_being_asked() -> None:
    """Once a task's failures alone refuse the pass, a failing batch is not looked into; every row still has a reason."""
    values = [float(row) for row in range(1000)]
    model = Doubling(values)

    outputs, reasons = scored(model, values, budget=5)

    assert outputs == [None] * 1000
    assert all(reason and reason.startswith(Reason.MODEL_ERROR.value) for reason in reasons)
    assert model.calls < 50


@pytest.mark.parametrize("error", [MemoryError("no room"), SystemExit("done")])
def test_a_row_that_takes_all_memory_or_leaves_costs_itself_alone(error: BaseException) -> None:
    """Where the system's limit makes it an error, and where a model means to end its program."""

    def greedy(rows: pa.Table) -> list[pa.Array]:
        if 3.0 in rows["x"].to_pylist():
            raise error
        return [rows["x"].combine_chunks()]

    outputs, reasons = scored(greedy, [0.0, 1.0, 2.0, 3.0])

    assert outputs == [0.0, 1.0, 2.0, None]
    assert reasons[3] == f"model error: {type(error).__name__}: {error}"


def test_a_model_that_sleeps_for_ever_is_interrupted() -> None:
    """The row at fault stands alone in the end, though the model catches what it can, and the alarm of others is as it was."""

    def sleeping(rows: pa.Table) -> list[pa.Array]:
        with contextlib.suppress(Exception):
            time.sleep(600.0 if 3.0 in rows["x"].to_pylist() else 0.0)
        return [rows["x"].combine_chunks()]

    before = signal.getsignal(signal.SIGALRM)
    outputs, reasons = scored(sleeping, [0.0, 1.0, 2.0, 3.0], seconds=0.1)

    assert outputs == [0.0, 1.0, 2.0, None]
    assert reasons[3] == "model error: no answer for 1 rows in 0.1 seconds"
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)) == (before, (0.0, 0.0))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("array<double>", [[1.0, 2.0], [1.0, math.nan], [None], [], None]),
        (
            "struct<p:double,q:array<float>>",
            [{"p": 1.0, "q": [1.0]}, {"p": math.inf, "q": []}, {"p": 1.0, "q": [math.nan]}, {"p": 0.0, "q": []}, None],
        ),
    ],
)
def test_a_part_that_is_no_number_is_no_prediction(kind: str, values: list[object]) -> None:
    """One class's probability is NaN: the row has none."""
    model = LoadedModel(INPUTS, (Field("y", kind),), lambda rows: [pa.array(values, arrow_kind(kind))])

    result = score_rows(model, pa.table({"x": [0.0] * 5}), RowReasons(pa.nulls(5, pa.string())), Budget())

    assert result.outputs[0].to_pylist() == [values[0], None, None, values[3], None]
    assert [reason for reason in result.reasons.to_pylist() if reason] == ["non-finite prediction: y"] * 3


def test_several_outputs_keep_their_types() -> None:
    """Each output of a model is a column of its own; one bad value takes the row's others with it."""
    model = LoadedModel(INPUTS, (Field("label", "string"), Field("rank", "bigint")), lambda rows: [pa.array(["a", None]), pa.array([2**60 + 1, 7])])

    result = score_rows(model, pa.table({"x": [1.0, 2.0]}), RowReasons(pa.nulls(2, pa.string())), Budget())

    assert [column.to_pylist() for column in result.outputs] == [["a", None], [2**60 + 1, None]]
    assert result.reasons.to_pylist() == [None, "non-finite prediction: label"]
