"""The YAML and the Python form of a declaration are one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from feature_store.aggregate import Aggregate
from feature_store.declaration import FeatureTableDeclaration, SourceDeclaration, TrainingSetDeclaration
from feature_store.errors import ContractError
from feature_store.lookup import Lookup
from feature_store.split import Split
from feature_store.table import Feature, FeatureTable
from feature_store.transform import Derived

SOURCE = """
builder: flights.raw
event_time: scheduled
known_time: departed
row_id: [flight_id]
columns: {flight_id: long, origin: string, scheduled: timestamp, departed: timestamp, dep_delay: double, cancelled: boolean}
"""
WINDOWS = """
keys: [origin]
source: raw_flights
transform:
  - late: dep_delay > 15
where: not cancelled
aggregates:
  - {function: mean, column: dep_delay, window: 120m, unit: min, meaning: mean delay}
  - {function: count, window: 2h, where: late, name: late_2h}
slide: 10m
ttl: 24h
owner: ops
tags: [air]
"""


def _source() -> dict[str, SourceDeclaration]:
    return {"raw_flights": SourceDeclaration(**yaml.safe_load(SOURCE))}


def _declaration(text: str = WINDOWS, **changes: Any) -> FeatureTableDeclaration:
    return FeatureTableDeclaration(**{**yaml.safe_load(text), **changes})


class TestFeatureTable:
    def test_yaml_and_python_give_the_same_object_and_hash(self) -> None:
        """Times and row identity come from the source; features from the aggregates."""
        python = FeatureTable(
            "delays",
            ("origin",),
            "scheduled",
            (Feature("dep_delay_mean_120m", "double", "min", "mean delay"), Feature("late_2h", "bigint")),
            source="raw_flights",
            transform=Derived({"late": "dep_delay > 15"}, where="not cancelled"),
            aggregates=(Aggregate("mean", "dep_delay", "120m"), Aggregate("count", None, "2h", where="late", name="late_2h")),
            slide=timedelta(minutes=10),
            known_time="departed",
            row_id=("flight_id",),
            ttl=timedelta(days=1),
            owner="ops",
            tags=("air",),
        )

        found = _declaration().table("delays", _source())

        assert found == python
        assert found.definition_hash == python.definition_hash

    def test_a_table_of_its_own_needs_no_source(self) -> None:
        """Rows that a job writes are declared in the same words; a feature may be just its type."""
        text = "{keys: [tail], event_time: since, features: {seats: int, age: {type: double, unit: y}}}"

        found = _declaration(text).table("planes")

        assert found == FeatureTable("planes", ("tail",), "since", (Feature("seats", "int"), Feature("age", "double", "y")))

    def test_a_source_may_be_a_table_that_is_there(self) -> None:
        """Its name in the warehouse replaces the name in the project."""
        sources = {"weather": SourceDeclaration(table="raw_weather", event_time="hour", known_time="1h")}

        found = _declaration("{keys: [origin], source: weather, features: {temp: double}}").table("weather_now", sources)

        assert (found.source, found.event_time, found.known_time) == ("raw_weather", "hour", timedelta(hours=1))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"keys": ["orgin"]}, "`orgin` .did you mean `origin`"),
            ({"where": "not canceled"}, "`canceled` .did you mean `cancelled`"),
            ({"transform": [{"late": "dep_dely > 15"}]}, "`dep_dely` .did you mean `dep_delay`"),
            ({"aggregates": [{"function": "mean", "column": "dep_dely", "window": "2h"}]}, "`dep_dely` .did you mean"),
            ({"aggregates": [{"function": "sum", "column": "dep_delay", "window": "2h"}]}, "without a type"),
            ({"transform": "builder_name"}, "where beside the builder"),
            ({"slide": "25m"}, "a slide of 25m under `dep_delay_mean_120m` of 120m, `late_2h` of 2h.*slide by 2h or a part of it"),
        ],
    )
    def test_a_wrong_column_is_found_without_spark(self, changes: dict[str, Any], message: str) -> None:
        """The source's contract tells, and the nearest name is shown."""
        with pytest.raises(ContractError, match=message):
            _declaration(**changes).table("delays", _source())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"slid": "1h"}, "slid\n.*Extra inputs"),
            ({"ttl": "soon"}, "duration 'soon'"),
            ({"where": "java_method('a', 'b')"}, "the function `java_method`"),
            ({"transform": [{"x": "(select 1)"}]}, "subquery"),
            ({"features": {"x": "doubel"}}, "the type 'doubel'"),
            ({"keys": []}, "keys"),
        ],
    )
    def test_a_wrong_setting_is_refused_when_it_is_read(self, changes: dict[str, Any], message: str) -> None:
        """Unknown keys, durations, types and expressions fail with the configuration."""
        with pytest.raises(ValidationError, match=message):
            _declaration(**changes)

    def test_without_an_event_time_it_says_where_to_put_one(self) -> None:
        """Nothing is guessed."""
        with pytest.raises(ContractError, match="table `t` without an event time"):
            _declaration("{keys: [k], features: {x: int}}").table("t")


