"""A challenger beside the champion: the same rows, both artifacts, one pass; and when that proves nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from challenge_rows import SPEC, day, frame, save, spine, training_set
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

import feature_store as fs
from sparkml_ops import release
from sparkml_ops.config.release import ChampionGate, ReleaseSection, SlicesGate
from sparkml_ops.errors import GateRefused
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import NumericInput
from sparkml_ops.model.target import Target
from sparkml_ops.performance.bootstrap import weights
from sparkml_ops.performance.delong import Placements
from sparkml_ops.performance.scores import ScoreCounts
from sparkml_ops.records import GateReport, GateResult, ModelVersion, TrainingResult
from sparkml_ops.release import Comparison, ModelEvent
from sparkml_ops.release.challenge import Challenger, compare, seen
from sparkml_ops.release.champion_gates import against_champion, slices
from sparkml_ops.release.events import append_event
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import Tracking

AT = day(150)
SETTINGS = ReleaseSection.model_validate(
    {
        "minimum_rows": 100,
        "replicates": 200,
        "gates": {
            "champion": {"kind": "against_champion", "auc_margin": 0.02, "log_loss_margin": 0.02, "minimum_rows": 300},
            "origins": {"kind": "slices", "columns": ["origin"], "minimum_rows": 60, "minimum_positives": 15, "auc_margin": 0.05},
        },
    }
)
METRICS = {"evaluation_rows": 720.0}


@dataclasses.dataclass
class Place:
    """Tables that all tests share; an MLflow store, objects and a model's name of one test."""

    store: fs.FeatureStore
    sets: Mapping[str, fs.TrainingSet]
    tracking: Tracking
    storage: Storage
    settings: ReleaseSection
    results: dict[str, TrainingResult]
    folder: Path

    def trained(self, name: str, rows: str, model: Path) -> TrainingResult:
        """What training would hand on."""
        for path in model.iterdir():
            self.storage.publish_file(f"training/{name}/artifact/{path.name}", path, kind="artifact_file")
        run = self.tracking.run(f"train/{name}", name)
        result = TrainingResult(run.run_id, self.sets[rows], METRICS, f"training/{name}/artifact")
        self.results[run.run_id] = result
        return result

    def lineage(self, run_id: str) -> tuple[fs.TrainingSet, ...] | None:
        """As the ledger would say."""
        return (self.results[run_id].training_set,) if run_id in self.results else None

    def register(self, name: str, rows: str, slope: float, bias: dict[str, float] | None = None) -> tuple[ModelVersion, GateReport]:
        """Register a model of known weights."""
        folder = self.folder / name
        return self.again(self.trained(name, rows, folder if folder.is_dir() else save(folder, slope, bias)))

    def again(self, result: TrainingResult) -> tuple[ModelVersion, GateReport]:
        witnesses = release.Witnesses(lineage=self.lineage)
        return release.register(self.store.tables, self.tracking, self.storage, result, self.settings, "c0ffee", AT, witnesses=witnesses)

    def promote(self, version: ModelVersion) -> ModelVersion:
        return release.promote(self.store.tables, self.tracking, self.settings, version, "c0ffee", AT, "ada")

    def crown(self, rows: str = "to50", slope: float = 1.2, model: Path | None = None) -> ModelVersion:
        """A first champion, as promotion leaves it."""
        folder = model or save(self.folder / "champion", slope)
        result = self.trained("champion", rows, folder)
        columns = {"inputs": (("x", "double"),), "outputs": (("probability", "double"),)}
        number = self.tracking.register(result.run_id, folder, name=self.settings.model, training_set=result.training_set, **columns)
        append_event(self.store.tables, ModelEvent(1, self.settings.model, "champion", None, number, AT, "promote", None, "ada"))
        return self.tracking.resolve(self.settings.model, number).record

    def compared(self, result: TrainingResult, **changes: object) -> Comparison:
        """What the gates would be told; nothing is stored."""
        version = ModelVersion(self.settings.model, 99, artifact.digest(Path(self.storage.path(result.checkpoint))), result.training_set)
        challenger = Challenger(version, result.run_id, result.checkpoint, SPEC, "label")
        settings = self.settings.model_copy(update=changes)
        found = compare(self.store.tables, self.tracking, self.storage, settings, challenger, self.lineage)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    made = fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("warehouse")))
    made.tables.overwrite("examples", frame(spark).coalesce(1))
    return made


