"""A first model and a warm challenger, verb by verb: ranges, ledger keys, lineage, gates."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from challenge_rows import SPEC, day, frame
from fairlearn.metrics import demographic_parity_difference
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from typer.testing import CliRunner

from feature_store.delta import Tables
from sparkml_ops.cli.app import app
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError, GateRefused
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.project import Project
from sparkml_ops.records import GateResult, ModelVersion, TrainingResult, TrainingSet
from sparkml_ops.release import history, newest_report
from sparkml_ops.release.importance import importance_of
from sparkml_ops.storage import Storage
from sparkml_ops.verbs import train
from sparkml_ops.verbs.card import card_of
from sparkml_ops.verbs.work import Work

AS_OF = day(200)
FILES: dict[str, dict[str, Any]] = {
    "training.yaml": {
        "training_set": {
            "spine": "examples",
            "time": "at",
            "row_key": ["id"],
            "label": "label",
            "columns": ["x", "origin"],
            "split": {"validation": 0.1, "evaluation": "20d"},
        },
        "training": {
            "label": "label",
            "exclude": ["id"],
            "backend": "local",
            "workers": 1,
            "epochs": 2,
            "batch_size": 128,
            "shards": 4,
            "minimum_count": 1,
            "replicates": 200,
            "slices": ["origin"],
            "model": {"kind": "linear"},
            "optimizer": {"lr": 0.05},
        },
    },
    "release.yaml": {
        "release": {
            "model": "shop",
            "minimum_rows": 100,
            "replicates": 200,
            "gates": {
                "champion": {"kind": "against_champion", "auc_margin": 0.05, "log_loss_margin": 0.1, "minimum_rows": 100},
                "origins": {"kind": "slices", "columns": ["origin"], "minimum_rows": 60, "minimum_positives": 10, "auc_margin": 0.1},
            },
        }
    },
}

EVIDENCE: dict[str, Any] = {
    "contract": {"kind": "data_contract", "unknown_at_most": 0.1},
    "lineage": {"kind": "lineage"},
    "again": {"kind": "reproducibility"},
    "calibration": {"kind": "calibration", "error_at_most": 0.5, "brier_at_most": 0.3},
    "fairness": {"kind": "fairness", "column": "origin", "minimum_rows": 60, "minimum_of_label": 10, "equalised_odds_at_most": 0.9},
    "unsure": {"kind": "fairness", "column": "nothing", "equalised_odds_at_most": 0.9},
    "stability": {"kind": "numeric_stability"},
    "parity": {"kind": "parity", "rows": 64, "tolerance": 0.0},
    "speed": {"kind": "throughput", "rows_per_second_at_least": 0.1, "peak_memory_at_most": 100_000},
    "size": {"kind": "artifact_size", "at_most": 1},
    "security": {"kind": "security"},
    "card": {"kind": "card"},
    "approval": {"kind": "approval"},
}
CARD = {"intended_use": "Where to send whom.", "limits": "Airports other than three.", "owner": "The shop."}


@dataclass
class Shop:
    """A project without lookups, and what its verbs made."""

    conf: Path
    spark: SparkSession
    first: ModelVersion
    rows: TrainingSet
    warm: TrainingResult
    second: ModelVersion

    def project(self, *overrides: str) -> Project:
        return Project.open(self.conf, "shop", spark=self.spark, overrides=overrides)

    @property
    def work(self) -> Work:
        return Work(load(self.conf, "shop"), self.spark)

    def gates(self, version: ModelVersion) -> dict[str, GateResult]:
        bound = {"digest": version.digest, "evaluation_hash": version.training_set.content_hash, "config_hash": self.work.config.hash("release")}
        stored = newest_report(self.work.tables, model=version.name, **bound)
        assert stored is not None
        return {result.gate: result for result in stored.report.results}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "data").mkdir()
    shutil.copyfile(mlflow_template, folder / "data" / "mlflow.db")
    conf = folder / "conf"
    base = {"warehouse": {"root": "data/warehouse"}}
    for path, values in {"base.yaml": base, "env/local.yaml": {}, **{f"projects/shop/{name}": values for name, values in FILES.items()}}.items():
        (conf / path).parent.mkdir(parents=True, exist_ok=True)
        (conf / path).write_text(yaml.safe_dump(values))
    project = Project.open(conf, "shop", spark=spark)
    Tables(spark, project.config.sections.warehouse.warehouse()).overwrite("examples", frame(spark).coalesce(1))
    first = project.register(project.train(project.training_set(until=day(50), as_of=AS_OF), as_of=AS_OF), as_of=AS_OF)
    project.promote(first, as_of=AS_OF)
    rows = project.training_set(until=day(70), since=day(50), as_of=AS_OF)
    warm = project.train(rows, warm_start=first, as_of=AS_OF)
    return Shop(conf, spark, first, rows, warm, project.register(warm, as_of=AS_OF))


def test_the_first_model_is_told_to_be_the_first(shop: Shop) -> None:
    """By both gates that would compare it."""
    found = shop.gates(shop.first)

    assert [found[gate].message for gate in ("champion", "origins")] == [
        "first model: no champion to compare with",
        "first model: no champion to compare with in any slice",
    ]


def test_a_warm_challenger_is_judged_beside_the_model_that_it_came_from(shop: Shop) -> None:
    """On the 480 rows of the days 70 to 90, which neither has seen; it may be promoted."""
    found = shop.gates(shop.second)

    assert found["champion"].message.startswith("beside version 1 on 480 rows")
    assert found["champion"].champion == f"1 {shop.first.digest}"
    assert (found["champion"].verdict, found["origins"].verdict) == ("pass", "pass")
    assert shop.project().promote(shop.second, as_of=AS_OF) == shop.second


def test_every_gate_with_evidence_of_its_own_is_measured(shop: Shop) -> None:
    """Each kind once, on the rows and the package of the warm challenger, through the verb."""
    project = shop.project(f"release.gates={json.dumps(EVIDENCE)}", f"release.card={json.dumps(CARD)}")
    project.reproduce(shop.warm)
    version = project.register(shop.warm, as_of=AS_OF, generation="next", actor="ada")
    config_hash = project.config.hash("release")
    bound = {"digest": version.digest, "evaluation_hash": version.training_set.content_hash, "config_hash": config_hash}
    stored = newest_report(shop.work.tables, model=version.name, **bound)
    assert stored is not None
    found = {result.gate: result for result in stored.report.results}
    rows = shop.work.store.load(version.training_set).where("split = 'evaluation' and label is not null").toPandas()
    predicted = artifact.load(Path(project.config.sections.storage.root) / shop.warm.checkpoint).predict(rows)

    assert {name: result.message for name, result in found.items() if result.verdict != "pass" and name != "unsure"} == {}
    assert "approval" not in found
    assert (found["unsure"].verdict, found["unsure"].message) == ("no evidence", "no column `nothing` in the training set")
    assert found["calibration"].found["brier"] == pytest.approx(brier_score_loss(rows.label, predicted), abs=1e-12)
    judged = rows.origin.isin([cut for cut in rows.origin.unique() if cut != "XXX"])
    assert found["fairness"].found["demographic_parity"] == pytest.approx(
        demographic_parity_difference(rows.label[judged], predicted[judged] >= 0.5, sensitive_features=rows.origin[judged]), abs=1e-12
    )
    assert found["contract"].found["rows"] == found["stability"].found["rows"] == len(rows)
    assert 0 < found["stability"].found["largest_change"] < 1e-3
    assert found["parity"].found == {"rows": 64.0, "clean_process_difference": 0.0, "executors_difference": 0.0}
    assert found["speed"].found["peak_memory"] > 50
    assert found["size"].found["mebibytes"] < 1
    with pytest.raises(GateRefused, match="gate unsure: no evidence"):
        project.promote(version, as_of=AS_OF)


def test_the_card_of_a_version_explains_it_without_personal_columns(shop: Shop, tmp_path: Path) -> None:
    """From the registry, the newest report and 200 evaluation rows, as the command writes it."""
    page = tmp_path / "cards" / "shop.html"
    options = ["--project", "shop", "--conf", str(shop.conf), "--set", "release.card={sensitive: [origin], owner: Ada}"]
    done = CliRunner().invoke(
        app, ["models", "card", str(shop.second.version), "--html", str(page), "--markdown", str(tmp_path / "card.md"), *options]
    )
    text = (tmp_path / "card.md").read_text()

    assert done.exit_code == 0, done.output
    assert "On 200 evaluation rows. Personal data, never read here: origin." in text
    assert "| x | double |  | mean " in text
    assert "JFK" not in text
    assert "mean rise of the log loss, nats a row" in text
    assert f"{shop.rows.id}: 960 rows" in text
    assert "No gate report under this configuration." in text
    assert "The highest prediction" in page.read_text()
    kept = importance_of(shop.work.storage, shop.second.name, shop.second.version, shop.second.digest)
    assert kept is not None
    assert (kept.withheld, kept.measured) == (("origin",), "mean rise of the log loss, nats a row")
    assert "origin" not in kept.inputs
    assert kept.inputs["x"] > 0
    plain = card_of(shop.work, shop.second.version)
    assert (plain.report is not None, plain.explanation, plain.sensitive) == (True, None, ())
    assert "origin=JFK" in plain.markdown()


def test_training_rows_begin_at_since(shop: Shop) -> None:
    """Earlier rows are in no part; the range is in the key of the run."""
    table = shop.work.store.load(shop.rows)
    found = {
        row["split"]: (row["first"], row["rows"])
        for row in table.groupBy("split").agg(F.min("at").alias("first"), F.count("*").alias("rows")).collect()
    }
    (run,) = [run for run in shop.project().runs() if run.record.get("id") == shop.rows.id]

    assert found["train"][1] + found["validation"][1] == 480
    assert found["evaluation"][1] == 480
    assert min(found["train"][0], found["validation"][0]) == day(50).replace(tzinfo=None)
    assert run.key.window == f"{day(50).isoformat()}..{day(70).isoformat()}"
    with pytest.raises(ContractError, match="expected since before until"):
        shop.project().training_set(until=day(70), since=day(70), as_of=AS_OF)


def test_a_warm_training_keeps_the_preprocessing_and_has_a_key_of_its_own(shop: Shop) -> None:
    """The same again is done already; a cold training of the same rows is not."""
    storage = Storage(shop.project().config.sections.storage.root)
    (cold,) = [run for run in shop.project().runs() if run.key.verb == "train" and run.key.slot == ""]
    specs = [ModelSpec.from_json(storage.read(f"{folder}/model.json").decode()) for folder in (cold.record["checkpoint"], shop.warm.checkpoint)]

    assert specs[0] == specs[1] != SPEC
    assert shop.warm.warm_start == shop.first
    assert shop.project().train(shop.rows, warm_start=shop.first, as_of=AS_OF) == shop.warm
    plans = [train.plan(shop.work, training_set=shop.rows, warm_start=start) for start in (shop.first, None)]
    assert [(plan.key.split("/")[-2], plan.done) for plan in plans] == [("warm-shop-1", True), ("-", False)]
    assert "model shop version 1" in plans[0].reads


@pytest.mark.parametrize(
    ("override", "named"),
    [("training.model={kind: mlp, hidden: [4]}", "kind mlp with hidden"), ("training.exclude=[id, origin]", "`origin` absent")],
)
def test_a_model_that_does_not_fit_is_refused_before_any_rank(shop: Shop, override: str, named: str) -> None:
    """By the settings, or by the features."""
    with pytest.raises(ContractError, match=named):
        shop.project(override).train(shop.rows, warm_start=shop.first, as_of=AS_OF, generation=1)


def test_a_warm_training_says_what_it_forgot(shop: Shop) -> None:
    """Both models on the earlier set's held-out rows, as scikit-learn measures them; origin by origin, the most forgotten first."""
    (cold,) = [run for run in shop.project().runs() if run.key.verb == "train" and run.key.slot == ""]
    rows = shop.work.store.load(shop.first.training_set).where("split = 'validation' and label is not null").toPandas()
    root = Path(shop.project().config.sections.storage.root)
    new, old = (artifact.load(root / folder).predict(rows) for folder in (shop.warm.checkpoint, cold.record["checkpoint"]))
    found = shop.warm.metrics

    assert found["forgetting_rows"] == len(rows) > 50
    assert found["forgetting_auc_change"] == pytest.approx(roc_auc_score(rows.label, new) - roc_auc_score(rows.label, old), abs=1e-12)
    assert found["forgetting_log_loss_change"] == pytest.approx(log_loss(rows.label, new) - log_loss(rows.label, old), abs=1e-12)
    assert found["forgetting_auc_change_lower"] < found["forgetting_auc_change"] < found["forgetting_auc_change_upper"]
    cuts = _logged(shop, "forgetting")["slices"]
    assert {cut["slice"]: cut["rows"] for cut in cuts} == {f"origin={name}": len(part) for name, part in rows.groupby("origin")}
    assert [cut["log_loss_change"] for cut in cuts] == sorted((cut["log_loss_change"] for cut in cuts), reverse=True)
    assert not [name for name in cold.record["metrics"] if name.startswith("forgetting")]


