"""`init`: a first project that finds its table, beside whatever is configured already."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner, Result

from feature_store.names import Warehouse
from sparkml_ops.cli.app import app
from sparkml_ops.cli.scaffold import _own_warehouse
from sparkml_ops.config.load import load
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.work import Work


class Lake:
    """A user's folder with one table, and perhaps a configuration of other projects."""

    def __init__(self, folder: Path) -> None:
        self.conf, self.table = folder / "conf", folder / "lake" / "orders"
        row = {"order_id": 1, "ordered_at": datetime(2020, 1, 1, tzinfo=UTC), "amount": 1.5, "customer": "c1", "label": 0.0}
        self.table.parent.mkdir(parents=True)
        deltalake.write_deltalake(self.table, pa.Table.from_pylist([row]))

    def share(self, name: str, text: str) -> None:
        path = self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def init(self, project: str = "shop") -> Result:
        return CliRunner().invoke(app, ["init", "--project", project, "--from-table", str(self.table), "--conf", str(self.conf)])

    def work(self, env: str = "local") -> Work:
        return Work(load(self.conf, "shop", env=env))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


class TestPlace:
    def test_a_first_project_shares_its_warehouse_with_those_to_come(self, lake: Lake) -> None:
        """What is the same for all stands in base.yaml."""
        assert lake.init().exit_code == 0

        assert lake.work().tables.columns("orders")["amount"] == "double"
        assert not (lake.conf / "projects" / "shop" / "warehouse.yaml").exists()

    @pytest.mark.parametrize(
        ("base", "cluster"),
        [
            ("warehouse: {root: data/warehouse}\n", "{}\n"),
            ("warehouse: {catalog: main.flights}\n", "{}\n"),
            ("spark: {}\n", "{}\n"),
            ("warehouse: {root: lake}\n", "warehouse: {root: 's3://bucket/warehouse'}\n"),
        ],
    )
    def test_beside_other_projects_it_finds_its_table_under_every_environment(self, lake: Lake, base: str, cluster: str) -> None:
        """Their files stay as they are; a verb's plan is about the table that was named."""
        lake.share("base.yaml", base)
        lake.share("env/cluster.yaml", cluster)

        done = lake.init()

        assert done.exit_code == 0, done.output
        assert (lake.conf / "base.yaml").read_text() == base
        for env in ("local", "cluster"):
            assert Path(lake.work(env).tables.location("orders")) == lake.table
        assert training_set.plan(lake.work(), until="2020-01-02").reads[0].endswith("orders")

    def test_a_table_of_a_catalog_beside_a_shared_folder(self, lake: Lake) -> None:
        """The folder is cleared: a warehouse is one of the two."""
        lake.share("base.yaml", "warehouse: {root: data/warehouse}\n")
        lake.share("env/local.yaml", "{}\n")

        (own,) = _own_warehouse(lake.conf, Warehouse(catalog="main.sales")).items()
        lake.share(f"projects/shop/{own[0]}", yaml.safe_dump(own[1]))

        assert lake.work().sections.warehouse.warehouse() == Warehouse(catalog="main.sales")

    def test_a_warehouse_that_is_the_tables_own_is_not_repeated(self, lake: Lake) -> None:
        """It would go stale when the shared one moves."""
        lake.share("base.yaml", "warehouse: {root: lake}\n")

        assert lake.init().exit_code == 0

        assert Path(lake.work().tables.location("orders")) == lake.table
        assert not (lake.conf / "projects" / "shop" / "warehouse.yaml").exists()


class TestName:
    @pytest.mark.parametrize(
        ("name", "mend"),
        [
            ("my-shop", "call it `my_shop`"),
            ("Shop", "call it `shop`"),
            ("a b", "call it `a_b`"),
            ("../evil", "call it `evil`"),
            ("", "choose another name"),
            ("7", "choose another name"),
            ("s" * 81, "choose another name"),
        ],
    )
    def test_a_name_that_tables_cannot_bear_is_refused_before_anything_is_written(self, lake: Lake, name: str, mend: str) -> None:
        """And no name leads out of conf/projects."""
        before = sorted(lake.conf.parent.rglob("*"))

        done = lake.init(name)

        assert done.exit_code == 2
        assert mend in done.stderr
        assert sorted(lake.conf.parent.rglob("*")) == before

    def test_the_longest_name_is_accepted_by_every_section(self, lake: Lake) -> None:
        """Its scores and scoring sets are tables."""
        assert lake.init("s" * 80).exit_code == 0

        written = sorted((lake.conf / "projects" / ("s" * 80)).glob("*.yaml"))
        assert {path.stem for path in written} == {"monitoring", "release", "scoring", "sources", "training"}
        assert yaml.safe_load(written[1].read_text()) == {"release": {"model": "s" * 80}}
        assert load(lake.conf, "s" * 80).sections.scoring.target == f"{'s' * 80}_scores"