@pytest.fixture(scope="module")
def sets(store: fs.FeatureStore) -> dict[str, fs.TrainingSet]:
    """Trained until day 50 and 70, judged by the 20 and 30 days after; trained on days 95 to 99 alone."""
    return {
        "to50": training_set(store, "to50", 50, 70),
        "to70": training_set(store, "to70", 70, 100),
        "last": training_set(store, "last", 99, 100, since=day(95)),
    }


@pytest.fixture
def place(*, store: fs.FeatureStore, sets: dict[str, fs.TrainingSet], tracking: Tracking, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    name = f"m{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"
    return Place(store, sets, tracking, Storage(str(tmp_path / "storage")), SETTINGS.model_copy(update={"model": name}), {}, tmp_path)


def result_of(report: GateReport, gate: str) -> GateResult:
    return next(result for result in report.results if result.gate == gate)


def evaluated(store: fs.FeatureStore, rows: fs.TrainingSet) -> pd.DataFrame:
    """The evaluation rows with their positions, joined outside Spark."""
    positions = store.load(rows).where("split = 'evaluation'").select("id", "row_position").toPandas()
    return spine().merge(positions, on="id")


def test_figures_are_those_of_both_artifacts_on_the_same_rows(place: Place) -> None:
    """AUC and log loss by scikit-learn over all rows and by airport; intervals by a bootstrap of numpy with the same weights."""
    champion = place.crown()
    version, report = place.register("challenger", "to70", 1.6, {"JFK": 0.3})
    rows = evaluated(place.store, place.sets["to70"])
    scores = {name: artifact.load(place.folder / name).predict(rows) for name in ("challenger", "champion")}
    label, found = rows["label"].to_numpy(), result_of(report, "champion").found

    assert (len(rows), found["rows"]) == (720, 720.0)
    for name, probabilities in scores.items():
        assert found[f"{name}_auc"] == pytest.approx(roc_auc_score(label, probabilities), abs=1e-12)
        assert found[f"{name}_log_loss"] == pytest.approx(log_loss(label, probabilities), abs=1e-12)
    drawn = weights(rows["row_position"].to_numpy(), 200, SETTINGS.seed).astype(float)
    gains = [
        roc_auc_score(label, scores["challenger"], sample_weight=draw) - roc_auc_score(label, scores["champion"], sample_weight=draw)
        for draw in drawn.T
    ]
    assert [found["auc_gain_champion_lower"], found["auc_gain_champion_upper"]] == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=5e-4)
    airports = result_of(report, "origins").found
    for airport in ("EWR", "JFK", "LGA"):
        inside = (rows["origin"] == airport).to_numpy()
        expected = roc_auc_score(label[inside], scores["challenger"][inside]) - roc_auc_score(label[inside], scores["champion"][inside])
        assert airports[f"origin={airport} auc_gain_champion"] == pytest.approx(expected, abs=1e-12)
    assert report.passed
    assert result_of(report, "champion").champion == f"1 {champion.digest}"
    assert "not judged: origin=XXX" in result_of(report, "origins").message
    assert place.promote(version) == version


def test_a_model_of_another_task_has_no_evidence_beside_a_champion(place: Place) -> None:
    """It is registered, and its gates say why nothing was measured: AUC and log loss mean nothing for it."""
    place.crown()
    values = dataclasses.replace(SPEC, target=Target("regression", mean=3.0, scale=2.0))
    _, report = place.again(place.trained("values", "to70", save(place.folder / "values", 1.0, spec=values)))

    assert [result_of(report, gate).verdict for gate in ("champion", "origins")] == ["no evidence", "no evidence"]
    assert "a model of the task regression: only binary ones" in result_of(report, "champion").message
    assert not report.passed


