"""Structs, arrays, tensors, decimals and clocks on their way to a model: each engine gives what the model itself says of the rows, or the row's reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import Array, DataType, Object, Property
from pyspark.sql import SparkSession
from scoring_rows import WINDOW, ready, run

from feature_store.delta import Tables
from feature_store.records import Snapshot
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring import predictions, quarantine
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage

ENGINES = ("files", "arrow", "pandas")
PLACE = Object([Property("x", DataType.double), Property("names", Array(DataType.string)), Property("open", DataType.boolean)])
INPUTS = Schema(
    [
        ColSpec(PLACE, "place"),
        ColSpec(Array(DataType.long), "stops"),
        ColSpec(Array(DataType.double), "series"),
        ColSpec(Array(Array(DataType.float)), "grid"),
        ColSpec("double", "price"),
        ColSpec("datetime", "seen"),
    ]
)
OUTPUTS = Schema(
    [
        ColSpec("string", "name"),
        ColSpec(Array(DataType.double), "shares"),
        ColSpec(Object([Property("n", DataType.long), Property("total", DataType.double)]), "parts"),
        ColSpec("long", "micros"),
    ]
)
BIG = 2**60 + 1
SCHEMA = (
    "id bigint, at timestamp, place struct<x:double,names:array<string>,open:boolean>, stops array<bigint>, series array<double>, "
    "grid array<array<float>>, price decimal(10,2), seen timestamp, window string"
)
# The hour that New York has twice.
TWICE = pd.Timestamp("2013-11-03T05:30:00")


def reads() -> Any:
    """A model that gives back what it was given, and so what became of it on the way; made here, so that it is pickled by value."""

    class Reader(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
            rows = model_input.to_dict("records")
            return pd.DataFrame(
                {
                    "name": ["/".join(row["place"]["names"]) for row in rows],
                    "shares": [[float(np.nansum(row["series"])), row["price"], float(sum(sum(line) for line in row["grid"]))] for row in rows],
                    "parts": [{"n": sum(map(int, row["stops"])) + int(row["place"]["open"]), "total": float(row["place"]["x"])} for row in rows],
                    "micros": [row["seen"].value // 1000 for row in rows],
                }
            )

    return Reader()


def rows() -> list[tuple[Any, ...]]:
    place = {"x": 0.5, "names": ["a", "b"], "open": True}
    start = datetime(2013, 7, 1, tzinfo=UTC)
    found = []
    for index in range(6):
        seen = (TWICE + pd.Timedelta(hours=index % 2)).tz_localize("UTC").to_pydatetime()
        grid = [[1.0, 0.5], [float(index)]]
        found.append((index, start, {**place, "x": index / 3}, [BIG, index][: 1 + index % 2], [0.1] * index, grid, Decimal("17.35"), seen, WINDOW))
    base = found[0]
    found.append((6, *base[1:3], [BIG, None], *base[4:]))
    found.append((7, *base[1:4], [None, 1.0], *base[5:]))
    found.append((8, base[1], {**place, "names": None}, *base[3:]))
    found.append((9, base[1], None, *base[3:]))
    return found


@pytest.fixture(scope="module")
def reader(folder: Path, storage: Storage) -> ScoringModel:
    mlflow.pyfunc.save_model(str(folder / "reader"), python_model=reads(), signature=ModelSignature(INPUTS, OUTPUTS), pip_requirements=[])
    return ready(folder / "reader", storage, "mlflow.pyfunc.model", Signature.of_mlmodel(folder / "reader"), name="reader")


@pytest.fixture(scope="module")
def scoring_set(warehouse: Tables) -> Snapshot:
    frame = warehouse.spark.createDataFrame(rows(), SCHEMA).repartition(2)
    return warehouse.replace("nested_scores_scoring_set", frame, {"window": WINDOW}).snapshot


@pytest.fixture(scope="module")
def expected(folder: Path, reader: ScoringModel) -> dict[int, dict[str, Any]]:
    """The model's own word on each row alone; rows that it cannot take are not here."""
    model = mlflow.pyfunc.load_model(str(folder / "reader"))
    found = {}
    for number, _, place, stops, series, grid, price, seen, _ in rows():
        lines = [np.array(line, np.float32) for line in grid]
        told = {"place": place, "stops": stops, "series": series, "grid": lines, "price": float(price), "seen": pd.Timestamp(seen).tz_localize(None)}
        try:
            found[number] = model.predict(pd.DataFrame([told])).to_dict("records")[0]
        except Exception:
            continue
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_parts_arrive_as_they_are(
    warehouse: Tables, reader: ScoringModel, scoring_set: Snapshot, expected: dict[int, dict[str, Any]], engine: str
) -> None:
    """Whole numbers beyond 2^53 in arrays and structs, ragged arrays, a decimal to the last digit, an instant of the doubled hour."""
    call = {"target": "nested_scores", "slot": engine, "engine": engine, "row_key": ("id",), "spine_time": "at", "max_quarantine_share": 0.6}
    warehouse.spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        run(warehouse, reader, scoring_set, **call)
    finally:
        warehouse.spark.conf.set("spark.sql.session.timeZone", "UTC")

    scored = {row["id"]: row["prediction"].asDict(recursive=True) for row in predictions(warehouse, "nested_scores", slot=engine).collect()}
    reasons = {row["id"]: row["reason"] for row in quarantine(warehouse, "nested_scores", slot=engine).collect()}
    # A whole number beside a gap has no type in numpy: its row has a reason on each engine.
    assert scored == {number: told for number, told in expected.items() if number != 6}
    assert sorted({*scored, *reasons}) == list(range(10))
    assert reasons[6] == "missing value: an element of stops, array<bigint> in the model's signature"
    assert {number for number, reason in reasons.items() if reason.startswith("model error")} == {8, 9}
    assert scored[0]["parts"]["n"] == BIG + 1
    assert scored[1]["micros"] - scored[0]["micros"] == 3_600_000_000


