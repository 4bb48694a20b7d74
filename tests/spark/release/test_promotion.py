"""Register, promote, roll back: which version is the champion, and since when."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow.artifacts
import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from warehouses import WAYS, opened

from feature_store.delta import Tables
from feature_store.records import TrainingSet
from sparkml_ops import release
from sparkml_ops.config.gates import ApprovalGate
from sparkml_ops.config.release import ReleaseSection
from sparkml_ops.errors import ConflictError, ContractError, GateRefused
from sparkml_ops.model.artifact import digest
from sparkml_ops.records import GateReport, ModelVersion, TrainingResult
from sparkml_ops.release import ModelEvent
from sparkml_ops.release.events import append_event
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

AT = datetime(2013, 8, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SETTINGS = ReleaseSection.model_validate(
    {
        "model": "flights",
        "gates": {"auc": {"kind": "absolute", "metric": "evaluation_auc", "at_least": 0.7}, "baselines": {"kind": "against_baselines"}},
    }
)
CONFIG = "c0ffee"
GOOD = {
    "evaluation_rows": 28_000.0,
    "evaluation_auc": 0.75,
    "evaluation_log_loss": 0.44,
    "auc_gain_logistic_lower": 0.012,
    "baseline_logistic_log_loss": 0.45,
    "baseline_rate_log_loss": 0.53,
}

both_ways = pytest.mark.parametrize("place", WAYS, indirect=True)


@dataclasses.dataclass
class Place:
    """A warehouse, an MLflow store and the objects of one test."""

    tables: Tables
    tracking: Tracking
    storage: Storage
    training_set: TrainingSet
    settings: ReleaseSection

    @property
    def model(self) -> str:
        """Registered name; of this test alone."""
        return self.settings.model

    def register(self, key: str, metrics: Mapping[str, float] = GOOD) -> tuple[ModelVersion, GateReport]:
        """Register the artifact as trained by the run of a key."""
        run = self.tracking.run(key, key)
        result = TrainingResult(run.run_id, self.training_set, metrics, "training/artifact")
        return release.register(self.tables, self.tracking, self.storage, result, self.settings, CONFIG, AT)

    def version(self, key: str) -> ModelVersion:
        """Another version of the same artifact, without a report of its own."""
        run, trained = self.tracking.run(key, key), Path(self.storage.path("training/artifact"))
        columns = {"inputs": (("distance", "double"),), "outputs": (("probability", "double"),)}
        number = self.tracking.register(run.run_id, trained, name=self.model, training_set=self.training_set, **columns)
        return self.tracking.resolve(self.model, number).record

    def promote(self, version: ModelVersion, at: datetime = AT, config_hash: str = CONFIG) -> ModelVersion:
        """Promote as Ada."""
        return release.promote(self.tables, self.tracking, self.settings, version, config_hash, at, "ada")

    def rollback(self, at: datetime = AT) -> ModelVersion:
        """Roll back as Ada."""
        return release.rollback(self.tables, self.tracking, self.settings, at, "ada")

    def champions(self, count: int) -> list[ModelVersion]:
        """Register and promote some versions, a day apart."""
        # The same artifact on the same rows: one report stands for all these versions.
        first, _ = self.register("train/0")
        versions = [first, *(self.version(f"train/{number}") for number in range(1, count))]
        return [self.promote(version, AT + number * DAY) for number, version in enumerate(versions)]

    @property
    def moves(self) -> list[tuple[int | None, int | None, str]]:
        """The history in short."""
        return [(event.from_version, event.to_version, event.reason) for event in release.history(self.tables, self.model)]

    @property
    def alias(self) -> int | None:
        """What MLflow says."""
        return self.tracking.alias(self.model, "champion")


@pytest.fixture(scope="module")
def shared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tables]]:
    """One warehouse of each way for all tests here: reports and events of several models share their tables."""
    folder = tmp_path_factory.mktemp("warehouse")
    with opened("path", spark, folder) as by_path, opened("catalog", spark, folder) as by_name:
        yield {"path": by_path, "catalog": by_name}


@pytest.fixture
def place(
    *, shared: dict[str, Tables], tracking: Tracking, artifact: Path, training_set: TrainingSet, tmp_path: Path, request: pytest.FixtureRequest
) -> Place:
    """The artifact is published as training leaves it; tables lie below a folder unless a test is about both ways."""
    storage = Storage(str(tmp_path / "storage"))
    for path in artifact.iterdir():
        storage.publish_file(f"training/artifact/{path.name}", path, kind="artifact")
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    return Place(shared[getattr(request, "param", "path")], tracking, storage, training_set, SETTINGS.model_copy(update={"model": f"flights_{name}"}))


def test_a_promotion_that_needs_another_person_waits_for_one(place: Place) -> None:
    """Refused until somebody else has approved, and after the approval has ended; the champion again asks nobody."""
    asking = place.settings.model_copy(update={"gates": {**place.settings.gates, "second": ApprovalGate(kind="approval")}})
    run = place.tracking.run("train/asked", "asked")
    result = TrainingResult(run.run_id, place.training_set, GOOD, "training/artifact")
    with pytest.raises(ContractError, match="a registration by nobody"):
        release.register(place.tables, place.tracking, place.storage, result, asking, CONFIG, AT)
    version, report = release.register(place.tables, place.tracking, place.storage, result, asking, CONFIG, AT, author="ada")

    def promote(at: datetime) -> ModelVersion:
        return release.promote(place.tables, place.tracking, asking, version, CONFIG, at, "ada")

    assert report.passed
    with pytest.raises(GateRefused, match=r"refused by gate second: no evidence .*registered by ada, was approved by nobody else"):
        promote(AT)
    release.approve(place.tables, asking, version, CONFIG, "grace", AT + DAY, AT)
    with pytest.raises(GateRefused, match=r"gate second: fail .*at 2013-08-03 00:00 it does not hold"):
        promote(AT + 2 * DAY)
    assert promote(AT + DAY) == version
    assert promote(AT + 9 * DAY) == version
    assert place.moves == [(None, 1, "promote")]
    cards = {item.path for item in place.tracking.open().list_artifacts(run.run_id, "cards")}
    assert cards == {"cards/version_1.html", "cards/version_1.md"}


def test_registering_twice_gives_one_version_and_one_report(place: Place, artifact: Path) -> None:
    """The version is the artifact that training published; its report is a row, and a document of the run."""
    version, report = place.register("train/flights/1")
    again = place.register("train/flights/1")

    assert again == (version, report)
    assert version == ModelVersion(place.model, 1, digest(artifact), place.training_set)
    assert report.passed
    assert [result.gate for result in report.results] == ["minimum_rows", "auc", "baselines"]
    (row,) = place.tables.rows("gate_reports", {"model": place.model})
    assert (row["digest"], row["evaluation_hash"], row["config_hash"], row["passed"]) == (version.digest, "0123456789abcdef", CONFIG, True)
    run_id = place.tracking.resolve(place.model, 1).run_id
    document = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/gates/{row['report_id']}.json", tracking_uri=place.tracking.uri))
    assert json.loads(document.read_text())["results"] == json.loads(row["results"])


def test_an_artifact_that_is_not_there_is_an_error(place: Place) -> None:
    """A training result whose objects were removed is not registered."""
    place.storage.remove("training/artifact")

    with pytest.raises(ContractError, match=r"no model\.json and no weights\.safetensors under"):
        place.register("train/flights/1")


def test_a_passed_version_becomes_the_champion_once(place: Place) -> None:
    """Promoting the champion again writes nothing."""
    version, _ = place.register("train/flights/1")

    assert place.promote(version) == version
    assert place.promote(version, AT + DAY) == version
    assert place.alias == 1
    (event,) = release.history(place.tables, place.model)
    report = place.tables.rows("gate_reports", {"model": place.model})[0]["report_id"]
    assert event == ModelEvent(1, place.model, "champion", None, 1, AT, "promote", report, "ada")


def test_a_failed_gate_refuses_with_what_was_found_and_its_limit(place: Place) -> None:
    """The refusal names each gate, and nothing moves."""
    version, report = place.register("train/flights/1", {**GOOD, "evaluation_auc": 0.66, "auc_gain_logistic_lower": float("nan")})

    with pytest.raises(GateRefused) as refused:
        place.promote(version)

    assert not report.passed
    assert "gate auc: fail (evaluation_auc 0.66, limit >= 0.7)" in str(refused.value)
    assert "gate baselines: no evidence (no finite value of auc_gain_logistic_lower)" in str(refused.value)
    assert (place.alias, place.moves) == (None, [])


def test_a_report_counts_for_its_own_artifact_evaluation_and_configuration_only(place: Place) -> None:
    """Another configuration, evaluation set or digest has no evidence."""
    version, _ = place.register("train/flights/1")

    with pytest.raises(GateRefused, match=r"no gate report of version 1 .* under configuration other"):
        place.promote(version, config_hash="other")
    with pytest.raises(ContractError, match="digest"):
        place.promote(dataclasses.replace(version, digest="0" * 64))
    with pytest.raises(ContractError, match="training set"):
        place.promote(dataclasses.replace(version, training_set=dataclasses.replace(place.training_set, content_hash="f" * 16)))
    assert place.moves == []


def test_the_last_report_counts(place: Place) -> None:
    """A version that was judged again, and refused, is no longer promoted."""
    version, _ = place.register("train/flights/1")
    place.register("train/flights/1", {**GOOD, "evaluation_auc": 0.6})

    with pytest.raises(GateRefused, match="gate auc: fail"):
        place.promote(version)


def test_rollbacks_go_back_one_champion_each(place: Place) -> None:
    """Back from the third to the second to the first, and no further."""
    first, second, _ = place.champions(3)

    assert place.rollback(AT + 3 * DAY) == second
    assert place.rollback(AT + 4 * DAY) == first
    assert place.alias == 1
    assert place.moves[3:] == [(3, 2, "rollback"), (2, 1, "rollback")]
    with pytest.raises(ContractError, match=f"no champion of `{place.model}` before version 1"):
        place.rollback()


def test_the_champion_of_any_day_is_known(place: Place) -> None:
    """The events answer what was in production when."""
    place.champions(2)
    place.rollback(AT + 5 * DAY)
    days = [-1, 0, 0.5, 1, 4, 5, 9]

    assert [release.champion_at(place.tables, place.model, AT + day * DAY) for day in days] == [None, 1, 1, 2, 2, 1, 1]


def event(place: Place, number: int, old: int | None, new: int, reason: str = "promote") -> ModelEvent:
    """An event as a process writes it before it is killed."""
    made = ModelEvent(number, place.model, "champion", old, new, AT, reason, None, "ada")  # type: ignore[arg-type]
    append_event(place.tables, made)
    return made


@pytest.mark.parametrize("alias_moved", [False, True], ids=["before the alias", "before the tag"])
def test_a_promotion_killed_halfway_is_finished(place: Place, alias_moved: bool) -> None:
    """Killed after its event, with or without the alias moved, and run again: one event, one champion."""
    version, _ = place.register("train/flights/1")
    event(place, 1, None, 1)
    if alias_moved:
        place.tracking.set_alias(place.model, "champion", 1)

    place.promote(version)

    assert (place.alias, place.moves) == (1, [(None, 1, "promote")])


@pytest.mark.parametrize("alias_moved", [False, True], ids=["before the alias", "before the tag"])
def test_a_rollback_killed_halfway_goes_back_only_once(place: Place, alias_moved: bool) -> None:
    """Run again it ends where the unbroken one ends, not one champion further back."""
    _, second, _ = place.champions(3)
    event(place, 4, 3, 2, "rollback")
    if alias_moved:
        place.tracking.set_alias(place.model, "champion", 2)

    assert place.rollback() == second
    assert (place.alias, len(place.moves)) == (2, 4)


def test_another_promotion_first_finishes_the_one_that_was_killed(place: Place) -> None:
    """The history has both, in order."""
    place.register("train/0")
    second = place.version("train/1")
    event(place, 1, None, 1)

    place.promote(second)

    assert (place.alias, place.moves) == (2, [(None, 1, "promote"), (1, 2, "promote")])


@both_ways
def test_of_two_promotions_at_once_one_wins(place: Place) -> None:
    """The number of an event is taken once; the loser is told and changes nothing."""
    place.champions(1)
    event(place, 2, 1, 1)

    with pytest.raises(ConflictError, match=f"another move of {place.model}@champion"):
        event(place, 2, 1, 1)
    assert len(place.moves) == 2


def test_an_alias_moved_by_hand_is_told_and_accepted_only_on_request(place: Place) -> None:
    """Nobody's click is silently taken for a release, nor silently undone."""
    first, second = place.champions(2)
    MlflowClient(tracking_uri=place.tracking.uri).set_registered_model_alias(place.model, "champion", "1")

    for call in (place.rollback, lambda: place.promote(second)):
        with pytest.raises(ContractError, match=rf"{place.model}@champion at version 1, moved by hand.*version 2 \(event {place.model}@champion#2"):
            call()
    accepted = release.reconcile(place.tables, place.tracking, place.settings, AT + DAY, "ada")

    assert accepted == ModelEvent(3, place.model, "champion", 2, 1, AT + DAY, "by hand", None, "ada")
    assert release.reconcile(place.tables, place.tracking, place.settings, AT + DAY, "ada") is None
    assert place.rollback() == second
    assert place.promote(first) == first
    assert place.alias == 1