def _logged(shop: Shop, name: str) -> dict[str, Any]:
    client = MlflowClient(tracking_uri=shop.work.tracking.uri)
    return dict(json.loads(Path(client.download_artifacts(shop.warm.run_id, f"{name}.json")).read_text()))


def test_a_training_is_reproduced_from_its_record(shop: Shop) -> None:
    """Rows, weights and metrics come out again, of a warm training too, whatever the configuration says by now."""
    project = shop.project("training.epochs=7", "training.optimizer.lr=0.5")
    done = project.reproduce(shop.warm)

    assert done.equal
    assert (done.digest_again, done.metrics, done.environment) == (done.digest, {}, {})
    assert done.rows == "rebuilt from their inputs"
    assert project.reproduce(shop.warm.run_id[:12]) == done
    (entered,) = [run for run in project.runs() if run.key.verb == "reproduce"]
    assert (entered.key.target, entered.record["run_id"]) == (shop.warm.run_id, done.run_id)
    kept = _logged(shop, "conditions")
    assert kept["settings"]["epochs"] == 2
    assert kept["environment"]["packages"]["torch"] == metadata.version("torch")
    rank = _logged(shop, "rank_0")
    assert rank["cores"] == os.cpu_count()


def test_what_does_not_come_out_again_is_told(shop: Shop) -> None:
    """Exit code 3, with the metrics and the packages that differ; a run that nobody knows is refused."""
    (cold,) = [run for run in shop.project().runs() if run.key.verb == "train" and run.key.slot == ""]
    spec, stored = f"{cold.record['checkpoint'].removesuffix('/artifact')}/spec.json", shop.work.storage
    document = json.loads(stored.read(spec))
    for settings in (document["conditions"]["settings"], document["conditions"]["declared"]):
        settings["optimizer"]["lr"] = 0.06
    document["conditions"]["environment"]["packages"]["numpy"] = "1.0"
    stored.publish(spec, json.dumps(document).encode(), kind="spec")

    called = CliRunner().invoke(app, ["reproduce", cold.run_id[:10], "--project", "shop", "--conf", str(shop.conf), "--json"])

    assert called.exit_code == 3, called.output
    found = json.loads(called.stdout)
    assert not found["equal"]
    assert found["digest"] != found["digest_again"]
    assert "evaluation_log_loss" in found["metrics"]
    assert found["environment"] == {"packages.numpy": ["1.0", metadata.version("numpy")]}
    with pytest.raises(ContractError, match="0 runs of train whose id begins with 'nobody'"):
        shop.project().reproduce("nobody")


