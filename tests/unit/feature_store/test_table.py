"""A feature table is declared once and has one hash."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame

from feature_store.aggregate import Aggregate
from feature_store.errors import ContractError
from feature_store.quality import Expectation
from feature_store.table import Feature, FeatureTable, definition_digest
from feature_store.transform import Derived, Function

DELAY = Feature("delay", "double", unit="min", meaning="departure delay")


def _table(**options: Any) -> FeatureTable:
    return FeatureTable("delays", ("origin",), "at", options.pop("features", (DELAY,)), **options)


def _only_late(frame: DataFrame) -> DataFrame:
    return frame.where("delay > 15")


class TestForms:
    def test_equal_declarations_are_equal_objects(self) -> None:
        """Lists and tuples, aliases of types and texts of durations are one declaration."""
        loose = FeatureTable("t", ["k"], "at", [Feature("x", "long")], ttl="48h", known_time="60m", retention="1w")  # type: ignore[arg-type]
        exact = FeatureTable(
            "t", ("k",), "at", (Feature("x", "bigint"),), ttl=timedelta(days=2), known_time=timedelta(hours=1), retention=timedelta(days=7)
        )

        assert loose == exact
        assert loose.definition_hash == exact.definition_hash

    def test_a_known_time_is_a_column_or_a_delay(self) -> None:
        """Only a stored column is part of the rows' identity."""
        assert _table(known_time="known").merge_keys == ("origin", "at", "known")
        assert _table(known_time="known").columns == ("origin", "at", "known", "delay")
        assert _table(known_time="1h").merge_keys == ("origin", "at")

    def test_versions_lie_beside_each_other(self) -> None:
        """The first version has the plain name."""
        assert (_table().table_name, _table(version=3).table_name) == ("delays", "delays@v3")

    def test_row_identity_is_stored_unless_rows_are_aggregated(self) -> None:
        """A table of events keeps it for the windows made from it; windows have none."""
        windows = _table(source="raw", aggregates=(Aggregate("mean", "delay", "2h", name="delay"),), slide="1h", row_id=("id",))

        assert _table(row_id="id").columns == ("origin", "at", "id", "delay")
        assert windows.columns == ("origin", "at", "delay")
        assert windows.merge_keys == ("origin", "at")


