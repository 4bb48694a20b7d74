"""What evaluation rows say of a challenger alone, against the same counted by pandas; and what cannot be asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pyspark.sql import DataFrame, SparkSession

from sparkml_ops.config.gates import CalibrationGate, ContractGate, FairnessGate, StabilityGate
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.model import artifact
from sparkml_ops.model.network import build
from sparkml_ops.model.spec import ArrayInput, CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.target import Target
from sparkml_ops.records import ModelVersion, Snapshot, TrainingSet
from sparkml_ops.release.challenge import Challenger
from sparkml_ops.release.evidence_gates import Finding
from sparkml_ops.release.row_evidence import RowEvidence
from sparkml_ops.storage import Storage

ROWS = 600
SPEC = ModelSpec(
    "linear",
    (NumericInput("full", "double", 0.0, 0.0, 2.0), NumericInput("gaps", "double", 0.0, 1.0, 4.0, indicator=True)),
    (CategoricalInput("word", "string", ("a", "b")), CategoricalInput("tail", "string", (), buckets=9)),
    arrays=(ArrayInput("vector", "array<double>", (0.0, 0.0), (1.0, 0.5), indicator=True),),
)
STABLE = StabilityGate(kind="numeric_stability", perturbation=0.01, extreme=100.0)


def made() -> pd.DataFrame:
    """Rows with two numbers gone that never were, three infinite ones, 150 unknown words, and gaps that training knew."""
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"full": rng.normal(size=ROWS), "gaps": rng.normal(size=ROWS), "row_position": np.arange(ROWS)})
    frame["word"], frame["tail"] = rng.choice(["a", "b"], ROWS), "N1"
    frame["vector"] = rng.normal(size=(ROWS, 2)).tolist()
    frame["label"] = (rng.random(ROWS) < 1 / (1 + np.exp(-frame["full"]))).astype(float)
    frame.loc[[3, 4], "full"] = np.nan
    frame.loc[[10, 300, 599], "gaps"] = np.inf
    frame.loc[100:249, "word"] = "zz"
    frame.loc[250:259, "word"] = None
    frame.loc[20:80, "gaps"] = np.nan
    return frame


def read(spark: SparkSession, frame: pd.DataFrame, kinds: str = "full double, gaps double") -> DataFrame:
    rows = [tuple(None if value is None or (isinstance(value, float) and np.isnan(value)) else value for value in row) for row in frame.to_numpy()]
    schema = f"{kinds}, row_position bigint, word string, tail string, vector array<double>, label double"
    return spark.createDataFrame(rows, schema).coalesce(1)


class Asked:
    """A model of known weights in a storage of its own."""

    def __init__(self, folder: Path, rows: DataFrame, spec: ModelSpec = SPEC, *, weight: float = 1.0, seen: str = "") -> None:
        state = {name: torch.zeros_like(value) for name, value in build(spec, 0, torch.float64).state_dict().items()}
        state["output.weight"][0, 0] = weight
        artifact.save(folder / "model", spec, state)
        self.predictor, storage = artifact.load(folder / "model"), Storage(str(folder / "storage"))
        for path in (folder / "model").iterdir():
            storage.publish_file(f"model/{path.name}", path, kind="artifact_file")
        version = ModelVersion("m", 1, artifact.digest(folder / "model"), TrainingSet("t", Snapshot("t", 0), {}, "0" * 16, ROWS))
        settings = ReleaseSection.model_validate({"gates": {"stability": STABLE, "fair": {**FAIR, "kind": "fairness"}}, "replicates": 200})
        self.evidence = RowEvidence(settings, Challenger(version, "run", "model", spec, "label"), storage, lambda: rows, lambda: seen)

    def __call__(self, gate: Any) -> Finding:
        return self.evidence.of(gate)


FAIR: dict[str, Any] = {"column": "word", "equalised_odds_at_most": 1.0, "minimum_rows": 50, "minimum_of_label": 10}


def test_the_contract_is_counted_as_pandas_counts_it(spark: SparkSession, tmp_path: Path) -> None:
    """Gaps where training had none, unknown words, infinite numbers; known gaps and hashed values are no breach."""
    frame = made()
    asked = Asked(tmp_path, read(spark, frame))
    found = asked(ContractGate(kind="data_contract"))

    assert found.figures == {
        "rows": ROWS,
        "wrong_types": 0.0,
        "missing_share": pytest.approx(2 / ROWS),
        "unknown_share": pytest.approx(150 / ROWS),
        "infinite_share": pytest.approx(3 / ROWS),
    }
    assert found.note == "`full` 0.33% missing, `word` 25.00% unknown"
    # The model is a logistic curve of full / 2, steepest at 0: a hundredth of a deviation moves it by a quarter of that.
    stable = asked(STABLE).figures
    assert (stable["rows"], stable["unscored"], stable["broken"]) == (ROWS, 0.0, 0.0)
    assert stable["largest_change"] == pytest.approx(0.0025, rel=0.01)
    with pytest.raises(Exception, match="3 evaluation rows without a prediction"):
        asked(CalibrationGate(kind="calibration", error_at_most=1.0))


def test_a_model_that_breaks_at_extreme_numbers_is_found(spark: SparkSession, tmp_path: Path) -> None:
    """An exponential of the sum: finite on the rows, infinite a hundred deviations out."""
    spec = dataclasses.replace(SPEC, target=Target("count", mean=2.0))
    asked = Asked(tmp_path, read(spark, made().drop([10, 300, 599])), spec, weight=9.0)

    # One of the two extremes of `full`, on the 64 rows of the only task's first batch.
    assert asked(STABLE).figures["broken"] == 64.0
    assert asked(STABLE).figures["unscored"] == 0.0


def test_groups_that_are_too_small_are_named_and_left_out(spark: SparkSession, tmp_path: Path) -> None:
    """Ten rows without a word are no group to judge by; a column that is not there is no evidence, as is another task."""
    frame = made().drop([10, 300, 599])
    asked = Asked(tmp_path, read(spark, frame))
    found = asked(FairnessGate.model_validate({"kind": "fairness", **FAIR}))
    decided = asked.predictor.predict(frame) >= 0.5
    shares = [decided[(frame["word"] == word).to_numpy()].mean() for word in ("a", "b", "zz")]

    assert (found.figures["groups"], found.note) == (3.0, "not judged: null (10 rows)")
    assert found.figures["demographic_parity"] == pytest.approx(max(shares) - min(shares), abs=1e-12)
    gone = FairnessGate.model_validate({"kind": "fairness", **FAIR, "column": "nothing"})
    assert asked(gone).gap == "no column `nothing` in the training set"
    other = Asked(tmp_path / "other", read(spark, frame), dataclasses.replace(SPEC, target=Target("regression", scale=2.0)))
    assert other(gone).gap.startswith("a model of the task regression")
    trained = Asked(tmp_path / "trained", read(spark, frame), seen="480 of them are among the training rows")
    assert trained(FairnessGate.model_validate({"kind": "fairness", **FAIR})).gap == "480 of them are among the training rows"


def test_inputs_of_another_type_break_the_contract_before_any_row_is_read(spark: SparkSession, tmp_path: Path) -> None:
    """Named with what training saw; stability then has nothing to stand on."""
    frame = made().assign(full=1).astype({"full": object})
    asked = Asked(tmp_path, read(spark, frame, "full int, gaps double"))
    contract = asked(ContractGate(kind="data_contract"))

    assert (contract.figures["wrong_types"], contract.note) == (1.0, "`full` int (learnt as double)")
    assert asked(STABLE).gap == "inputs of other types: `full` int (learnt as double)"