def sums() -> Any:
    """A model that looks at the corners of a picture and weighs all of it."""

    class Summing(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: dict[str, np.ndarray], params: Any = None) -> dict[str, np.ndarray]:
            picture, count = model_input["picture"], model_input["count"]
            return {"corners": picture[:, [0, -1], :][:, :, [0, -1]], "total": picture.sum(axis=(1, 2)) * count}

    return Summing()


def test_a_tensor_is_an_array_of_its_elements(spark: SparkSession, warehouse: Tables, folder: Path, storage: Storage) -> None:
    """Each engine gives what the model says of numpy's own array; another length is put apart, nested arrays are refused before any task."""
    inputs = Schema([TensorSpec(np.dtype("float32"), (-1, 2, 3), "picture"), TensorSpec(np.dtype("int64"), (-1,), "count")])
    outputs = Schema([TensorSpec(np.dtype("float32"), (-1, 2, 2), "corners"), TensorSpec(np.dtype("float64"), (-1,), "total")])
    mlflow.pyfunc.save_model(str(folder / "summing"), python_model=sums(), signature=ModelSignature(inputs, outputs), pip_requirements=[])
    model = ready(folder / "summing", storage, "mlflow.pyfunc.model", Signature.of_mlmodel(folder / "summing"), name="summing")
    pictures = np.arange(24, dtype=np.float32).reshape(4, 2, 3) / 3
    told = [(index, pictures[index].ravel().tolist(), 2**40 + index) for index in range(4)]
    told += [(4, [1.0] * 5, 1), (5, None, 1), (6, [1.0] * 6, None)]
    frame = spark.createDataFrame(told, "id bigint, picture array<float>, count bigint").selectExpr(
        "*", "timestamp_micros(0) AS at", f"'{WINDOW}' AS window"
    )
    stored = warehouse.replace("tensor_scores_scoring_set", frame, {"window": WINDOW}).snapshot
    own = mlflow.pyfunc.load_model(str(folder / "summing")).predict({"picture": pictures, "count": np.array([row[2] for row in told[:4]])})

    call = {"target": "tensor_scores", "row_key": ("id",), "spine_time": "at"}
    for engine in ENGINES:
        run(warehouse, model, stored, slot=engine, engine=engine, **call)
        found = predictions(warehouse, "tensor_scores", slot=engine).orderBy("id").select("prediction.*").collect()
        assert [row["corners"] for row in found] == own["corners"].reshape(4, 4).tolist()
        assert [row["total"] for row in found] == own["total"].tolist()
        assert dict(quarantine(warehouse, "tensor_scores", slot=engine).select("id", "reason").collect()) == {
            4: "uncastable value: picture as 6 elements",
            5: "missing value: picture, array<float> in the model's signature",
            6: "missing value: count, bigint in the model's signature",
        }
    nested = frame.selectExpr("id", "array(picture) AS picture", "count", "at", "window")
    other = warehouse.replace("nested_tensor_scoring_set", nested, {"window": WINDOW}).snapshot
    with pytest.raises(ContractError, match=r"`picture` of type array<array<float>> .*flatten\(`picture`\)"):
        run(warehouse, model, other, slot="nested", **call)
