"""A training set is exact, frozen, ordered, and can be proved."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import feature_store as fs
from feature_store import layout
from feature_store.content import measure
from feature_store.examples import Examples
from feature_store.leakage_audit import Audit, Limits
from feature_store.scan import plan_scan

SPINE = "row bigint, origin string, at timestamp, label double, label_known timestamp, carrier string"
DELAYS = "origin string, at timestamp, known timestamp, delay double, flights bigint"
START = datetime(2013, 1, 1, tzinfo=UTC)
TABLE = fs.FeatureTable(
    "delays", ("origin",), "at", (fs.Feature("delay", "double", "min"), fs.Feature("flights", "bigint")), known_time="known", ttl="6h"
)
LOOKUP = fs.Lookup("delays", ("origin",), prefix="o_")
SPLIT = fs.Split({"train": START + timedelta(hours=60), "evaluation": START + timedelta(hours=84)}, ("validation", 0.25), seed=3)
AS_OF = START + timedelta(hours=80)
MATURITY = timedelta(hours=4)


def spine_rows(count: int = 240) -> pd.DataFrame:
    """Examples every half hour; labels pending for some, known late for others."""
    draw = np.random.default_rng(1)
    at = [START + timedelta(minutes=30 * number) for number in range(count)]
    late = draw.integers(0, 12, count)
    return pd.DataFrame(
        {
            "row": range(count),
            "origin": draw.choice(["JFK", "LGA", "EWR", "ZZZ"], count),
            "at": at,
            "label": [None if number % 11 == 0 else float(number % 2) for number in range(count)],
            "label_known": [time + timedelta(hours=int(hours)) for time, hours in zip(at, late, strict=True)],
            "carrier": draw.choice(["AA", "UA"], count),
        }
    )


def delay_rows(count: int = 150) -> pd.DataFrame:
    """Values of three airports at whole hours, corrected later, with nulls; one row for each (origin, at, known)."""
    draw = np.random.default_rng(2)
    rows = pd.DataFrame(
        {
            "origin": draw.choice(["JFK", "LGA", "EWR"], count),
            "at": [START + timedelta(hours=int(hours)) for hours in draw.integers(0, 100, count)],
            "delay": np.where(draw.random(count) < 0.2, np.nan, draw.normal(10, 5, count).round(2)),
            "flights": draw.integers(1, 50, count),
        }
    )
    rows.insert(2, "known", [at + timedelta(hours=int(hours)) for at, hours in zip(rows["at"], draw.integers(0, 9, count), strict=True)])
    return rows.drop_duplicates(["origin", "at", "known"])


def to_spark(spark: SparkSession, rows: pd.DataFrame, schema: str) -> DataFrame:
    """Rows of Python values, with None where pandas has NaN."""
    plain = [tuple(value.to_pydatetime() if isinstance(value, pd.Timestamp) else value for value in row) for row in rows.itertuples(index=False)]
    values = [tuple(None if pd.isna(value) else value for value in row) for row in plain]
    return spark.createDataFrame(values, schema)


def known_value(delays: pd.DataFrame, origin: str, at: pd.Timestamp) -> tuple[Any, Any]:
    """The definition of the join, row by row."""
    rows = delays[(delays.origin == origin) & (delays["at"] <= at) & (delays.known <= at) & (delays["at"] >= at - timedelta(hours=6))]
    if rows.empty:
        return None, None
    last = rows.sort_values(["at", "known"]).iloc[-1]
    return (None if pd.isna(last.delay) else last.delay), last.flights


@dataclass
class Flights:
    """A store with a spine, a feature table, and one training set made from them."""

    store: fs.FeatureStore
    made: fs.TrainingSet

    def training_set(self, spine: str | DataFrame = "examples", lookups: tuple[fs.Lookup, ...] = (LOOKUP,), **changes: Any) -> fs.TrainingSet:
        """Make a training set, by default the same one again."""
        options = {
            "name": "flights",
            "spine_time": "at",
            "label": "label",
            "label_known_time": "label_known",
            "row_key": ("row",),
            "split": SPLIT,
            "as_of": AS_OF,
            "maturity": MATURITY,
            "where": "carrier = 'AA' or row < 200",
            "seed": 5,
        }
        return self.store.training_set(spine, lookups, **{**options, **changes})


def filled(store: fs.FeatureStore, spine: int, delays: int) -> Flights:
    """A store with so many rows of spine and feature table."""
    store.tables.overwrite("examples", to_spark(store.tables.spark, spine_rows(spine), SPINE))
    store.register(TABLE)
    store.write("delays", to_spark(store.tables.spark, delay_rows(delays), DELAYS))
    return Flights(store, fs.TrainingSet("", fs.Snapshot("", 0), {}, "", 0))


@pytest.fixture(scope="module")
def flights(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Flights:
    """A warehouse by path, with a training set."""
    flights = filled(fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("warehouse"))), 240, 150)
    return replace(flights, made=flights.training_set())


def copied(flights: Flights, folder: Path, *names: str) -> fs.FeatureStore:
    """A store with copies of some tables."""
    for name in names:
        shutil.copytree(flights.store.tables.location(name), folder / name)
    return fs.FeatureStore(flights.store.tables.spark, root=str(folder))


def expected_rows() -> pd.DataFrame:
    """The examples that enter, from the rule of §C4."""
    rows = spine_rows()
    rows = rows[(rows.carrier == "AA") | (rows.row < 200)]
    mature = (rows["at"] + MATURITY <= AS_OF) & (rows.label_known <= AS_OF)
    inside = rows["at"] < START + timedelta(hours=84)
    return rows[mature & inside & rows.label.notna()]


class TestContent:
    def test_every_example_that_may_enter_is_there_once(self, flights: Flights) -> None:
        """Pending labels and immature rows stay out; nothing else does."""
        found = flights.store.load(flights.made).select("row").toPandas()["row"]

        assert sorted(found) == expected_rows().row.tolist()
        assert flights.made.rows == len(found)

    def test_features_are_what_was_known_at_each_time(self, flights: Flights) -> None:
        """Every value equals the definition of the join, computed by pandas; the table's ttl holds."""
        delays = delay_rows()
        found = flights.store.load(flights.made).select("origin", F.col("at").cast("string"), "o_delay", "o_flights").collect()

        expected = [known_value(delays, row[0], pd.Timestamp(row[1], tz="UTC")) for row in found]

        assert [(row[2], row[3]) for row in found] == expected
        assert 0.2 < np.mean([flights is None for _, flights in expected]) < 0.8

    def test_the_split_is_by_time_and_by_key(self, flights: Flights) -> None:
        """A share of the first part's keys is held out; the evaluation part is untouched."""
        found = flights.store.load(flights.made).select("row", "split").toPandas().set_index("row")["split"]
        early = expected_rows().set_index("row")["at"] < START + timedelta(hours=60)

        assert set(found[early[early].index]) == {"train", "validation"}
        assert set(found[early[~early].index]) == {"evaluation"}
        assert 0.1 < (found[early[early].index] == "validation").mean() < 0.4

    def test_a_share_of_earlier_keys_is_replayed(self, spark: SparkSession) -> None:
        """Beside all new rows, never a key that an earlier set held out, and with another `since` other ones."""
        ids = spark.range(4000, numPartitions=1).withColumn("at", F.timestamp_seconds(F.lit(1_356_998_400) + F.col("id")))
        instants = [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds) for seconds in (2000, 2500, 3000)]
        splits = [fs.Split({"train": instants[2]}, ("validation", 0.3), 5, since, replay=0.2) for since in instants[:2]]
        whole = fs.Split({"train": instants[2]}, ("validation", 0.3), 5)
        found = ids.select("id", *(split.column(F.col("at"), F.xxhash64("id")) for split in (whole, *splits))).toPandas()
        found.columns = ["id", "whole", "first", "second"]

        for name, since in (("first", 2000), ("second", 2500)):
            new, old = found[found.id >= since], found[found.id < since]
            assert (new[name].fillna("") == new.whole.fillna("")).all()
            replayed = old[old[name].notna()]
            assert set(replayed[name]) == set(replayed.whole) == {"train"}
            assert abs(len(replayed) / since - 0.2) < 0.03
        assert set(found[(found.id < 2000) & found["first"].notna()].id) != set(found[(found.id < 2000) & found.second.notna()].id)
        assert fs.Split.from_document(splits[0].document()) == splits[0]

    def test_positions_are_dense_and_scattered(self, flights: Flights) -> None:
        """0 to n - 1, in another order than the spine's, and written in that order."""
        scan = plan_scan(flights.store.tables, flights.made.snapshot, row_groups=True)
        assert scan is not None
        written = pd.concat([pd.read_parquet(file.path) for file in scan.files])

        assert written.row_position.tolist() == list(range(flights.made.rows))
        assert abs(np.corrcoef(written["row"], written.row_position)[0, 1]) < 0.3
        assert [file.row_groups for file in scan.files] == [(flights.made.rows,)]