class TestSource:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"builder": None}, "exactly one"),
            ({"table": "raw"}, "exactly one"),
            ({"event_time": "schedule"}, "`schedule` .did you mean `scheduled`"),
            ({"columns": {"x": "text"}}, "the type 'text'"),
        ],
    )
    def test_a_source_that_cannot_be_meant(self, changes: dict[str, Any], message: str) -> None:
        """One origin, and times that its contract knows."""
        with pytest.raises(ValidationError, match=message):
            SourceDeclaration(**{**yaml.safe_load(SOURCE), **changes})


class TestTrainingSet:
    TEXT = """
    spine: raw_flights
    time: predicted
    row_key: [flight_id]
    label: late
    label_known_time: arrived
    columns: [carrier]
    where: not cancelled
    maturity: 2d
    seed: 7
    split: {validation: 0.1, evaluation: 31d}
    lookups:
      - {table: delays, keys: [origin], features: [late_2h], ttl: 30d, prefix: o_, exact_match: false}
      - {table: weather, keys: {dest: origin}}
    """

    def test_it_gives_the_arguments_of_the_store(self) -> None:
        """`until` ends the training part, the evaluation part follows."""
        until = datetime(2013, 7, 1, tzinfo=UTC)

        found = TrainingSetDeclaration(**yaml.safe_load(self.TEXT)).options(until)

        assert found == {
            "spine": "raw_flights",
            "lookups": (
                Lookup("delays", ("origin",), ("late_2h",), ttl=timedelta(days=30), prefix="o_", exact_match=False),
                Lookup("weather", {"dest": "origin"}),
            ),
            "spine_time": "predicted",
            "label": "late",
            "label_known_time": "arrived",
            "row_key": ("flight_id",),
            "columns": ("carrier",),
            "where": "not cancelled",
            "split": Split({"train": until, "evaluation": until + timedelta(days=31)}, ("validation", 0.1), 7),
            "maturity": timedelta(days=2),
            "seed": 7,
            "weight": None,
            "site": None,
        }

    def test_a_split_needs_an_instant(self) -> None:
        """A split by time without a time would be silent nonsense."""
        with pytest.raises(ContractError, match="expected until"):
            TrainingSetDeclaration(**yaml.safe_load(self.TEXT)).options()

    @pytest.mark.parametrize(
        ("validation", "expected"),
        [
            (0.1, Split({"train": datetime(2013, 7, 1, tzinfo=UTC), "evaluation": datetime(2013, 8, 1, tzinfo=UTC)}, ("validation", 0.1), 7)),
            (
                "30d",
                Split(
                    {
                        "train": datetime(2013, 6, 1, tzinfo=UTC),
                        "validation": datetime(2013, 7, 1, tzinfo=UTC),
                        "evaluation": datetime(2013, 8, 1, tzinfo=UTC),
                    },
                    seed=7,
                ),
            ),
        ],
    )
    def test_what_is_chosen_by_may_be_a_share_or_a_time(self, validation: object, expected: Split) -> None:
        """The last days before `until` are then no rows to train on."""
        said = {**yaml.safe_load(self.TEXT), "split": {"validation": validation, "evaluation": "31d"}}

        assert TrainingSetDeclaration(**said).options(datetime(2013, 7, 1, tzinfo=UTC))["split"] == expected

    @pytest.mark.parametrize("validation", [1.0, -0.1, "soon", "-3d"])
    def test_a_part_to_choose_by_that_cannot_be_meant(self, validation: object) -> None:
        """Neither a share nor a length."""
        with pytest.raises((ValidationError, ContractError)):
            TrainingSetDeclaration(**{**yaml.safe_load(self.TEXT), "split": {"validation": validation, "evaluation": "31d"}})


class TestSplit:
    @pytest.mark.parametrize(
        ("boundaries", "holdout", "message"),
        [
            ({}, None, "one or more instants"),
            ({"train": datetime(2013, 1, 1)}, None, "datetimes with a zone"),
            ({"train": datetime(2013, 2, 1, tzinfo=UTC), "test": datetime(2013, 1, 1, tzinfo=UTC)}, None, "ascending"),
            ({"train": datetime(2013, 2, 1, tzinfo=UTC)}, ("train", 0.1), "a name of its own"),
            ({"train": datetime(2013, 2, 1, tzinfo=UTC)}, ("held", 1.0), "between 0 and 1"),
        ],
    )
    def test_a_split_that_cannot_be_meant(self, boundaries: dict[str, datetime], holdout: tuple[str, float] | None, message: str) -> None:
        """Parts are ordered in time, and a share is a share."""
        with pytest.raises(ContractError, match=message):
            Split(boundaries, holdout)

    def test_it_comes_back_from_its_document(self) -> None:
        """`rebuild` reads it from the registry."""
        split = Split({"train": datetime(2013, 2, 1, tzinfo=UTC), "test": datetime(2013, 3, 1, tzinfo=UTC)}, ("held", 0.2), 3)

        assert Split.from_document(split.document()) == split