def test_the_guide_on_gates_says_what_happens(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gates judge the warm challenger, its commands end well in their order, its lines of Python predict; without the approval nothing moves."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "release_with_gates.md").read_text()
    written, program = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("yaml", "python"))
    conf = tmp_path / "conf"
    shutil.copytree(shop.conf, conf)
    (conf / "projects" / "shop" / "release.yaml").write_text(written.replace("model: flights", "model: shop"))
    (tmp_path / "data").symlink_to(shop.conf.parent / "data")
    monkeypatch.chdir(tmp_path)
    commands = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace(" 3 ", f" {shop.second.version} ").splitlines()
    if history(shop.work.tables, "shop")[-1].to_version == shop.second.version:  # an earlier test has promoted it
        shop.project().rollback()
    early = None
    for command in commands:
        if "approve" in command:
            early = CliRunner().invoke(app, ["promote", "--conf", str(conf)])
        done = CliRunner().invoke(app, [*shlex.split(command)[1:], "--conf", str(conf)])
        assert done.exit_code == 0, (command, done.output)

    assert early is not None
    assert (early.exit_code, "was approved by nobody else" in early.output) == (3, True)
    names: dict[str, Any] = {}
    exec(compile(program, "guide", "exec"), names)
    assert 0 < names["model"].predict([dict.fromkeys(names["model"].inputs)])["probability"][0] < 1
    assert "Tell travellers" in (tmp_path / "card.html").read_text()
    assert history(shop.work.tables, "shop")[-1].to_version == shop.second.version
