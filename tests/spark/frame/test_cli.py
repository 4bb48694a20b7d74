"""The command line on tables of one's own: init, plan, errors with exit codes, the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops.cli.app import app
from sparkml_ops.tracking import Tracking


class Shop:
    """A user's folder: a warehouse with one table, and no configuration yet."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "conf"

    def call(self, *words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--conf", str(self.conf)])

    def project(self, verb: str, *options: str) -> Result:
        return self.call(verb, "--project", "shop", *options)


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    orders = spark.range(200).selectExpr(
        "id as order_id",
        "timestamp_micros(1577836800000000 + id * 3600000000 * 6) as ordered_at",
        "id * 1.5D as amount",
        "concat('c', id % 3) as customer",
        "cast(id % 2 as double) as label",
    )
    Tables(spark, Warehouse(root=str(folder / "lake"))).overwrite("orders", orders)
    made = Shop(folder)
    done = made.call("init", "--project", "shop", "--from-table", str(folder / "lake" / "orders"))
    assert done.exit_code == 0, done.output
    return made


class TestInit:
    def test_the_project_reads_and_every_plan_accepts_it(self, shop: Shop) -> None:
        """The written folder is a project: its plan shows the user's table and writes nothing."""
        before = sorted(path for path in shop.folder.rglob("*"))
        for verb in (("build-features",), ("training-set", "--until", "2020-02-01")):
            done = shop.project(*verb, "--plan", "--json")
            assert done.exit_code == 0, done.output
            assert json.loads(done.stdout)["done"] is False

        assert "orders" in done.stdout
        assert sorted(path for path in shop.folder.rglob("*")) == before

    def test_an_existing_project_is_not_touched(self, shop: Shop) -> None:
        """The user's files are theirs."""
        done = shop.call("init", "--project", "shop", "--from-table", str(shop.folder / "lake" / "orders"))

        assert done.exit_code == 2
        assert "exists" in done.output

    def test_a_column_that_is_not_there_is_named(self, shop: Shop) -> None:
        """With the nearest one that is."""
        done = shop.call("init", "--project", "other", "--from-table", str(shop.folder / "lake" / "orders"), "--label", "lable")

        assert done.exit_code == 2
        assert "did you mean `label`" in done.output

    def test_a_table_that_is_not_there_is_named(self, shop: Shop) -> None:
        """Nothing is written for it."""
        done = shop.call("init", "--project", "other", "--from-table", str(shop.folder / "lake" / "absent"))

        assert done.exit_code == 2
        assert "`absent`" in done.output
        assert not (shop.conf / "projects" / "other").exists()


class TestVerbs:
    def test_a_training_set_is_made_once_and_entered_in_the_ledger(self, shop: Shop) -> None:
        """The second call returns the first one's record and writes nothing."""
        options = ("training-set", "--until", "2020-02-01", "--as-of", "2020-04-01", "--json")
        first, again = shop.project(*options), shop.project(*options)

        assert first.exit_code == again.exit_code == 0, first.output
        record = json.loads(first.stdout.splitlines()[-1])
        assert json.loads(again.stdout.splitlines()[-1]) == record
        listed = json.loads(shop.call("runs", "list", "--project", "shop", "--json").stdout)
        assert [run["key"] for run in listed] == ["training-set/shop/shop/2020-02-01T00:00:00+00:00/-/0"]
        shown = shop.call("runs", "show", listed[0]["run_id"][:8], "--project", "shop", "--json")
        assert json.loads(shown.stdout)["record"] == record

    def test_another_configuration_under_a_finished_key_is_refused(self, shop: Shop) -> None:
        """It asks for a generation instead of returning an answer to another question."""
        options = ("training-set", "--until", "2020-02-01", "--as-of", "2020-04-01", "--set", "training_set.seed=5")
        shop.project("training-set", "--until", "2020-02-01", "--as-of", "2020-04-01")
        refused = shop.project(*options)

        assert refused.exit_code == 2
        assert "--generation next" in refused.output
        made = shop.project(*options, "--generation", "next", "--json")
        assert made.exit_code == 0, made.output

    def test_a_verb_that_needs_an_earlier_one_says_which(self, shop: Shop) -> None:
        """The mend is the command to run."""
        done = shop.project("register")

        assert done.exit_code == 2
        assert "sparkml-ops train --project shop" in done.output

    def test_an_unknown_slot_names_the_aliases(self, shop: Shop, tracking: Tracking) -> None:
        """A slot is the alias of a model: the message lists those that there are, and nothing is scored."""
        client = MlflowClient(tracking_uri=tracking.uri)
        client.create_registered_model("shop")
        client.create_model_version("shop", str(shop.folder / "none"))
        for alias in ("champion", "canary"):
            client.set_registered_model_alias("shop", alias, "1")

        done = shop.project("score", "--window", "2020-02", "--slot", "shadow", "--set", f"mlflow.tracking_uri={tracking.uri}")

        assert done.exit_code == 2
        assert "found no alias shadow of `shop`; expected aliases canary, champion; versions 1;" in done.stderr
        assert not (shop.folder / "lake" / "shop_scores").exists()

    def test_a_wrong_window_ends_before_spark(self, shop: Shop) -> None:
        """The three forms of a window are shown."""
        done = shop.project("score", "--window", "July")

        assert done.exit_code == 2
        assert "2013-07-14T05" in done.output

    def test_errors_are_json_for_machines(self, shop: Shop) -> None:
        """One object on standard error, with found, expected, mend and the exit code."""
        done = shop.project("score", "--window", "July", "--json")
        error = json.loads(done.stderr.strip().splitlines()[-1])

        assert (error["error"], error["exit_code"]) == ("ContractError", 2)
        assert error["mend"]

    def test_a_warehouse_that_is_a_file_is_refused(self, shop: Shop) -> None:
        """Before Spark starts."""
        (shop.folder / "file").write_text("")
        done = shop.project("build-features", "--set", f"warehouse.root={shop.folder}/file/warehouse")

        assert done.exit_code == 2
        assert "warehouse.root" in done.output


class TestConfig:
    def test_show_tells_where_each_key_comes_from(self, shop: Shop) -> None:
        """Files, overrides and defaults."""
        done = shop.call("config", "show", "--project", "shop", "--json", "--set", "training.epochs=2")
        rows = {row["key"]: row for row in json.loads(done.stdout)}

        assert rows["training.epochs"] == {"key": "training.epochs", "value": 2, "origin": "--set training.epochs"}
        assert rows["release.model"]["origin"] == "conf/projects/shop/release.yaml"
        assert rows["drift.exact_budget"]["origin"] == "default"


class TestForget:
    def test_an_entity_goes_and_its_value_is_written_nowhere(self, shop: Shop, spark: SparkSession) -> None:
        """The plan writes nothing; afterwards neither output, ledger, logs nor any file of the warehouse holds the value."""
        tables, key = Tables(spark, Warehouse(root=str(shop.folder / "lake"))), "member=C-0017x"
        tables.overwrite("visits", spark.createDataFrame([("C-0017x", 1), ("B", 2)], "member string, n int").coalesce(1))
        planned = shop.project("forget", "--key", key, "--include-sources", "--plan", "--json")
        there = tables.read("visits").count()
        done = shop.project("forget", "--key", key, "--include-sources")
        unread, unknown = shop.project("forget", "--key", "member:C-0017x"), shop.project("forget", "--key", "membr=C-0017x")

        assert [(item.exit_code, "C-0017x" in item.output) for item in (planned, done, unread, unknown)] == [(0, False)] * 2 + [(2, False)] * 2
        assert (json.loads(planned.stdout)["dry_run"], there) == (True, 2)
        assert "0 findings" in done.stdout
        assert "did you mean `member`" in unknown.output
        assert [row["member"] for row in tables.read("visits").select("member").take(2)] == ["B"]
        assert not [path for path in shop.folder.rglob("*") if path.is_file() and b"C-0017x" in path.read_bytes()]
