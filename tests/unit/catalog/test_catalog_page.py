"""The page of the catalog, as a browser's parser reads it: what stands there, and that nothing comes from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from known_features import Known

from feature_store.lineage import Edge, Graph, Node
from sparkml_ops.catalog import Catalog, Distribution, distribution_of
from sparkml_ops.catalog.picture import columns_of, map_of
from sparkml_ops.summaries import CategoryEdges, CategoryMaker, CellMaker, NumberEdges
from sparkml_ops.summaries.order import LARGEST
from sparkml_ops.verbs import catalog

HOSTILE = '<script>alert("1")</script>&'
EDGES = NumberEdges(np.array([-np.inf, *np.linspace(-40, 60, 2001), LARGEST]), np.array([]))


class Page(HTMLParser):
    """Tags with their attributes and the text below each element with an id; fails on a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {"": ""}
        self._open: list[tuple[str, str]] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr"):
            self._open.append((tag, str(dict(attrs).get("id") or "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for name in {"", *(identity for tag, identity in self._open if tag != "style")}:
            if not any(tag == "style" for tag, _ in self._open):
                self.texts[name] = " ".join(f"{self.texts.get(name, '')} {data}".split())


def distribution(values: object, *, version: int = 0) -> Distribution:
    """Of numbers or words."""
    array = pa.array(values)
    if pa.types.is_string(array.type):
        edges = CategoryEdges(tuple(sorted(set(array.drop_null().to_pylist()))))
        return distribution_of(edges, CategoryMaker(edges, 100)(array), "string", version)
    return distribution_of(EDGES, CellMaker(EDGES)(array), "double", version)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Of the known warehouse, with values of its first table."""
    read = catalog.perform(Known(tmp_path_factory.mktemp("known")).fill().work, as_of="2020-02-03")
    delays, planes, speeds = read.tables
    rng = np.random.default_rng(3)
    values = (distribution(rng.normal(10, 5, 500)), distribution([0, 1, 1, 2, None, 2, 1, 9], version=3))
    shown = tuple(replace(feature, distribution=value) for feature, value in zip(delays.features, values, strict=True))
    pilots = tuple(replace(feature, distribution=distribution(["ada", "bob", "ada", None])) for feature in planes.features)
    return replace(read, tables=(replace(delays, features=shown), replace(planes, features=pilots), speeds))


class TestDistribution:
    def test_bins_hold_what_numpy_counts(self) -> None:
        """Thirty of equal width over the middle of the values, to the width of a cell; what is outside is named."""
        values = np.random.default_rng(5).normal(10, 5, 20_000)
        shown = distribution(values)
        inner = np.quantile(values, [0.005, 0.995])
        counts, _ = np.histogram(values, bins=30, range=(float(shown.bars[0].label.split(" to ")[0]), float(shown.bars[-1].label.split(" to ")[1])))

        assert (shown.shape, len(shown.bars)) == ("bins", 30)
        assert [bar.share for bar in shown.bars] == pytest.approx(counts / 20_000, abs=2e-3)
        assert [float(shown.bars[0].label.split(" to ")[0]), float(shown.bars[-1].label.split(" to ")[1])] == pytest.approx(inner.tolist(), abs=0.06)
        assert shown.outside == pytest.approx(0.01, abs=1e-3)
        assert shown.mean == pytest.approx(values.mean())

    def test_few_values_have_a_bar_each(self) -> None:
        """With their shares of the rows that have a value."""
        shown = distribution([0, 1, 1, 2, None, 2, 1, float("nan")])

        assert (shown.shape, shown.rows, shown.missing) == ("values", 8, 0.25)
        assert [(bar.label, bar.share) for bar in shown.bars] == [("0", 1 / 6), ("1", 3 / 6), ("2", 2 / 6)]
        heights = [bar.height for bar in columns_of(shown)]
        assert heights == pytest.approx([64 / 3, 64, 128 / 3])

    def test_categories_come_by_frequency(self) -> None:
        """Six of them; how many more there are is told."""
        shown = distribution([*"aaabbbbcd", *"efgh", None])

        assert [(bar.label, bar.share) for bar in shown.bars[:3]] == [("b", 4 / 13), ("a", 3 / 13), ("c", 1 / 13)]
        assert (len(shown.bars), shown.more, shown.missing) == (6, 2, 1 / 14)

    @pytest.mark.parametrize("values", [[None, float("nan")], [float("inf")], pa.array([], pa.float64()), pa.array([None], pa.string())])
    def test_without_a_value_there_is_no_bar(self, values: object) -> None:
        """Nothing is divided by nothing."""
        shown = distribution(values)

        assert (shown.bars, shown.mean, columns_of(shown)) == ((), None, ())


def test_each_feature_has_its_card(found: Catalog) -> None:
    """Meaning, unit, type, values and users; the table above it has owner, tags and freshness."""
    texts = Page(found.html()).texts

    assert texts["delays.delay_mean_1d"].startswith("delay_ mean_ 1d double · min How late the flights of a day were")
    assert texts["delays.delay_mean_1d"].endswith(
        "missing 0 % · all from -5.292 to 26.61 used by training set late_0a; models late@2, late@1; predictions scores"
    )
    assert texts["delays.cancelled_3h"].endswith("mean 2.286 9 missing 12.5 % · values of version 3 used by nobody yet")
    assert texts["delays"] == "delays ▲ stale delays"
    for words in ("owner operations", "2020-01-31 23:00, 2d 1h ago; promised within 2d", "windows every 1h", "a lookup takes no value older than 1h"):
        assert words in texts[""]
    assert "not built yet" in texts["list"]
    assert "No distribution" in texts["speeds.fast"]


def test_personal_values_are_never_shown(found: Catalog) -> None:
    """Even where a distribution is at hand."""
    page = Page(found.html())

    assert "Personal data: its values are not shown." in page.texts["planes.pilot"]
    assert "ada" not in page.texts["planes.pilot"]
    assert "ada 66.7 %" in page.texts["planes.model"]
    assert not [attrs for _, attrs in page.tags if str(attrs.get("aria-label", "")).startswith("pilot")]


def test_every_picture_has_its_words_and_its_bars(found: Catalog) -> None:
    """Bars are as high as their shares; each says its value."""
    pictures = {
        str(svg.get("aria-label")).split(":")[0]: svg for svg in map(ElementTree.fromstring, re.findall(r"<svg.*?</svg>", found.html(), re.DOTALL))
    }
    bars = list(pictures["cancelled_3h"].iter("rect"))

    assert all(svg.get("role") == "img" for svg in pictures.values())
    assert [bar.find("title").text for bar in bars] == ["0: 14.29%", "1: 42.86%", "2: 28.57%", "9: 14.29%"]  # type: ignore[union-attr]
    assert [float(str(bar.get("height"))) for bar in bars] == pytest.approx([64 / 3, 64, 128 / 3, 64 / 3], abs=0.06)


def test_the_map_stands_in_columns_from_sources_to_predictions(found: Catalog) -> None:
    """Whatever was made from another stands to its right; each step has its curve."""
    drawn = map_of(found.graph)
    assert drawn is not None
    places = {box.node.id: box.x for box in drawn.boxes}
    steps = found.graph.tables().edges

    assert all(places[edge.source] < places[edge.target] for edge in steps)
    assert len(drawn.curves) == len(steps)
    assert len({(box.x, box.y) for box in drawn.boxes}) == len(drawn.boxes) == 10
    assert "model late@1 from late_0a" in drawn.said


def test_of_many_things_the_newest_are_drawn_and_circles_end() -> None:
    """Twelve in a column, and how many came before; features made from predictions close a circle."""
    nodes = [Node("source", "raw"), *(Node("training set", f"t{number}") for number in range(40)), Node("predictions", "scores")]
    edges = [
        *(Edge("source:raw", node.id) for node in nodes[1:-1]),
        Edge("training set:t39", "predictions:scores"),
        Edge("predictions:scores", "source:raw"),
    ]
    drawn = map_of(Graph({node.id: node for node in nodes}, tuple(edges)))
    assert drawn is not None

    assert {box.node.name for box in drawn.boxes} == {"raw", "scores", *(f"t{number}" for number in range(28, 40))}
    assert [words for _, _, words in drawn.more] == ["and 28 before"]
    assert map_of(Graph({}, ())) is None


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere(found: Catalog) -> None:
    """No script, no address; each link has its target."""
    text = found.html()
    page = Page(text)
    links = [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]

    assert not {"script", "link", "img", "iframe", "object", "use"} & {tag for tag, _ in page.tags}
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert links == ["#delays", "#planes", "#speeds"]
    assert {link[1:] for link in links} <= {str(attrs.get("id")) for _, attrs in page.tags}
    assert '<meta name="viewport"' in text


def test_hostile_words_are_text(found: Catalog) -> None:
    """Of a table, a category, a user: escaped, in text and in attributes."""
    table = found.tables[1]
    feature = replace(table.features[1], meaning=HOSTILE, unit=HOSTILE, users={"model": (HOSTILE,)}, distribution=distribution([HOSTILE, "b"]))
    node = Node("model", HOSTILE)
    hostile = replace(found, project=HOSTILE, graph=Graph({node.id: node}, ()))
    page = replace(hostile, tables=(replace(table, meaning=HOSTILE, owner=HOSTILE, tags=(HOSTILE,), features=(feature,)),)).html()

    assert "<script" not in page
    assert Page(page).texts["planes.model"].count(HOSTILE) == 4


def test_a_thousand_features_make_one_page(found: Catalog) -> None:
    """Each with its picture, in less than four megabytes."""
    table = found.tables[0]
    many = tuple(replace(table.features[0], name=f"f{number}") for number in range(1000))
    page = replace(found, tables=(replace(table, features=many),)).html()

    assert page.count("<article") == 1000
    assert len(page.encode()) < 4_000_000


def test_a_deprecated_table_says_since_when(found: Catalog) -> None:
    """On the page and in the list of tables; one that stays says nothing."""
    leaving = replace(found, tables=(replace(found.tables[0], deprecated="2030-01-01"), *found.tables[1:]))

    assert "from 2030-01-01 on: look its features up elsewhere" in leaving.html()
    assert "deprecated" not in Page(found.html()).texts[""]