class TestIdentity:
    def test_the_same_definition_gives_the_same_set_and_no_write(self, flights: Flights) -> None:
        """Also for a later clock by which nothing more may enter."""
        tables = ("training_sets", flights.made.snapshot.table)
        before = [flights.store.tables.newest(name) for name in tables]

        assert flights.training_set() == flights.made
        assert flights.training_set(as_of=AS_OF + timedelta(minutes=1)) == flights.made
        assert [flights.store.tables.newest(name) for name in tables] == before

    def test_inputs_are_pinned(self, flights: Flights) -> None:
        """Every table that was read is recorded with its version."""
        names = {name: flights.store.tables.newest(name).version for name in ("examples", "delays")}

        assert flights.made.inputs == names
        assert flights.made.id.startswith("flights_")
        assert flights.made.snapshot == fs.Snapshot(f"training_set_{flights.made.id}", 0)

    def test_a_set_whose_record_was_lost_is_recorded_again(self, flights: Flights, tmp_path: Path) -> None:
        """A run killed between its two commits ends, when started again, where the unbroken run ended."""
        store = copied(flights, tmp_path, "examples", "delays", "feature_tables", flights.made.snapshot.table)

        again = replace(flights, store=store).training_set()

        assert again == flights.made
        assert [row["id"] for row in store.tables.rows("training_sets")] == [flights.made.id]

    def test_another_rule_is_another_set(self, flights: Flights) -> None:
        """A filter, or a frame instead of a table, gives another id; a frame is recorded without a version."""
        frame = flights.store.read("examples").where("row < 20")

        other = flights.training_set(frame, where=None, split=None, columns=())
        again = flights.training_set(frame.repartition(3), where=None, split=None, columns=())

        assert other.id != flights.made.id
        assert again == other
        assert other.inputs == {"delays": flights.made.inputs["delays"]}
        rows = flights.store.load(other)
        assert rows.columns == ["row", "at", "label", "label_known", "origin", "o_delay", "o_flights", "split", "row_position"]
        assert [row["split"] for row in rows.select("split").distinct().collect()] == ["train"]


