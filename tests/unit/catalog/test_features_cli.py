"""`sparkml-ops features`: the catalog for people and machines, read without Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from known_features import Known
from pyspark.sql import SparkSession
from tiny_project import Place
from typer.testing import CliRunner, Result

from sparkml_ops.cli.app import app

CLOCK = ("--as-of", "2020-02-02")


@pytest.fixture(autouse=True)
def _no_session() -> Iterator[None]:
    """Nothing here may start one."""
    yield
    assert SparkSession.getActiveSession() is None


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Tables with all that is made from them."""
    return Known(tmp_path_factory.mktemp("known")).fill()


def features(place: Place, *words: str) -> Result:
    return CliRunner().invoke(app, ["features", *words, "--project", "tiny", "--conf", str(place.folder / "conf")])


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_the_list_tells_age_promise_and_users(known: Known) -> None:
    """A row for each table; one that was never built says so and has no age."""
    listed = lines(features(known.place, "list", *CLOCK))

    assert listed[0].split() == ["table", "features", "entity", "owner", "tags", "newest", "row", "age", "promise", "used", "by"]
    assert listed[1] == "delays 2 origin operations delays 2020-01-31 23:00 1d 1h 2d 1 training set, 2 models, scores"
    assert listed[2:] == ["planes 3 tailnum not built speeds", "speeds 1 tailnum not built"]


def test_a_broken_promise_is_seen(known: Known) -> None:
    """One second too late."""
    kept, broken = (features(known.place, "list", "--as-of", at).stdout for at in ("2020-02-02T23:00:00", "2020-02-02T23:00:01"))

    assert "STALE" not in kept
    assert "STALE" in broken


def test_machines_get_the_same_as_json(known: Known) -> None:
    """One line; of every feature what was declared and who uses it."""
    listed = json.loads(features(known.place, "list", "--json", *CLOCK).stdout)
    delays = listed["tables"][0]
    shown = json.loads(features(known.place, "show", "delays.delay_mean_1d", "--json", *CLOCK).stdout)

    assert [table["name"] for table in listed["tables"]] == ["delays", "planes", "speeds"]
    assert (delays["rows"], delays["newest"], delays["freshness"], delays["stale"]) == (48, "2020-01-31T23:00:00+00:00", 172800.0, False)
    assert shown["users"] == {
        "training set": ["late_0a"],
        "model": ["late@1", "late@2"],
        "predictions": ["scores"],
    }
    assert (shown["unit"], shown["owner"], shown["tags"], shown["distribution"]) == ("min", "operations", ["delays"], None)
    assert delays["features"][1]["users"] == {}


def test_search_finds_by_every_word(known: Known) -> None:
    """In names, meanings, units, owner and tags; nothing found is no error."""
    assert lines(features(known.place, "search", "flights LATE min"))[1].startswith("delays ")
    assert lines(features(known.place, "search", "plane late")) == ["no such feature table: `sparkml-ops build-features` registers them"]


def test_show_a_table_and_a_feature(known: Known) -> None:
    """What a colleague asks: meaning, unit, how it is made, how old it may be, who would notice."""
    table, feature = (lines(features(known.place, "show", name, *CLOCK)) for name in ("delays", "delays.delay_mean_1d"))

    for line in (
        "delays version 0, 48 rows",
        "How late an airport is",
        "event time at; known then, from what was known then",
        "made from raw_flights by derived columns, windows every 1h",
        "newest row 2020-01-31 23:00, 1d 1h ago, promised within 2d",
        "delay_mean_1d double min How late the flights of a day were",
    ):
        assert line in table
    assert feature[:2] == ["delays.delay_mean_1d double in min", "How late the flights of a day were"]
    assert "used by 1 training set, 2 models, scores" in feature


def test_lineage_goes_both_ways(known: Known) -> None:
    """From the furthest source to the thing, and on to the predictions; single features where they are asked for."""
    listed = lines(features(known.place, "lineage", "late_0a"))
    fine = lines(features(known.place, "lineage", "late_0a", "--features"))

    assert listed == [
        "kind name how",
        "made from source raw_flights version 5",
        "made from feature table delays version 0",
        "training set late_0a",
        "used by model late@1 version 0",
        "used by model late@2 version 0",
        "used by predictions scores",
    ]
    assert "made from feature delays.delay_mean_1d as origin_delay_mean_1d" in fine
    assert "made from column raw_flights.Dep_Delay mean over 1d" in fine


def test_a_model_has_its_mlflow_address(known: Known) -> None:
    """The number is enough; an alias would ask MLflow."""
    assert json.loads(features(known.place, "lineage", "models:/late/1", "--json").stdout)["node"] == {"kind": "model", "name": "late@1"}


def test_the_graph_is_a_flowchart_of_everything_or_of_one_thing(known: Known) -> None:
    """Mermaid for Markdown; JSON for machines."""
    whole = features(known.place, "graph").stdout
    part = features(known.place, "graph", "planes").stdout
    document = json.loads(features(known.place, "graph", "--json", "--features").stdout)

    assert whole.startswith("flowchart LR\n")
    assert whole.count("[") == 10
    assert [name in part for name in ("raw_planes<br>", "planes<br>", "speeds<br>", "delays<br>")] == [True, True, True, False]
    assert {"kind": "feature", "name": "delays.cancelled_3h"} in document["nodes"]
    assert {node["kind"] for node in document["nodes"]} > {edge["target"].partition(":")[0] for edge in document["edges"]}


@pytest.mark.parametrize("words", [("show", "delais"), ("lineage", "delais"), ("graph", "delais")])
def test_a_misspelt_name_is_answered_with_the_nearest(known: Known, words: tuple[str, str]) -> None:
    """Exit code 2, one line."""
    result = features(known.place, *words)

    assert result.exit_code == 2
    assert "nothing known as `delais` (did you mean `delays`?)" in result.stderr


def test_show_of_something_else_says_where_it_is_shown(known: Known) -> None:
    """A source has no features of its own."""
    result = features(known.place, "show", "raw_flights")

    assert result.exit_code == 2
    assert "`sparkml-ops features lineage raw_flights --project tiny` shows it" in result.stderr


def test_an_empty_warehouse_stays_empty(tmp_path: Path) -> None:
    """Looking makes nothing; every command says what there is, or that there is nothing."""
    place = Place(tmp_path / "p")

    assert lines(features(place, "list")) == ["no such feature table: `sparkml-ops build-features` registers them"]
    assert lines(features(place, "graph")) == ["flowchart LR"]
    assert features(place, "lineage", "delays").exit_code == 2
    assert "No feature table is registered yet" in Path(lines(features(place, "page", "--out", str(tmp_path / "page.html")))[0]).read_text()
    assert not (place.folder / "data").exists()
