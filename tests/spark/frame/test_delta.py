"""Delta commits: found again, exactly once, by path and by catalog."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from warehouses import WAYS, opened

from feature_store.delta import Commit, Tables, Transaction
from feature_store.errors import ContractError, TableNotFound
from feature_store.scan import plan_scan


@pytest.fixture(params=WAYS)
def tables(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Iterator[Tables]:
    """Tables in a folder, and in a catalog's schema."""
    with opened(request.param, spark, tmp_path) as warehouse:
        yield warehouse


@pytest.fixture
def rows(spark: SparkSession) -> DataFrame:
    return spark.range(0, 10, 1, 1).selectExpr("nullif(id, -1) as id", "cast(id % 2 as string) as part")


class TestWrite:
    def test_a_write_returns_the_version_it_made_and_its_details(self, tables: Tables, rows: DataFrame) -> None:
        """The snapshot is the commit's own, also when others follow."""
        first = tables.overwrite("t", rows, details={"a": 1})
        second = tables.append("t", rows)

        assert (first.snapshot.version, second.snapshot.version) == (0, 1)
        assert first.details == {"a": 1}
        assert tables.read("t", 0).count() == 10
        assert tables.read("t").count() == 20

    def test_replace_touches_only_its_partition(self, tables: Tables, rows: DataFrame) -> None:
        """A window is replaced, its neighbour stays."""
        tables.replace("t", rows.where("part = '0'"), {"part": "0"})
        tables.replace("t", rows.where("part = '1'"), {"part": "1"})
        tables.replace("t", rows.where("id = 1"), {"part": "1"})

        assert sorted(row["id"] for row in tables.read("t").collect()) == [0, 1, 2, 4, 6, 8]

    def test_a_transaction_lands_once(self, tables: Tables, rows: DataFrame) -> None:
        """A repeat writes nothing and returns the first commit with its details."""
        once = Transaction("t/1")
        first = tables.append("t", rows, transaction=once, details={"rows": 10})
        again = tables.append("t", rows, transaction=once, details={"rows": 99})

        assert again == Commit(first.snapshot, {"rows": 10}, fresh=False)
        assert tables.newest("t") == first.snapshot

    def test_a_lower_version_of_a_transaction_is_refused_not_skipped(self, tables: Tables, rows: DataFrame) -> None:
        """Delta would drop it silently."""
        tables.append("t", rows, transaction=Transaction("t/1", 5))

        with pytest.raises(ContractError, match="higher generation"):
            tables.append("t", rows, transaction=Transaction("t/1", 4))

    def test_merge_updates_what_differs_and_inserts_what_is_new(self, tables: Tables, rows: DataFrame) -> None:
        """Null keys match null keys."""
        tables.overwrite("t", rows.unionByName(rows.where("id = 0").select(F.lit(None).cast("long").alias("id"), "part")))
        change = rows.sparkSession.createDataFrame([(3, "x"), (77, "x"), (None, "x")], rows.schema)
        tables.merge("t", change, ["id"])

        found = {row["id"]: row["part"] for row in tables.read("t").collect()}
        assert found[3] == found[77] == found[None] == "x"
        assert len(found) == 12

    def test_settings_of_a_merge_do_not_stay_in_the_session(self, tables: Tables, rows: DataFrame, spark: SparkSession) -> None:
        """Left set, they would mark or swallow the next write."""
        tables.overwrite("t", rows)
        tables.merge("t", rows, ["id"])

        assert spark.conf.get("spark.databricks.delta.commitInfo.userMetadata", None) is None

    @pytest.mark.parametrize("begun", [False, True], ids=["nothing there", "a killed writer's folder there"])
    def test_a_first_write_makes_the_table(self, begun: bool, tables: Tables, rows: DataFrame) -> None:
        """With its partitions, its note and its transaction, in one commit; an empty log folder costs one more and stops nobody."""
        if begun and tables.warehouse.root:
            (Path(tables.warehouse.root) / "t" / "_delta_log").mkdir(parents=True)
        first, again = (
            tables.replace("t", rows.where("part = '1'"), {"part": "1"}, transaction=Transaction("t/1", 3), details={"made": 1}) for _ in range(2)
        )

        assert (first.fresh, again.fresh) == (True, False)
        assert (first.snapshot, first.details) == (again.snapshot, again.details)
        assert first.details == {"made": 1}
        assert first.snapshot.version == int(begun and tables.warehouse.root is not None)
        assert tables.read("t").count() == 5
        scan = plan_scan(tables, first.snapshot)
        assert scan is not None
        assert {file.partition["part"] for file in scan.files} == {"1"}
        assert all(field.nullable for field in tables.read("t").schema.fields)

    def test_two_drivers_on_one_window_make_one_commit(self, tables: Tables, rows: DataFrame) -> None:
        """The loser of the race returns the winner's commit."""
        tables.ensure("t", rows.schema, partition_by=["part"])
        barrier, results = threading.Barrier(2), []

        def write() -> None:
            barrier.wait()
            results.append(tables.replace("t", rows.where("part = '1'"), {"part": "1"}, transaction=Transaction("t/1")))

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(result.fresh for result in results) == [False, True]
        assert results[0].snapshot == results[1].snapshot == tables.newest("t")
        assert tables.read("t").count() == 5

    def test_two_drivers_on_different_windows_both_commit(self, tables: Tables, rows: DataFrame) -> None:
        """Partitioned by window, they do not fight; also when the table is not there yet."""
        barrier, results = threading.Barrier(2), []

        def write(part: str) -> None:
            barrier.wait()
            results.append(tables.replace("t", rows.where(F.col("part") == part), {"part": part}, transaction=Transaction(f"t/{part}")))

        threads = [threading.Thread(target=write, args=(part,)) for part in "01"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [result.fresh for result in results] == [True, True]
        assert tables.read("t").count() == 10


class TestRowsOfTheDriver:
    """`put` replaces as `replace` does; in a folder it does so without Spark, beside which the same rules hold."""

    def test_rows_take_the_place_of_their_parts_alone(self, tables: Tables, rows: DataFrame) -> None:
        """Some values at once; once for a transaction, and the commit carries the details; the first rows come with their table."""
        once = Transaction("put/1")
        made = tables.put("t", rows.schema, [row.asDict() for row in rows.collect()], {"part": ("0", "1")})
        first = tables.put("t", rows.schema, [{"id": 7, "part": "1"}], {"part": "1"}, transaction=once, details={"made": 1})
        again = tables.put("t", rows.schema, [{"id": 8, "part": "1"}], {"part": "1"}, transaction=once)
        after = [(row["id"], row["part"]) for row in tables.rows("t")]
        tables.put("t", rows.schema, [{"id": 9, "part": "1"}, {"id": 10, "part": "2"}], {"part": ["0", "1", "2"]})

        assert made.snapshot.version == 0
        assert sorted(after) == [(0, "0"), (2, "0"), (4, "0"), (6, "0"), (7, "1"), (8, "0")]
        assert (again, first.fresh) == (Commit(first.snapshot, {"made": 1}, fresh=False), True)
        tables.put("t", rows.schema, [{"id": 11, "part": "2"}], {}, transaction=Transaction("put/2"))
        assert sorted((row["id"], row["part"]) for row in tables.read("t").collect()) == [(9, "1"), (10, "2"), (11, "2")]

    def test_drivers_that_race_make_one_commit_each_for_different_parts_and_one_for_the_same(
        self, spark: SparkSession, rows: DataFrame, tmp_path: Path
    ) -> None:
        """Ten at once: eight parts of their own, and two at one transaction."""
        with opened("path", spark, tmp_path) as tables:
            tables.ensure("t", rows.schema, partition_by=["part"])
            barrier, results = threading.Barrier(10), []

            def write(part: str) -> None:
                barrier.wait()
                results.append(tables.put("t", rows.schema, [{"id": 1, "part": part}], {"part": part}, transaction=Transaction(f"t/{part}")))

            threads = [threading.Thread(target=write, args=(part,)) for part in "0123456788"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert sorted(result.fresh for result in results) == [False, *[True] * 9]
            assert sorted(row["part"] for row in tables.rows("t")) == list("012345678")

    def test_another_transaction_at_the_same_part_comes_after_the_first(self, spark: SparkSession, rows: DataFrame, tmp_path: Path) -> None:
        """A conflict is no error of the verb: it looks at the table again, and replaces what the first has put there."""
        with opened("path", spark, tmp_path) as tables:
            tables.ensure("t", rows.schema, partition_by=["part"])
            barrier, results = threading.Barrier(3), []

            def write(number: int) -> None:
                barrier.wait()
                results.append(tables.put("t", rows.schema, [{"id": number, "part": "1"}], {"part": "1"}, transaction=Transaction(f"t/{number}")))

            threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert [result.fresh for result in results] == [True] * 3
            assert len(tables.rows("t")) == 1


class TestRead:
    def test_a_missing_table_or_version_is_named(self, tables: Tables, rows: DataFrame) -> None:
        """What exists stands in the message."""
        with pytest.raises(TableNotFound, match="`absent`"):
            tables.read("absent")
        tables.overwrite("t", rows)
        with pytest.raises(TableNotFound, match="expected 0 to 0"):
            tables.read("t", 7)

    @pytest.mark.parametrize("make", ["ensure", "add", "append", "replace", "put"])
    def test_a_newer_format_is_refused(self, make: str, tables: Tables, rows: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever made the table of our own, an older reader does not guess."""
        monkeypatch.setattr("feature_store.delta.log.FORMAT_VERSION", 2)
        {
            "ensure": lambda: tables.ensure("t", rows.schema),
            "add": lambda: tables.add("t", rows.schema, [{"id": 1, "part": "1"}]),
            "append": lambda: tables.append("t", rows),
            "replace": lambda: tables.replace("t", rows.where("part = '1'"), {"part": "1"}),
            "put": lambda: tables.put("t", rows.schema, [{"id": 1, "part": "1"}], {"part": "1"}),
        }[make]()
        monkeypatch.setattr("feature_store.delta.log.FORMAT_VERSION", 1)

        with pytest.raises(ContractError, match="format 2"):
            tables.rows("t")

    @pytest.mark.parametrize("name", ["a b", "a;drop table x", "../x", "`a`", "A", "", "a.b", "x@v0"])
    def test_a_hostile_name_never_reaches_sql(self, tables: Tables, name: str) -> None:
        """Names are parsed into identifiers."""
        with pytest.raises(ContractError, match="table name"):
            tables.read(name)

    def test_a_hostile_partition_value_never_reaches_sql(self, tables: Tables, rows: DataFrame) -> None:
        """Values of a predicate are labels."""
        with pytest.raises(ContractError, match="partition value"):
            tables.replace("t", rows, {"part": "x' OR '1'='1"})
        with pytest.raises(ContractError, match="partition value"):
            tables.put("t", rows.schema, [], {"part": "x' OR '1'='1"})


class TestScan:
    def test_the_files_are_the_snapshot(self, tables: Tables, rows: DataFrame) -> None:
        """Rows, partition values and row groups of exactly one version."""
        snapshot = tables.replace("t", rows.where("part = '1'").coalesce(1), {"part": "1"}).snapshot
        tables.replace("t", rows.where("part = '0'"), {"part": "0"})
        scan = plan_scan(tables, snapshot, row_groups=True)

        assert scan is not None
        assert scan.rows == 5
        assert [(file.partition, file.row_groups) for file in scan.files] == [({"part": "1"}, (5,))]
        assert all(Path(file.path).is_file() for file in scan.files)

    def test_a_filter_is_on_partitions_only(self, tables: Tables, rows: DataFrame) -> None:
        """A filter on rows would be a wrong answer."""
        snapshot = tables.overwrite("t", rows).snapshot

        with pytest.raises(ContractError, match="partition columns"):
            plan_scan(tables, snapshot, where={"id": "1"})

    def test_deletion_vectors_are_never_ignored(self, tables: Tables, rows: DataFrame, spark: SparkSession) -> None:
        """Python cannot read them as they are: the caller falls back to Spark."""
        tables.overwrite("t", rows)
        spark.sql(f"ALTER TABLE {tables.warehouse.qualified('t')} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")

        assert plan_scan(tables, tables.newest("t")) is None