class TestProof:
    def test_a_rebuild_proves_the_content(self, flights: Flights) -> None:
        """From the stored spine and the pinned inputs, even after an input has changed."""
        delays = flights.store.tables
        delays.append("delays", delays.read("delays").withColumn("known", F.col("known") + F.expr("interval 1 minute")))

        assert flights.store.rebuild(flights.made.id) == flights.made

    def test_an_unknown_id_lists_the_known_ones(self, flights: Flights) -> None:
        """As every unknown name does."""
        with pytest.raises(fs.TableNotFound, match=f"no training set `flights_0`.*{flights.made.id}"):
            flights.store.rebuild("flights_0")

    def test_changed_content_is_named(self, flights: Flights, tmp_path: Path) -> None:
        """An input that changed under its version shows in the features that differ."""
        store = copied(flights, tmp_path, "training_sets", "delays", flights.made.snapshot.table)
        shutil.rmtree(tmp_path / "delays")
        moved = to_spark(store.tables.spark, delay_rows().assign(flights=0), DELAYS)
        for _ in range(flights.made.inputs["delays"] + 1):
            store.tables.overwrite("delays", moved)

        with pytest.raises(
            fs.ContractError, match=f"rebuilt `{flights.made.id}` .`o_flights` differs in [0-9]+ rows.; expected {flights.made.content_hash}"
        ):
            store.rebuild(flights.made.id)

    def test_an_input_that_is_gone_is_named(self, flights: Flights, tmp_path: Path) -> None:
        """Retention removes files: the proof says which input it can no longer read."""
        store = copied(flights, tmp_path, "training_sets", "delays", flights.made.snapshot.table)
        for file in (tmp_path / "delays").glob("*.parquet"):
            file.unlink()

        with pytest.raises(fs.TableNotFound, match=f"no longer readable: `delays` at version {flights.made.inputs['delays']}"):
            store.rebuild(flights.made.id)