def test_delong_and_clusters_beside_the_plain_bootstrap(place: Place) -> None:
    """DeLong's limits on these rows are those of the sums over them; rows of one customer share their weights, as drawn by hand."""
    place.crown()
    result = place.trained("challenger", "to70", save(place.folder / "challenger", 1.6, {"JFK": 0.3}))
    gate = place.settings.gates["champion"]
    assert isinstance(gate, ChampionGate)
    plain = place.compared(result, gates={"champion": gate.model_copy(update={"interval": "both"})}).metrics
    together = place.compared(result, cluster="origin").metrics
    rows = evaluated(place.store, place.sets["to70"])
    label = rows["label"].to_numpy().astype(np.int64)
    scores = [artifact.load(place.folder / name).predict(rows) for name in ("challenger", "champion")]
    counts = [ScoreCounts.of(values, label) for values in scores]
    expected = Placements.of((scores[0], scores[1]), label, (counts[0], counts[1])).gain(0.95)
    lost = [place.compared(result, cluster="nothing").gap]

    assert (plain["auc_gain_champion_delong_lower"], plain["auc_gain_champion_delong_upper"]) == pytest.approx(
        (expected.lower, expected.upper), abs=1e-12
    )
    # Whole airports come and go: their weights, drawn here by the hash of the airport, give the same limits.
    hashed = place.store.load(place.sets["to70"]).where("split = 'evaluation' and label is not null").selectExpr("row_position", "xxhash64(origin) h")
    positions = rows.merge(hashed.toPandas(), on="row_position", how="left")["h"].to_numpy()
    drawn = weights(positions, 200, SETTINGS.seed).astype(float)
    kept = [draw for draw in drawn.T if draw.any()]
    gains = [roc_auc_score(label, scores[0], sample_weight=draw) - roc_auc_score(label, scores[1], sample_weight=draw) for draw in kept]
    assert len(kept) == 200
    assert [together["auc_gain_champion_lower"], together["auc_gain_champion_upper"]] == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=5e-4)
    assert together["auc_gain_champion"] == plain["auc_gain_champion"]
    assert lost == ["no column `nothing` (release.cluster) in the training set"]


def test_the_first_model_passes_in_words_and_without_a_pass_over_rows(place: Place) -> None:
    """Its artifact is not even there to be read."""
    found = place.compared(place.trained("first", "to50", save(place.folder / "first", 1.0)))
    lost = place.trained("lost", "to50", place.folder / "first")
    digest_folder = place.storage.path(lost.checkpoint)
    unread = Challenger(ModelVersion(place.settings.model, 9, "d" * 64, lost.training_set), lost.run_id, "training/nowhere", SPEC, "label")
    version, report = place.register("first", "to50", 1.0)

    assert found == Comparison("none")
    assert compare(place.store.tables, place.tracking, place.storage, place.settings, unread, place.lineage) == found
    assert Path(digest_folder).is_dir()
    assert [(result.verdict, result.message) for result in report.results[1:]] == [
        ("pass", "first model: no champion to compare with"),
        ("pass", "first model: no champion to compare with in any slice"),
    ]
    assert place.promote(version) == version


def test_beside_a_champion_there_are_two_questions_to_spark(place: Place, spark: SparkSession) -> None:
    """When do the rows lie, and how do both do on them: a ratchet of jobs."""
    place.crown()
    result = place.trained("challenger", "to70", save(place.folder / "challenger", 1.5))
    before = set(spark.sparkContext.statusTracker().getJobIdsForGroup(None))
    place.compared(result)

    assert len(set(spark.sparkContext.statusTracker().getJobIdsForGroup(None)) - before) <= 7