def test_an_alias_from_before_the_first_event_is_told_too(place: Place) -> None:
    """A champion that somebody named in MLflow was never released."""
    version, _ = place.register("train/flights/1")
    place.tracking.set_alias(place.model, "champion", 1)

    with pytest.raises(ContractError, match="expected what the last event says: none"):
        place.promote(version)
    assert release.reconcile(place.tables, place.tracking, place.settings, AT, "ada") is not None
    assert place.promote(version) == version
    assert place.moves == [(None, 1, "by hand")]


@both_ways
def test_an_alias_that_was_deleted_is_told(place: Place) -> None:
    """No champion where the history has one is a change by hand as well; accepted, a rollback undoes it, whatever was registered since."""
    _, second = place.champions(2)
    place.version("train/refused")
    place.tracking.delete_alias(place.model, "champion")

    for call in (place.rollback, lambda: place.promote(second)):
        with pytest.raises(ContractError, match=r"at no version, moved by hand.*reconcile`; then `sparkml-ops rollback`"):
            call()
    release.reconcile(place.tables, place.tracking, place.settings, AT, "ada")
    assert place.rollback() == second
    assert place.alias == 2
    assert place.moves == [(None, 1, "promote"), (1, 2, "promote"), (2, None, "by hand"), (None, 2, "rollback")]


def test_the_history_of_a_model_without_events_is_empty(tables: Tables) -> None:
    """Asking makes no table."""
    assert release.history(tables, "flights") == ()
    assert release.champion_at(tables, "flights", AT) is None
    assert not tables.exists("model_events")


def test_another_models_version_is_refused(place: Place) -> None:
    """The configuration names the one model that its verbs release."""
    version, _ = place.register("train/flights/1")

    with pytest.raises(ContractError, match="a version of `trains`; expected a version of `flights_"):
        place.promote(dataclasses.replace(version, name="trains"))
