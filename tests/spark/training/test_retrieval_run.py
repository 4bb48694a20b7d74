"""A retrieval from its table to recommendations: trained, measured, applied by Spark, and with an index of newer items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from retrieval_rows import pairs
from scipy.special import logsumexp
from sklearn.metrics import ndcg_score, top_k_accuracy_score
from test_training_run import Mortal

from feature_store.delta import Tables
from feature_store.names import Warehouse
from feature_store.records import TrainingSet
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.config.tuning import TuningSection
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.retriever import Retriever
from sparkml_ops.records import ModelVersion
from sparkml_ops.scoring import ScoringModel, build_index, recommend
from sparkml_ops.scoring.engines import struct_udf
from sparkml_ops.scoring.published import PublishedModel, publish
from sparkml_ops.scoring.signature import Signature
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER
from sparkml_ops.tracking.inspection import file_hashes
from sparkml_ops.training.run import Trained, train
from sparkml_ops.training.tuning.tune import tune

SETTINGS: dict[str, Any] = {
    "backend": "local",
    "task": "retrieval",
    "label": "product",
    "epochs": 6,
    "batch_size": 100,
    "shards": 4,
    "minimum_count": 1,
    "slices": ("customer", "row_position"),
    "model": {"kind": "two_tower", "item": ("kind", "price", "product"), "dimension": 6, "hidden": (8,), "dropout": 0.0, "top": 4},
    "optimizer": {"lr": 0.03},
}
SCHEMA = "customer string, hour double, product string, kind string, price double, split string, row_position bigint"
ROWS = pairs(1600).to_pandas()


class Notes:
    """A run log that keeps documents."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}

    def log_params(self, params: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: int = 0) -> None:
        pass

    def log_document(self, name: str, document: Any) -> None:
        self.documents[name] = document

    def log_figure(self, name: str, path: Path | str) -> None:
        pass


class Trials(Notes):
    """A study's log, whose trials keep theirs."""

    def trial(self, number: int) -> Any:
        return Trials()

    def finish(self, status: str) -> None:
        pass


@dataclass(frozen=True)
class Shop:
    """A training set, what was trained on it and noted, and the model as scoring has it."""

    tables: Tables
    storage: Storage
    training_set: TrainingSet
    trained: Trained
    notes: Notes
    retriever: Retriever
    model: ScoringModel