@pytest.fixture(scope="module")
def local(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Flights:
    """A small warehouse without a training set."""
    return filled(fs.FeatureStore(spark, root=str(tmp_path_factory.mktemp("local"))), 40, 20)


def test_a_catalog_gives_the_same_set(spark: SparkSession, flights: Flights) -> None:
    """Names of a catalog instead of paths: the same rows, which can be loaded and proved."""
    spark.sql("CREATE SCHEMA spark_catalog.training_set_tests")
    other = filled(fs.FeatureStore(spark, catalog="spark_catalog.training_set_tests"), 240, 150)

    made = other.training_set()

    assert (made.content_hash, made.rows) == (flights.made.content_hash, flights.made.rows)
    assert other.store.rebuild(made.id) == made
    assert other.store.load(made).columns == flights.store.load(flights.made).columns


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"as_of": START}, "no example among 40 rows of the spine as of 2013-01-01.*4 with a pending label"),
            ({"label": "labl"}, r"no column `labl` \(did you mean `label`\?\) in the spine `examples`"),
            ({"spine_time": "origin"}, "spine_time `origin` of type string; expected timestamp"),
            ({"label_known_time": "row"}, "label_known_time `row` of type bigint"),
            ({"lookups": (replace(LOOKUP, prefix=""), replace(LOOKUP, prefix=""))}, "output columns of one name: `delay`"),
            ({"lookups": (replace(LOOKUP, features=("dely",)),)}, r"no column `dely` \(did you mean `delay`\?\) in `delays`"),
            ({"lookups": (replace(LOOKUP, keys=("carrier",)),)}, r"keys \['carrier'\] in a lookup of `delays`; expected its keys \['origin'\]"),
            ({"lookups": (replace(LOOKUP, keys={"row": "origin"}),)}, "key `row` of type bigint in the spine and `origin` of type string"),
            ({"lookups": (replace(LOOKUP, table="delay"),)}, r"lookup of `delay`, which is not registered \(did you mean `delays`\?\)"),
            ({"where": "java_method('a', 'b')"}, "the function `java_method`"),
            ({"maturity": timedelta(days=-1)}, "a maturity of -1 day"),
            ({"name": "My set"}, "the table name 'training_set_My set_"),
            ({"row_key": ("maybe",), "spine": "holed"}, r"[0-9]+ examples with a null in \('maybe',\)"),
            ({"spine": "taken"}, "output columns of one name: `split`"),
            ({"spine": "nowhere"}, "no table `nowhere`"),
            ({"site": "carier"}, r"no column `carier` \(did you mean `carrier`\?\) in the spine `examples`"),
            ({"site": "label"}, "the site `label` of type double; expected string or a whole number"),
            ({"site": "maybe", "spine": "holed"}, r"[0-9]+ examples without a site in `maybe`"),
            ({"site": "many", "spine": "split up"}, r"more than 256 sites in `many`, \['a 10', 'a 108', 'a 109'\] among them"),
        ],
    )
    def test_a_request_that_cannot_be_meant(self, local: Flights, changes: dict[str, Any], message: str) -> None:
        """Found before anything is written, with names."""
        examples = local.store.read("examples")
        if changes.get("spine") == "holed":
            changes = {**changes, "spine": examples.withColumn("maybe", F.when(F.col("row") % 3 != 0, F.col("row")))}
        if changes.get("spine") == "taken":
            changes = {**changes, "spine": examples.withColumn("split", F.lit("train"))}
        if changes.get("spine") == "split up":
            more = examples.crossJoin(examples.sparkSession.range(9)).withColumn("many", F.concat_ws(" ", F.lit("a"), F.col("row") * 9 + F.col("id")))
            changes = {**changes, "spine": more}

        with pytest.raises(fs.ContractError, match=message):
            local.training_set(**changes)

        assert not local.store.tables.exists("training_sets")


VERSIONS = "row bigint, at timestamp, label double, label_known timestamp, seen timestamp, kept boolean, version bigint"


