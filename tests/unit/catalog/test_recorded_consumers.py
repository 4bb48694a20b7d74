"""What `register`, `promote` and `score` record of models and predictions, without Spark."""

from __future__ import annotations

from pathlib import Path

import pytest
from known_features import NEWEST, Known

from feature_store.consumers import CONSUMERS
from feature_store.records import Snapshot, TrainingSet
from sparkml_ops.records import ModelVersion
from sparkml_ops.verbs.consumers import record_model, record_predictions

MADE = TrainingSet("late_0b", Snapshot("training_set_late_0b", 4), {"delays": 0, "raw_flights": 5}, "c0ffee", 48)


@pytest.fixture
def known(tmp_path: Path) -> Known:
    """A warehouse with a training set and nobody who used it."""
    known = Known(tmp_path)
    known.training_set(MADE.id, dict(MADE.inputs), features=["delay_mean_1d"], as_of=NEWEST)
    return known


def test_a_model_leads_to_its_training_set_and_its_predictions_to_the_model(known: Known) -> None:
    """By what each verb records; the same again costs no commit, a further version one."""
    versions, commits = [ModelVersion("tiny", number, "digest", MADE) for number in (1, 2)], []
    for version in (versions[0], versions[0], versions[1], versions[1]):
        record_model(known.work, version)
        record_predictions(known.work, version)
        commits.append(known.store.tables.newest(CONSUMERS).version)
    found = known.store.lineage("tiny_scores")

    assert [after - commits[0] for after in commits] == [0, 0, 2, 2]
    assert {node.id for node in found.upstream} == {
        "model:tiny@1",
        "model:tiny@2",
        "scoring set:tiny_scores_scoring_set",
        "training set:late_0b",
        "source:delays",
        "source:raw_flights",
    }
    assert {edge.how for edge in found.edges if edge.target == "model:tiny@1"} == {"version 4"}
    assert [consumer.name for consumer in known.store.consumers.of(["training_set_late_0b"])] == ["tiny", "tiny"]
