"""What was made from what, both ways: by declarations, training sets and consumers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_features import PLANES_2, Known

import feature_store as fs
from feature_store.lineage import Edge, Graph, Node
from feature_store.lineage.columns import columns_read


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fs.FeatureStore:
    """A store that starts no session."""
    return Known(tmp_path_factory.mktemp("known")).fill().store


def up(store: fs.FeatureStore, name: str, *, features: bool = False) -> set[str]:
    return {node.id for node in store.lineage(name, features=features).upstream}


def down(store: fs.FeatureStore, name: str, *, features: bool = False) -> set[str]:
    return {node.id for node in store.lineage(name, features=features).downstream}


class TestTables:
    def test_from_a_source_to_the_predictions(self, store: fs.FeatureStore) -> None:
        """Every step down the path, and nothing beside it."""
        assert down(store, "raw_flights") == {
            "feature table:delays",
            "training set:late_0a",
            "model:late@1",
            "model:late@2",
            "scoring set:scores_scoring_set",
            "predictions:scores",
        }
        assert down(store, "raw_planes") == {"feature table:planes", "feature table:speeds"}

    def test_from_the_predictions_to_the_sources(self, store: fs.FeatureStore) -> None:
        """Both versions wrote into the one table."""
        above = {
            "scoring set:scores_scoring_set",
            "model:late@1",
            "model:late@2",
            "training set:late_0a",
            "feature table:delays",
            "source:raw_flights",
        }

        assert up(store, "scores") == above
        assert up(store, "late@1") == {"training set:late_0a", "feature table:delays", "source:raw_flights"}

    def test_a_step_that_goes_through_another_is_drawn_once(self, store: fs.FeatureStore) -> None:
        """A model was made from its training set, not beside it from what that read; versions stand at the steps."""
        edges = {(edge.source, edge.target): edge.how for edge in store.lineage("scores").edges}

        assert {source for source, target in edges if target == "model:late@1"} == {"training set:late_0a"}
        assert {source for source, target in edges if target == "predictions:scores"} == {
            "model:late@1",
            "model:late@2",
            "scoring set:scores_scoring_set",
        }
        assert edges["source:raw_flights", "training set:late_0a"] == "version 5"
        assert edges["training set:late_0a", "model:late@1"] == "version 0"

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("planes", "feature table:planes"),
            ("planes@v1", "feature table:planes"),
            ("training_set_late_0a", "training set:late_0a"),
            ("late", "model:late@2"),
            ("model:late@1", "model:late@1"),
            ("delays.cancelled_3h", "feature:delays.cancelled_3h"),
        ],
    )
    def test_names_that_people_type(self, store: fs.FeatureStore, name: str, found: str) -> None:
        """A bare name is the newest version; a training set's table is the training set."""
        assert store.lineage(name).node.id == found

    def test_a_bare_name_follows_the_newest_version(self, tmp_path: Path) -> None:
        """Also as another table's source."""
        store = Known(tmp_path).fill().store
        store.register(PLANES_2)

        assert store.lineage("planes").node.id == "feature table:planes@v2"
        assert store.lineage("planes.age").node.id == "feature:planes@v2.age"
        assert up(store, "speeds.fast") == {
            "feature table:speeds",
            "feature:planes@v2.age",
            "feature table:planes@v2",
            "column:raw_planes.age",
            "source:raw_planes",
        }

    def test_what_is_unknown_is_answered_with_the_nearest(self, store: fs.FeatureStore) -> None:
        """Nothing is guessed."""
        with pytest.raises(fs.ContractError, match=r"nothing known as `delays\.delay_mean_2d` \(did you mean `delays\.delay_mean_1d`\?\)"):
            store.lineage("delays.delay_mean_2d")

    def test_two_things_of_one_name_are_told_apart_by_kind(self) -> None:
        """The refusal names both ids, and each of them is answered."""
        graph = Graph({node.id: node for node in (Node("source", "x"), Node("dashboard", "x"))}, ())

        with pytest.raises(fs.ContractError, match="2 things named `x`; expected one of `source:x` and `dashboard:x`"):
            graph.find("x")
        assert graph.find("dashboard:x").kind == "dashboard"