class TestHash:
    def test_the_registry_gives_back_the_same_table(self) -> None:
        """The stored definition is JSON and complete."""
        table = _table(
            source="raw",
            transform=Derived({"late": "delay > 15"}, where="not cancelled"),
            aggregates=(Aggregate("mean", "delay", "2h", where="late", name="delay"),),
            slide="1h",
            known_time="known",
            row_id=("id",),
            ttl="3d",
            tags=("air",),
            pii=("origin",),
            expectations=(Expectation("between", "delay", low=-60, high=600.5, otherwise="quarantine"), Expectation("fresh", within="1d")),
            deprecated=date(2027, 1, 31),
            freshness="1d",
            owner="ops",
        )

        again = FeatureTable.from_definition(json.loads(json.dumps(table.definition)))

        assert again == table
        assert again.definition_hash == table.definition_hash

    @pytest.mark.parametrize(
        "change",
        [
            {"ttl": "1d"},
            {"known_time": "1h"},
            {"version": 2},
            {"source": "raw"},
            {"closed": "left"},
            {"known_early": True},
            {"features": (Feature("delay", "float", unit="min"),)},
            {"features": (Feature("delay", "double", unit="h"),)},
            {"source": "raw", "transform": {"delay": "a + 1"}},
        ],
    )
    def test_what_changes_values_changes_the_hash(self, change: dict[str, Any]) -> None:
        """Types, units, times and computation are meaning."""
        assert _table(**change).definition_hash != _table().definition_hash

    def test_words_and_policies_do_not_change_the_hash(self) -> None:
        """A new owner or a better sentence must not rebuild a table."""
        told = _table(
            owner="ops",
            meaning="delays",
            tags=("air",),
            pii=("origin",),
            retention="1w",
            freshness="1d",
            expectations=(Expectation("not_null", "delay"),),
            deprecated=date(2027, 1, 31),
            features=(Feature("delay", "double", "min", "?"),),
        )

        assert told.definition != _table().definition
        assert told.definition_hash == _table().definition_hash

    def test_a_function_is_known_by_its_code(self) -> None:
        """Two functions of one name and different code are different transforms, in every process."""

        def make(limit: int) -> Any:
            def late(frame: DataFrame) -> DataFrame:
                return frame.where(f"delay > {limit}")

            return late

        tables = [_table(source="raw", transform=make(limit)) for limit in (15, 15, 30)]

        assert tables[0].definition_hash == tables[1].definition_hash != tables[2].definition_hash

    def test_a_stored_function_comes_back_by_name_and_says_so(self) -> None:
        """The registry never holds code: running such a table asks for the function."""
        again = FeatureTable.from_definition(_table(source="raw", transform=_only_late).definition)

        assert again == _table(source="raw", transform=_only_late)
        assert isinstance(again.transform, Function)
        with pytest.raises(ContractError, match=r"_only_late.*call store.register"):
            again.transform(None)  # type: ignore[arg-type]

    @settings(max_examples=50)
    @given(st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()))))
    def test_the_order_of_keys_does_not_matter(self, document: dict[str, Any]) -> None:
        """The digest is over canonical JSON."""
        assert definition_digest(dict(reversed(document.items()))) == definition_digest(document)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"features": ()}, "0 features.*at least one"),
            ({"features": (Feature("origin", "string"),)}, "`origin` twice"),
            ({"features": (DELAY, Feature("DELAY", "double"))}, "`DELAY` twice"),
            ({"version": 0}, "version 0"),
            ({"ttl": "0d"}, "ttl of `delays` of 0:00:00"),
            ({"ttl": "7 days"}, "duration '7 days'.*`7d`"),
            ({"known_time": timedelta(hours=-1)}, "zero or more"),
            ({"pii": ("orign",)}, "PII mark `orign`.*did you mean `origin`"),
            ({"closed": "both"}, "closed='both'"),
            ({"transform": {"a": "b"}}, "without a source"),
            ({"transform": {"a": "reflect('a', 'b')"}, "source": "raw"}, "the function `reflect`"),
            ({"transform": 3, "source": "raw"}, "a transform of type int"),
            ({"source": "Raw Table"}, "the table name 'Raw Table'"),
            ({"slide": "1h"}, "both or neither"),
            (
                {"source": "raw", "aggregates": (Aggregate("mean", "delay", "2h"),), "slide": "1h"},
                "the features `delay`.*which no aggregate makes",
            ),
            (
                {"source": "raw", "aggregates": (Aggregate("mean", "delay", "90m", name="delay"),), "slide": "1h"},
                "a slide of 1h under `delay` of 90m of table `delays`; expected windows that are multiples of the slide; slide by 90m or a part",
            ),
            (
                {
                    "source": "raw",
                    "features": (Feature("delay_mean_2h", "double"),),
                    "aggregates": (Aggregate("mean", "delay", "2h"), Aggregate("count", None, "2h")),
                    "slide": "1h",
                },
                r'\[\'count_2h\'\].*add Feature\("count_2h"',
            ),
        ],
    )
    def test_a_declaration_that_cannot_be_meant(self, options: dict[str, Any], message: str) -> None:
        """Each error says what was found and what to do."""
        with pytest.raises(ContractError, match=message):
            _table(**options)

    @pytest.mark.parametrize("name", ["Delays", "delays@v2", "feature_tables", "training_set_a", "a b", "1st"])
    def test_names_that_would_clash_or_cannot_be_stored(self, name: str) -> None:
        """The store's own tables and odd names are refused."""
        with pytest.raises(ContractError, match="name"):
            FeatureTable(name, ("k",), "at", (DELAY,))

    @pytest.mark.parametrize("kind", ["doubel", "varchar(3)", "decimal(2,3)", "map<string,int>", "array<>"])
    def test_an_unknown_type_lists_the_known_ones(self, kind: str) -> None:
        """Types are Spark's short forms."""
        with pytest.raises(ContractError, match="expected bigint, binary"):
            Feature("x", kind)