def frame(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    plain = rows.astype(object).where(rows.notna(), None)
    return spark.createDataFrame(list(plain.itertuples(index=False, name=None)), SCHEMA)


def run(spark: SparkSession, tables: Tables, storage: Storage, rows: TrainingSet, name: str, **changes: Any) -> tuple[Trained, Notes]:
    notes = Notes()
    return train(spark, tables, storage, rows, TrainingSection(**{**SETTINGS, **changes}), notes, run=name), notes


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    tables, storage = Tables(spark, Warehouse(root=str(folder / "warehouse"))), Storage(str(folder / "storage"))
    snapshot = tables.overwrite("training_set_shop", frame(spark, ROWS).coalesce(1).sortWithinPartitions("row_position")).snapshot
    training_set = TrainingSet("shop_1", snapshot, {}, "0" * 16, len(ROWS))
    trained, notes = run(spark, tables, storage, training_set, "shop")
    place = Path(storage.path(trained.artifact))
    retriever, signature = artifact.load(place), Signature.of_artifact(place)
    assert isinstance(retriever, Retriever)
    files = tuple(sorted(file_hashes(place).items()))
    published = PublishedModel(storage, trained.digest, OWN_LOADER, files, signature.inputs, signature.outputs)
    publish(published, place)
    model = ScoringModel(ModelVersion("shop", 1, trained.digest, training_set), published)
    return Shop(tables, storage, training_set, trained, notes, retriever, model)


def scores_of(retriever: Retriever, queries: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """[queries, items] by plain products, and the items."""
    last = ROWS.sort_values("row_position").drop_duplicates("product", keep="last").sort_values("product")
    return retriever.vectors("query", queries) @ retriever.vectors("item", last).T, last["product"].to_numpy()


def test_figures_are_those_of_scikit_learn_on_all_items(shop: Shop) -> None:
    """Of the rows held out, every item of the catalogue ranked; better than the most frequent items for everybody."""
    held, found = ROWS[ROWS["split"] == "evaluation"], shop.trained.metrics
    scores, items = scores_of(shop.retriever, held)
    true = np.searchsorted(items, held["product"])
    counts = ROWS[ROWS["split"] == "train"]["product"].value_counts().reindex(items, fill_value=0).to_numpy()
    popular = np.tile(counts - np.arange(len(items)) / 1000, (len(held), 1))

    assert found["evaluation_rows"] == len(held)
    for k in (1, 5, 10):
        assert found[f"evaluation_recall_at_{k}"] == pytest.approx(top_k_accuracy_score(true, scores, k=k, labels=range(len(items))))
        assert found[f"evaluation_ndcg_at_{k}"] == pytest.approx(ndcg_score(np.eye(len(items))[true], scores, k=k))
        assert found[f"baseline_popular_recall_at_{k}"] == pytest.approx(top_k_accuracy_score(true, popular, k=k, labels=range(len(items))))
    logits = scores.astype(float) / 0.1
    assert found["evaluation_log_loss"] == pytest.approx((logsumexp(logits, axis=1) - logits[np.arange(len(true)), true]).mean(), rel=1e-5)
    assert found["ndcg_at_10_gain_popular"] == pytest.approx(found["evaluation_ndcg_at_10"] - found["baseline_popular_ndcg_at_10"])
    assert found["recall_at_5_gain_popular"] > 0.1
    assert shop.trained.history[-1].validation_recall_at_10 is not None


def test_slices_are_measured_apart(shop: Shop) -> None:
    """Each customer's rows as if they were all; a column with a value for each row is left out."""
    found = {cut["slice"]: cut for cut in shop.notes.documents["slices"]}
    held = ROWS[(ROWS["split"] == "evaluation") & (ROWS["customer"] == "bob")]
    scores, items = scores_of(shop.retriever, held)

    assert sorted(found) == ["customer=ann", "customer=bob", "customer=cid"]
    assert found["customer=bob"]["rows"] == len(held)
    true = np.searchsorted(items, held["product"])
    assert found["customer=bob"]["recall_at_5"] == pytest.approx(top_k_accuracy_score(true, scores, k=5, labels=range(len(items))))


def test_a_query_gets_its_items_and_scores(spark: SparkSession, shop: Shop) -> None:
    """From the query's columns alone, by brute force; a row with an infinite number has a reason instead."""
    queries = ROWS.head(40)[["row_position", "customer", "hour"]].copy()
    scores, items = scores_of(shop.retriever, queries)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    queries.loc[3, "hour"] = np.inf
    predict = struct_udf(shop.model.published, shop.model.published.inputs, cast=False)
    sent = spark.createDataFrame(
        [tuple(row) for row in queries.astype(object).where(queries.notna(), None).to_numpy()], "id int, customer string, hour double"
    )
    rows = sent.select("id", predict(F.struct("hour", "customer")).alias("found")).orderBy("id").select("found.*").collect()

    assert [field.name for field in shop.model.published.inputs] == ["hour", "customer"]
    assert [row["items"] for index, row in enumerate(rows) if index != 3] == items[np.delete(order, 3, 0)].tolist()
    np.testing.assert_allclose(rows[0]["scores"], scores[0, order[0]], rtol=1e-5)
    assert (rows[3]["items"], rows[3]["reason"]) == (None, "infinite feature: hour")


def test_newer_items_are_recommended_from_an_index(spark: SparkSession, shop: Shop) -> None:
    """Of items that no training saw, with their features alone: the best by brute force, for queries in any number of tasks."""
    rng = np.random.default_rng(5)
    new = pd.DataFrame({"sku": [f"n{index:03d}" for index in range(200)], "kind": rng.choice(["book", "game"], 200), "price": rng.normal(20, 9, 200)})
    offered = spark.createDataFrame([(*row, None) for row in new.itertuples(index=False)], "sku string, kind string, price double, product string")
    index = build_index(shop.tables, shop.model, offered.repartition(2), item="sku", name="new_items")
    queries = frame(spark, ROWS.head(50))
    found = recommend(shop.tables, shop.model, queries.repartition(3), index, keep=("row_position",), most=7).orderBy("row_position").collect()
    scores = shop.retriever.vectors("query", ROWS.head(50)) @ shop.retriever.vectors("item", new.assign(product=None)).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]

    assert [row["row_position"] for row in found] == list(range(50))
    assert [row["items"] for row in found] == new["sku"].to_numpy()[order].tolist()
    np.testing.assert_allclose([row["scores"] for row in found], np.take_along_axis(scores, order, 1), rtol=1e-5)
    twice = offered.limit(2).unionByName(offered.limit(2)).unionByName(offered.limit(1).withColumn("sku", F.lit(None).cast("string")))
    with pytest.raises(ContractError, match="1 null and 2 repeated items in `sku`; expected each item once"):
        build_index(shop.tables, shop.model, twice, item="sku", name="new_items")
    with pytest.raises(ContractError, match=r"\['age'\] among the columns to keep; expected some of \['customer'"):
        recommend(shop.tables, shop.model, queries, index, keep=("age",))
    with pytest.raises(ContractError, match=r"in the frame of queries: no column `hour`"):
        recommend(shop.tables, shop.model, queries.drop("hour"), index, keep=("row_position",))
    other = ScoringModel(shop.model.record, PublishedModel(shop.storage, "f" * 64, OWN_LOADER, shop.model.published.files, (), ()))
    publish(other.published, Path(shop.storage.path(shop.trained.artifact)))
    with pytest.raises(ContractError, match="vectors of two models do not compare"):
        recommend(shop.tables, other, queries, index, keep=())


def test_a_killed_retrieval_ends_as_the_unbroken_one(spark: SparkSession, shop: Shop) -> None:
    """After its items are written, between two epochs, and between the files of the artifact."""
    for kind, count in (("catalogue", 1), ("checkpoint_manifest", 3), ("artifact_file", 2)):
        with pytest.raises(Exception, match=kind):
            run(spark, shop.tables, Mortal(shop.storage.root, kind, count), shop.training_set, "broken_run")
    finished, _ = run(spark, shop.tables, shop.storage, shop.training_set, "broken_run")

    assert (finished.digest, finished.metrics) == (shop.trained.digest, shop.trained.metrics)


def test_a_search_is_judged_by_recall(spark: SparkSession, shop: Shop) -> None:
    """Vectors of two lengths and sizes; the one that never learns loses, and the items are written once for both."""
    space = {"training.optimizer.lr": {"choices": [1e-9, 0.03]}, "training.model.dimension": {"choices": [4]}}
    options: dict[str, Any] = {"metric": "validation_recall_at_10", "direction": "maximize", "sampler": "grid", "trials": 2}
    training = TrainingSection(**{**SETTINGS, "epochs": 3})
    found = tune(spark, shop.tables, shop.storage, shop.training_set, training, TuningSection(space=space, **options), Trials())

    assert found.best.params["training.optimizer.lr"] == 0.03
    assert [trial.value in trial.epochs for trial in found.trials] == [True, True]
    assert max(trial.value or 0.0 for trial in found.trials) == found.best.value
    assert sum(name.endswith("catalogue.json") for name in shop.storage.list(found.folder)) == 1


def test_what_cannot_be_recommended_ends_before_training(spark: SparkSession, shop: Shop) -> None:
    """A null item, a missing column, a training that would go on from a model."""
    broken = frame(spark, ROWS.head(300).assign(product=lambda rows: rows["product"].where(rows.index != 7)))
    snapshot = shop.tables.overwrite("training_set_broken", broken.coalesce(1).sortWithinPartitions("row_position")).snapshot
    with pytest.raises(ContractError, match="1 labels that the task retrieval cannot have in `product`"):
        run(spark, shop.tables, shop.storage, TrainingSet("b", snapshot, {}, "1" * 16, 300), "broken")
    with pytest.raises(ContractError, match=r"a training set without \['sku'\]"):
        run(spark, shop.tables, shop.storage, shop.training_set, "unknown", label="sku")
    with pytest.raises(ContractError, match=r"training.model.item or .query with \['weight'\]"):
        run(spark, shop.tables, shop.storage, shop.training_set, "strange", model={**SETTINGS["model"], "item": ("weight",)})