def test_a_worse_challenger_is_refused_with_the_reason(place: Place) -> None:
    """The refusal names gate, figure and limit; the champion stays."""
    place.crown()
    worse, _ = place.register("worse", "to70", -0.2)

    with pytest.raises(GateRefused, match=r"gate champion: fail \(beside version 1 on 720 rows: auc_gain_champion_lower -0\.\d+, limit > -0\.02"):
        place.promote(worse)
    assert place.tracking.alias(place.settings.model, "champion") == 1


def test_harm_in_one_airport_is_found_where_the_whole_hides_it(place: Place) -> None:
    """LGA, a fifth of the rows, is told too often that it is late: over all rows that is within the margin, there it is not."""
    place.crown(slope=1.5)
    found = place.compared(place.trained("harm", "to70", save(place.folder / "harm", 1.5, {"LGA": 2.0})))
    whole = ChampionGate(kind="against_champion", auc_margin=0.1, log_loss_margin=0.1, minimum_rows=300)
    part = SlicesGate(kind="slices", columns=("origin",), minimum_rows=60, minimum_positives=15, log_loss_margin=0.1)
    result = slices("origins", part, found)

    assert against_champion("champion", whole, found).verdict == "pass"
    assert result.verdict == "fail"
    assert result.message.startswith("origin=LGA: log_loss_gain_champion -0.")
    assert "EWR" not in result.message


def test_evidence_is_about_one_champion_only(place: Place) -> None:
    """A version that was judged beside none, or beside an earlier champion, is refused until it is judged again; a rollback makes it count again."""
    first, _ = place.register("first", "to50", 1.0)
    second, _ = place.register("second", "to70", 1.4)
    place.promote(first)
    with pytest.raises(GateRefused, match=r"no evidence of version 2 .* present champion, version 1: it was judged beside none"):
        place.promote(second)
    _, report = place.again(place.results[place.tracking.resolve(place.settings.model, 2).run_id])
    third, _ = place.register("third", "to70", 1.5)

    assert result_of(report, "champion").champion == f"1 {first.digest}"
    assert place.promote(second) == second
    with pytest.raises(GateRefused, match="present champion, version 2: it was judged beside version 1"):
        place.promote(third)
    release.rollback(place.store.tables, place.tracking, place.settings, AT, "ada")
    assert place.promote(third) == third
    assert place.promote(third) == third


def test_rows_that_the_champion_was_trained_on_prove_nothing(place: Place) -> None:
    """Neither later nor other ones: how many is said."""
    place.crown("to70")
    found = place.compared(place.trained("challenger", "to50", save(place.folder / "challenger", 1.5)))

    assert found.gap == f"the evaluation rows are no test of the champion: 480 of them are among the training rows in {place.sets['to70'].id}"
    assert (found.metrics, found.slices) == ({}, {})


def test_rows_that_lie_earlier_judge_where_their_keys_are_others(place: Place) -> None:
    """A champion of the last days only."""
    place.crown("last")
    found = place.compared(place.trained("challenger", "to50", save(place.folder / "challenger", 1.5)))

    assert (found.gap, found.metrics["rows"]) == ("", 480.0)


def test_a_model_that_went_on_from_another_has_seen_its_rows_too(place: Place) -> None:
    """The challenger's own past counts as the champion's does; an unknown past is no evidence."""
    place.crown()
    result = place.trained("warm", "to50", save(place.folder / "warm", 1.5))
    runs = {run_id: (done.training_set,) for run_id, done in place.results.items()}
    warm = {**runs, result.run_id: (place.sets["to50"], place.sets["to70"])}
    version = ModelVersion(place.settings.model, 99, artifact.digest(place.folder / "warm"), result.training_set)
    challenger = Challenger(version, result.run_id, result.checkpoint, SPEC, "label")
    gaps = [
        compare(place.store.tables, place.tracking, place.storage, place.settings, challenger, past.get)
        for past in (warm, {result.run_id: runs[result.run_id]}, {})
    ]

    alone = [seen(place.store.tables, challenger, past) for past in (warm.get, runs.get, {}.get, None)]

    unknown = f"no record of what the challenger was trained on (run {result.run_id})"
    assert (alone[0][:41], alone[1:]) == ("the evaluation rows are no test of the ch", ["", unknown, unknown])
    assert [gap.gap.split(":")[0] if gap else "" for gap in gaps] == [
        "the evaluation rows are no test of the challenger",
        f"no record of what the champion was trained on (run {place.tracking.resolve(place.settings.model, 1).run_id})",
        f"no record of what the challenger was trained on (run {result.run_id})",
    ]