def corrected_rows() -> pd.DataFrame:
    """Examples with up to three versions: other labels, times and conditions, some labels taken back, some versions twice."""
    draw = np.random.default_rng(4)
    row = draw.integers(0, 40, 90)
    seen = [START + timedelta(hours=int(hours)) for hours in draw.integers(0, 12, 90)]
    return pd.DataFrame(
        {
            "row": row,
            "at": [START - timedelta(hours=int(number % 3 == 0 and moved)) for number, moved in zip(row, draw.integers(0, 2, 90), strict=True)],
            "label": [None if draw.random() < 0.15 else float(draw.integers(0, 2)) for _ in range(90)],
            "label_known": [time + timedelta(minutes=int(late)) for time, late in zip(seen, draw.integers(0, 2, 90) * 150, strict=True)],
            "seen": seen,
            "kept": draw.random(90) < 0.8,
            "version": range(90),
        }
    )


def entering(rows: pd.DataFrame, as_of: datetime, *, by_seen: bool) -> list[int]:
    """The versions that enter, from the rule."""
    if by_seen:
        rows = rows[rows.seen <= as_of]
        rows = rows[rows.seen == rows.groupby("row").seen.transform("max")]
    rows = rows[rows.kept & (rows.label_known <= as_of)]
    last = rows[rows.label_known == rows.groupby(["row", "at"]).label_known.transform("max")]
    return sorted(last[last.label.notna()].version)


@pytest.mark.parametrize("known", [None, "seen"])
def test_of_a_corrected_example_the_last_known_version_enters(spark: SparkSession, tmp_path: Path, known: str | None) -> None:
    """By its label's known time; by its own where the spine has one: then a later version takes an earlier one away, whatever it says."""
    store, rows = fs.FeatureStore(spark, root=str(tmp_path)), corrected_rows()
    store.tables.overwrite("examples", to_spark(spark, rows, VERSIONS))
    ids = set()
    for hours in (6, 12):
        as_of = START + timedelta(hours=hours)
        made = store.training_set(
            "examples",
            (),
            name="corrected",
            spine_time="at",
            label="label",
            label_known_time="label_known",
            spine_known_time=known,
            row_key=("row",),
            where="kept",
            as_of=as_of,
        )
        found = sorted(row["version"] for row in store.load(made).select("version").collect())

        assert found == entering(rows, as_of, by_seen=known is not None)
        assert found != sorted(rows[rows.kept & (rows.label_known <= as_of) & rows.label.notna()].version)
        ids.add(made.id)
    assert len(ids) == 2


def test_a_frame_as_lookup_is_part_of_the_identity_but_cannot_be_proved(local: Flights) -> None:
    """Its content is hashed into the id; nothing is kept to read it again."""
    rows = local.store.read("delays")
    lookup = fs.Lookup(rows, ("origin",), ("delay",), event_time="at", known_time="known")
    made = local.training_set(lookups=(lookup,))

    assert local.training_set(lookups=(replace(lookup, table=rows.repartition(3)),)) == made
    assert made.inputs == {"examples": 0}
    with pytest.raises(fs.ContractError, match="a lookup that was given as a DataFrame"):
        local.store.rebuild(made.id)


def test_scoring_rows_are_assembled_without_labels(local: Flights) -> None:
    """The same join for every row of the spine; nothing is written, versions are returned."""
    frame, inputs = local.store.assemble("examples", (LOOKUP,), spine_time="at", columns=("row",), where="row >= 10")

    assert frame.columns == ["at", "origin", "row", "o_delay", "o_flights"]
    assert sorted(row["row"] for row in frame.select("row").collect()) == list(range(10, 40))
    assert inputs == {name: local.store.tables.newest(name).version for name in ("examples", "delays")}


def test_a_large_set_is_cut_into_row_groups_in_order(spark: SparkSession, tmp_path: Path) -> None:
    """Two files of one row group of 64 to 256 thousand rows each, every position once, equal keys included."""
    store = fs.FeatureStore(spark, root=str(tmp_path))
    rows = spark.range(210_000).select(
        (F.col("id") % 205_000).alias("row"), F.lit(START).alias("at"), F.when(F.col("id") < 205_000, 1.0).otherwise(0.0).alias("label")
    )

    made = store.training_set(rows, (), name="large", spine_time="at", label="label", row_key=("row",), as_of=AS_OF)
    scan = plan_scan(store.tables, made.snapshot, row_groups=True)

    assert scan is not None
    assert scan.rows == 210_000
    assert len(scan.files) == 2
    assert all(len(file.row_groups) == 1 and 64_000 <= file.row_groups[0] <= 256_000 for file in scan.files)
    positions = [pd.read_parquet(file.path, columns=["row_position"])["row_position"].to_numpy() for file in scan.files]
    assert all((np.diff(part) == 1).all() for part in positions)
    assert sorted(part[0] for part in positions) == [0, min(len(part) for part in positions if part[0] == 0)]


