"""Errors of models of a number, known and expected: scikit-learn's figures from sums that merge."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring import losses
from sparkml_ops.monitoring.losses import Expecting, Learning, LossModel
from sparkml_ops.monitoring.numbers import Numbers, Unit, error_records, expected_records
from sparkml_ops.monitoring.tally import Tally

UNIT = Unit(1000.0, 50.0)


def made(seed: int, rows: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs with the prediction last, the prediction, and the truth: errors are larger where the first input is."""
    random = np.random.default_rng(seed)
    inputs = random.normal(shift, 1, size=(rows, 2))
    score = 1000 + 50 * inputs[:, 1]
    truth = score + 50 * (0.3 + np.abs(inputs[:, 0])) * random.normal(size=rows)
    return np.column_stack([inputs, score]), score, truth


def batch(inputs: np.ndarray, window: str = "w") -> pa.RecordBatch:
    values = pa.FixedSizeListArray.from_arrays(pa.array(inputs.ravel()), 3).cast(pa.list_(pa.float64()))
    return pa.RecordBatch.from_pydict({"window": [window] * len(inputs), "inputs": values})


@pytest.fixture(scope="module")
def learnt() -> LossModel:
    inputs, score, truth = made(1, 6000)
    rows = batch(inputs).append_column("error", pa.array(score - truth))
    (found,) = [part.column("model")[0].as_py() for part in Learning("digest", (), UNIT.scale)(iter([rows.slice(0, 2500), rows.slice(2500)]))]
    return LossModel.from_json(found.encode())


def test_realised_errors_are_scikit_learn_s_in_any_parts() -> None:
    """In the label's unit, from whole numbers."""
    _, score, truth = made(2, 900)
    table = pa.table(
        {"score": score, "label": truth, "lag": np.ones(900), "reward": np.zeros(900), "expected": pa.nulls(900, pa.list_(pa.float64()))}
    )
    kind = Numbers(UNIT)
    parts = [Tally.of_table("w", table.slice(start, 130), (1.0,), kind) for start in range(0, 900, 130)]
    forth, back = reduce(Tally.merge, parts), reduce(Tally.merge, parts[::-1])
    found = {item.metric: item for item in error_records(forth.labelled, UNIT, None, 0.95)}

    assert forth.labelled == back.labelled == kind.read(b"[[0,0,0],[0,0,0],[0,0,0]]", forth.labelled.to_bytes())[1]
    assert found["mae"].value == pytest.approx(mean_absolute_error(truth, score), rel=1e-6)
    assert found["rmse"].value == pytest.approx(mean_squared_error(truth, score) ** 0.5, rel=1e-6)
    assert found["r2"].value == pytest.approx(r2_score(truth, score), rel=1e-6)
    error = np.abs(truth - score)
    assert found["mae"].upper is not None
    assert found["mae"].upper - error.mean() == pytest.approx(1.959964 * error.std(ddof=1) / 30, rel=1e-4)
    assert [item.rows for item in expected_records(forth.scored, UNIT, None, learnt_from=None)] == [900, 900]


def test_expected_errors_follow_the_inputs(learnt: LossModel) -> None:
    """Inputs move to where errors are larger, and no truth is needed to say by how much: the realised error stands in the interval."""
    for seed, shift in ((3, 0.0), (4, 0.7)):
        inputs, score, truth = made(seed, 1500, shift)
        (rows,) = Expecting({"w": learnt})([batch(inputs)])
        table = pa.table({"score": score, "label": pa.nulls(1500, pa.float64()), "expected": rows.column("expected")})
        table = table.append_column("lag", table.column("label")).append_column("reward", table.column("label"))
        tally = Tally.of_table("w", table, (1.0,), Numbers(UNIT))
        found = {item.metric: item for item in expected_records(tally.scored, UNIT, None, learnt_from=learnt.rows, kurtosis=learnt.kurtosis)}
        for name, realised in (("mae", np.abs(truth - score).mean()), ("rmse", ((truth - score) ** 2).mean() ** 0.5)):
            assert found[name].lower < realised < found[name].upper
            assert found[name].value == pytest.approx(realised, rel=0.1)
    assert found["mae"].value > 1.1 * np.abs(made(1, 6000)[2] - made(1, 6000)[1]).mean()


def test_a_window_without_a_loss_model_expects_nothing(learnt: LossModel) -> None:
    """Its rows pass with null, beside those of other windows."""
    inputs = made(5, 4)[0]
    both = pa.Table.from_batches([batch(inputs), batch(inputs, "other")]).combine_chunks().to_batches()
    (rows,) = Expecting({"w": learnt, "other": None})(both)

    assert rows.column("expected").is_null().to_pylist() == [False] * 4 + [True] * 4
    assert rows.schema.names == ["window", "expected"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it, and the setting that does without."""
    monkeypatch.setattr(losses, "find_spec", lambda _: None)
    with pytest.raises(ContractError, match=r"no package lightgbm.*sparkml-ops\[trees\], or set monitoring\.loss_rows=0"):
        losses.need_lightgbm()