def test_a_champion_that_was_deleted_by_hand_is_said_to_be_gone(place: Place) -> None:
    """The registry forgets its alias silently; the gate does not."""
    place.crown()
    MlflowClient(tracking_uri=place.tracking.uri).delete_model_version(place.settings.model, "1")
    found = place.compared(place.trained("challenger", "to70", save(place.folder / "challenger", 1.5)))

    assert found.gap.startswith(
        "the champion, version 1, cannot be read: no alias 1" if "alias" in found.gap else "the champion, version 1, cannot be read"
    )
    assert found.champion == "1 unknown"


def test_changed_files_of_the_champion_are_not_measured(place: Place) -> None:
    """The digest of registration is checked first."""
    place.crown()
    (weights_file,) = (place.folder / "artifacts").rglob("weights.safetensors")
    weights_file.write_bytes(weights_file.read_bytes()[:-1] + b"\x01")
    found = place.compared(place.trained("challenger", "to70", save(place.folder / "challenger", 1.5)))

    assert "cannot be read" in found.gap
    assert "digest" in found.gap or "SHA-256" in found.gap


def test_a_champion_with_another_input_is_named(place: Place) -> None:
    """The challenger's rows lack a column of the champion's."""
    spec = dataclasses.replace(SPEC, numeric=(*SPEC.numeric, NumericInput("gone", "double", 0.0, 0.0, 1.0)))
    place.crown(model=save(place.folder / "wide", 1.2, spec=spec))
    found = place.compared(place.trained("challenger", "to70", save(place.folder / "challenger", 1.5)))

    assert found.gap == "the challenger's rows lack inputs of the champion: `gone` double (found none)"


def test_a_foreign_champion_is_not_measured(place: Place) -> None:
    """A model that was taken over has another loader."""
    model = LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 1, 0, 1])
    mlflow.sklearn.save_model(model, str(place.folder / "sk"), serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
    client = MlflowClient(tracking_uri=place.tracking.uri)
    client.create_registered_model(place.settings.model)
    client.create_model_version(place.settings.model, (place.folder / "sk").as_uri())
    place.tracking.adopt(place.settings.model, 1, place.sets["to50"], loaders=("mlflow.sklearn",), pickled=(place.settings.model,))
    place.tracking.set_alias(place.settings.model, "champion", 1)
    release.reconcile(place.store.tables, place.tracking, place.settings, AT, "ada")
    found = place.compared(place.trained("challenger", "to70", save(place.folder / "challenger", 1.5)))

    assert found.gap == "the champion, version 1, is loaded by mlflow.sklearn: models of others are not measured beside ours"


def test_a_column_without_slices_is_said(place: Place) -> None:
    """Not in the training set, or with too many values."""
    place.crown()
    gates = {**SETTINGS.gates, "more": SETTINGS.gates["origins"].model_copy(update={"columns": ("origin", "id", "nothing")})}
    found = place.compared(place.trained("challenger", "to70", save(place.folder / "challenger", 1.5)), gates=gates)

    assert found.unmeasured == {"id": "more than 200 values", "nothing": "no such column in the training set"}
    assert {cut.partition("=")[0] for cut in found.slices} == {"origin"}