def test_sites_have_files_of_their_own(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site after the other, the rows of each in the order of their hash, in as many files as they need; an audit's sample is of all of them."""
    monkeypatch.setattr(layout, "_FILE", 100)  # rows: large sets are slow to make
    store, north = fs.FeatureStore(spark, root=str(tmp_path)), "north/é %20=x"
    site = F.when(F.col("id") % 10 == 0, "south").otherwise(north)
    rows = spark.range(600).select((F.col("id") % 590).alias("row"), F.lit(START).alias("at"), F.lit(1.0).alias("label"), site.alias("clinic"))

    made = store.training_set(rows, (), name="sites", spine_time="at", label="label", row_key=("row",), as_of=AS_OF, site="clinic")

    scan = plan_scan(store.tables, made.snapshot)
    assert scan is not None
    parts = [(file.partition["clinic"], pd.read_parquet(file.path, columns=["row", "row_position"])) for file in scan.files]
    found = pd.concat([part.assign(clinic=clinic) for clinic, part in parts]).sort_values("row_position")
    definition = store._training_sets.definition(made.id)
    assert definition is not None
    examples = Examples.from_document(definition)
    expected = rows.select("clinic", "row", examples.order(rows).alias("order")).toPandas().sort_values(["clinic", "order"])
    assert sorted(clinic for clinic, _ in parts) == [north] * 5 + ["south"]
    assert all((np.diff(part["row_position"]) == 1).all() for _, part in parts)
    assert found["row_position"].tolist() == list(range(600))
    assert found[["clinic", "row"]].to_numpy().tolist() == expected[["clinic", "row"]].to_numpy().tolist()
    sample, count = Audit(made, store.load(made), definition, Limits(sample=200))._sample()
    sampled = sample.toPandas()["clinic"].value_counts()
    assert sampled.sum() == count == pytest.approx(200, rel=0.2)
    assert sampled["south"] == pytest.approx(20, rel=0.5)


class TestHash:
    ROWS = ((1, None, 0.0, [1.0, None], "a"), (2, 3.0, float("nan"), [None], ""), (2, 3.0, float("nan"), [None], ""))
    SCHEMA = "k int, x double, y double, z array<double>, s string"

    def test_order_of_rows_and_columns_does_not_matter(self, spark: SparkSession) -> None:
        """Nor does the sign of zero."""
        frame = spark.createDataFrame(self.ROWS, self.SCHEMA)
        turned = spark.createDataFrame(self.ROWS[::-1], self.SCHEMA).withColumn("y", F.when(F.col("y") == 0, F.lit(-0.0)).otherwise(F.col("y")))

        assert measure(turned.repartition(3).select("z", "s", "y", "x", "k")) == measure(frame)

    @pytest.mark.parametrize(
        "change",
        [
            {"x": "y", "y": "x"},
            {"x": "coalesce(x, 0)"},
            {"y": "nanvl(y, null)"},
            {"s": "if(s = '', null, s)"},
            {"z": "if(k = 1, array(null, 1.0d), z)"},
            {"k": "k + 1"},
        ],
    )
    def test_every_change_of_a_value_changes_it(self, spark: SparkSession, change: dict[str, str]) -> None:
        """Null, NaN, zero, the empty string and their places are different."""
        frame = spark.createDataFrame(self.ROWS, self.SCHEMA)
        changed = frame.select(*(F.expr(change.get(name, name)).alias(name) for name in frame.columns))

        assert measure(changed).digest != measure(frame).digest

    def test_a_row_that_stands_twice_counts(self, spark: SparkSession) -> None:
        """Equal rows do not cancel."""
        frame = spark.createDataFrame(self.ROWS, self.SCHEMA)

        assert len({measure(rows).digest for rows in (frame, frame.distinct(), frame.where("k = 1"))}) == 3