class TestFeatures:
    def test_a_feature_leads_to_the_columns_behind_it(self, store: fs.FeatureStore) -> None:
        """Through derived columns, and to those that choose its rows; Spark tells no `A` from `a`."""
        assert up(store, "delays.delay_mean_1d") == {"feature table:delays", "column:raw_flights.Dep_Delay", "source:raw_flights"}
        assert up(store, "delays.cancelled_3h") == {"feature table:delays", "column:raw_flights.state", "source:raw_flights"}
        assert up(store, "planes.age") == {"feature table:planes", "column:raw_planes.built", "column:raw_planes.in_service", "source:raw_planes"}

    def test_a_feature_of_a_feature(self, store: fs.FeatureStore) -> None:
        """A table whose source is a feature table goes on through that one's features."""
        assert {"feature:planes.age", "column:raw_planes.built"} <= up(store, "speeds.fast")
        assert down(store, "raw_planes.built") == {"feature:planes.age", "feature:speeds.fast"}

    def test_only_what_was_taken_leads_to_the_model(self, store: fs.FeatureStore) -> None:
        """The training set takes one of the two features."""
        assert {"training set:late_0a", "model:late@2", "predictions:scores"} <= down(store, "delays.delay_mean_1d")
        assert down(store, "delays.cancelled_3h") == set()

    def test_a_model_names_its_features_where_they_are_asked_for(self, store: fs.FeatureStore) -> None:
        """With the spine's own columns; without asking, tables alone."""
        fine = up(store, "late@1", features=True)

        assert {"feature:delays.delay_mean_1d", "column:raw_flights.flight", "column:raw_flights.Dep_Delay"} <= fine
        assert not {"feature:delays.cancelled_3h", "column:raw_flights.dep_delay"} & fine
        assert not {node for node in up(store, "late@1") if node.startswith(("feature:", "column:"))}

    def test_the_way_of_each_step_is_told(self, store: fs.FeatureStore) -> None:
        """Expression, window, and the name in the training set."""
        how = {(edge.source, edge.target): edge.how for edge in store.graph().edges}

        assert how["column:raw_flights.Dep_Delay", "feature:delays.delay_mean_1d"] == "mean over 1d"
        assert how["column:raw_flights.state", "feature:delays.cancelled_3h"] == "where state = 'cancelled'"
        assert how["column:raw_planes.built", "feature:planes.age"] == "2013 - built"
        assert how["column:raw_planes.in_service", "feature:planes.age"] == "rows where in_service"
        assert how["feature:delays.delay_mean_1d", "training set:late_0a"] == "as origin_delay_mean_1d"

    def test_a_column_that_replaces_another_is_traced_through_it(self) -> None:
        """Derived columns apply in their order."""
        transform = fs.Derived([{"x": "a + b"}, {"x": "x * c"}, {"y": "x"}])
        table = fs.FeatureTable("t", "k", "at", (fs.Feature("x", "double"), fs.Feature("y", "double")), source="s", transform=transform)

        assert {name: sorted(columns) for name, columns in columns_read(table).items()} == {"x": ["a", "b", "c"], "y": ["a", "b", "c"]}

    def test_of_a_function_s_rows_only_the_table_is_known(self) -> None:
        """What Python reads is not guessed."""
        table = fs.FeatureTable("t", "k", "at", fs.Feature("x", "double"), source="s", transform=lambda frame: frame)

        assert columns_read(table) == {}


def test_lineage_is_plain_json_and_a_flowchart(store: fs.FeatureStore) -> None:
    """For machines and for Markdown: every node and step, names that cannot break out of their box."""
    found = store.lineage("late@1")
    document = json.loads(json.dumps(asdict(found)))

    assert document["node"] == {"kind": "model", "name": "late@1"}
    assert len(document["edges"]) == len(found.edges) == found.mermaid().count(" --> ")
    hostile = Node("model", '"]; click n0 <b>#')
    graph = Graph({hostile.id: hostile}, ())
    assert graph.mermaid().splitlines()[1] == '  n0["#quot;]; click n0 #lt;b#gt;#35;<br><i>model</i>"]'


@settings(deadline=None, derandomize=True)  # a busy machine is slow, not wrong
@given(st.integers(1, 8), st.data())
def test_reach_is_the_transitive_closure(size: int, data: st.DataObject) -> None:
    """On any graph, circles included, against powers of its matrix; kinds of a column's size count only where asked."""
    pairs = data.draw(st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda pair: pair[0] != pair[1])))
    fine = data.draw(st.sets(st.integers(0, size - 1)))
    nodes = [Node("feature" if number in fine else "source", f"n{number}") for number in range(size)]
    graph = Graph({node.id: node for node in nodes}, tuple(Edge(nodes[one].id, nodes[other].id) for one, other in sorted(pairs)))
    for features in (True, False):
        kept = np.array([features or number not in fine for number in range(size)])
        for start in range(size):
            allowed = np.ones(size, bool) if start in fine else kept
            steps = np.zeros((size, size), int)
            for one, other in pairs:
                steps[one, other] = allowed[other] and (allowed[one] or one == start)
            reached = np.linalg.matrix_power(np.eye(size, dtype=int) + steps, size)[start] > 0
            found = {node.name for node in graph.lineage(f"n{start}", features=features).downstream}

            assert found == {f"n{number}" for number in range(size) if reached[number] and number != start}
