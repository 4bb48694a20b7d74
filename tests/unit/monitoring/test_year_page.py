"""The page of a year, as a browser's parser reads it: numbers, gaps, text alternatives, and nothing from elsewhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from months_maker import COLUMNS, Maker

from sparkml_ops.monitoring.year import ColumnState, Limit, Month, Year
from sparkml_ops.monitoring.year_page import render

HOSTILE = '<script>alert("1")</script>&'


class Page(HTMLParser):
    """Tags with their attributes, and the text of each table by row and cell; fails on a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._table: list[list[str]] | None = None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr", "br"):
            self.open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(dict(attrs).get("id") or f"table {len(self.tables)}", [])
        if self._table is not None and tag == "tr":
            self._table.append([])
        if self._table is not None and tag in ("td", "th"):
            self._table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if self._table and self._table[-1] and ({"td", "th"} & set(self.open)):
            self._table[-1][-1] = f"{self._table[-1][-1]} {data.strip()}".strip()

    def pictures(self) -> dict[str, dict[str, str | None]]:
        """Attributes of each picture by the beginning of its text alternative."""
        return {str(attrs["aria-label"]).split(":")[0]: attrs for tag, attrs in self.tags if tag == "svg"}


def svgs(page: str) -> Iterator[ElementTree.Element]:
    """Each picture as XML."""
    for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        yield ElementTree.fromstring(text)


def points(page: str, label: str, kind: str) -> list[tuple[float, float]]:
    """Where the marks of a line are, in the first picture with this name."""
    picture = next(svg for svg in svgs(page) if str(svg.get("aria-label")).startswith(label))
    group = next(group for group in picture.iter("g") if group.get("class") == kind)
    return [(float(mark.get("cx", 0)), float(mark.get("cy", 0))) for mark in group.iter("circle")]


def test_every_month_stands_in_every_part_with_the_numbers_of_its_records(made_up: Year) -> None:
    """Counts, figures with intervals and decisions are those of the records; the month without scores says so."""
    tables = Page(render(made_up)).tables
    counts, figures, decided = ({row[0]: row[1:] for row in tables[name][1:]} for name in ("counts", "figures", "decided"))

    assert list(counts) == list(figures) == ["2013-07", "2013-08", "2013-09", "2013-10", "2013-11", "2013-12", "2014-01"]
    assert counts["2013-10"] == ["not scored"]
    for month in made_up.months:
        assert month.rows is not None
        assert month.quarantined is not None
        share = month.quarantined / (month.rows + month.quarantined) * 100
        assert counts[month.window] == [f"v{month.model_version}", f"{month.rows:,}", f"{month.quarantined:,}", f"{share:.3g} %"]
        for place, metric in enumerate(("auc", "log_loss", "brier", "calibration_error", "rate")):
            for offset, kind in enumerate(("realised", "estimated")):
                figure = month.figure(metric, kind)  # type: ignore[arg-type]
                assert figure is not None
                assert figures[month.window][1 + 2 * place + offset] == f"{figure.value:.4f} {figure.lower:.4f}–{figure.upper:.4f}"
        assert decided[month.window][2] == month.decision.reason  # type: ignore[union-attr]
    assert list(figures["2013-10"]) == ["–"] * 11
    assert figures["2014-01"][0] == "62 %, not final"
    assert "2013-10" not in decided


def test_decisions_name_trigger_brake_and_outcome(made_up: Year) -> None:
    """No, held back, yes and promoted, yes and refused: each in words."""
    rows = {row[0]: row[1:] for row in Page(render(made_up)).tables["decided"]}

    assert rows["2013-07"][:2] == ["no", "no trigger"]
    assert rows["2013-08"][:2] == ["no, held back", "drift"]
    assert (rows["2013-09"][:2], rows["2013-09"][3]) == (["yes", "drift"], "v2 promoted")
    assert (rows["2013-12"][:2], rows["2013-12"][3]) == (["yes", "performance"], "v3 refused")


def test_the_heat_map_has_a_cell_for_each_column_and_month(made_up: Year) -> None:
    """Columns × months; the verdict stands in words and as a mark, the effect as a number; the missing month is a gap."""
    page = Page(render(made_up))
    head, *rows = page.tables["heat"]
    cells = {row[0].replace("_ ", "_"): row[1:] for row in rows}

    assert len(head) == 8
    assert set(cells) == set(COLUMNS)
    assert {len(row) for row in cells.values()} == {7}
    marks = {"drift": "● ", "fault": "▲ ", "undecided": "? ", "no drift": ""}
    for place, window in enumerate(month.window for month in made_up.calendar):
        month = next((month for month in made_up.months if month.window == window), None)
        for name in COLUMNS:
            if month is None:
                assert cells[name][place] == "– not measured"
                continue
            column = month.drift[name]
            number = "" if column.effect is None else f"{column.effect:.1f} "
            assert cells[name][place] == f"{number}{marks[column.verdict]}{column.verdict}"


def test_columns_that_drift_most_often_come_first(made_up: Year) -> None:
    """By months with drift or a fault, then by the greatest effect."""
    rows = [row[0].replace("_ ", "_") for row in Page(render(made_up)).tables["heat"][1:]]
    loud = [sum(month.drift[name].verdict in ("drift", "fault") for month in made_up.months) for name in rows]

    assert loud == sorted(loud, reverse=True)
    assert loud[0] > 0


def test_a_missing_month_is_a_gap_and_not_zero(made_up: Year) -> None:
    """Six marks on seven places; the line is broken in two; bars leave the place out."""
    page = render(made_up)
    months = points(page, "AUC by month", "realised")
    steps = [round(after[0] - before[0], 1) for before, after in itertools.pairwise(months)]
    picture = next(svg for svg in svgs(page) if str(svg.get("aria-label")).startswith("AUC"))
    line = next(path.get("d", "") for path in picture.iter("path") if path.get("class") == "line")
    bars = next(svg for svg in svgs(page) if str(svg.get("aria-label")).startswith("Rows scored"))

    assert len(months) == 6
    assert steps[2] == pytest.approx(2 * steps[0], abs=0.2)
    assert line.count("M") == 2
    assert len(list(bars.iter("rect"))) == 6
    assert "2013-10: not scored" in str(bars.get("aria-label"))


def test_marks_stand_where_their_values_are(made_up: Year) -> None:
    """The axis is linear: heights are an affine function of the values, downwards."""
    values = [month.figure("auc").value for month in made_up.months]  # type: ignore[union-attr]
    heights = [y for _, y in points(render(made_up), "AUC by month", "realised")]
    slope, start = np.polyfit(np.array(values, float), heights, 1)

    assert slope < 0
    assert heights == pytest.approx([slope * value + start for value in values], abs=0.1)  # type: ignore[operator]


def test_a_new_champion_and_the_limit_are_marked(made_up: Year) -> None:
    """The takeover stands between September and November in time order, at the beginning of October; the first champion is no takeover."""
    page = render(made_up)
    picture = next(svg for svg in svgs(page) if str(svg.get("aria-label")).startswith("AUC"))
    moves = [float(line.get("x1", 0)) for line in picture.iter("line") if line.get("class") == "takeover"]
    months = [x for x, _ in points(page, "AUC by month", "realised")]

    assert len(moves) == 1
    assert moves[0] == pytest.approx(months[2] + (months[1] - months[0]) / 2, abs=0.2)
    assert [text.text for text in picture.iter("text") if text.get("class") == "takeover-text"] == ["v2"]
    assert [line.find("title").text for line in picture.iter("line") if line.get("class") == "limit"] == ["policy: at least 0.69"]  # type: ignore[union-attr]


def test_every_picture_has_a_text_alternative_with_its_numbers(made_up: Year) -> None:
    """Role, label, names of both axes; the label tells the values."""
    page = render(made_up)
    pictures = Page(page).pictures()
    value = made_up.months[0].figure("auc").value  # type: ignore[union-attr]

    assert set(pictures) == {
        *(f"{name} by month" for name in ("AUC", "Log loss", "Brier score", "Calibration error", "Label rate")),
        "Rows scored by month",
        "Rows in quarantine by month",
    }
    assert all(attrs["role"] == "img" for attrs in pictures.values())
    assert f"2013-07, realised: {value:.4f}" in str(pictures["AUC by month"]["aria-label"])
    for picture in svgs(page):
        names = [text.text for text in picture.iter("text") if text.get("class") == "name"]
        assert len(names) == 2
        assert names[1] == "month"


def test_the_headline_says_what_the_state_is(made_up: Year) -> None:
    """Champion, newest window, its figures, the decision and the open alarms."""
    words = " ".join(" ".join(Page(render(made_up)).words).split())

    assert "flights: July 2013 to January 2014 ▲ 1 open alarm" in words
    assert "champion version 2 since 2013-10-01" in words
    assert f"newest window January 2014 {made_up.months[-1].rows:,} rows" in words
    assert "no scores of 2013-10" in words
    assert "new model? no no trigger fired" in words


def test_the_page_needs_nothing_else(made_up: Year) -> None:
    """No script, no address, no link but inside the page."""
    page = render(made_up)

    assert not {"script", "link", "img", "iframe", "object", "use"} & {tag for tag, _ in Page(page).tags}
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"url\(|@import|\b(src|href)=\"(?!#)", page)
    assert '<meta name="viewport"' in page


def test_hostile_names_are_text(maker: Maker, only: Callable[[Month], Year]) -> None:
    """Names of projects, columns, triggers and reasons are escaped, in text and in attributes."""
    month = maker.month("2013-07", 1, columns=(HOSTILE, "plain"))
    month = replace(month, decision=replace(month.decision, reason=HOSTILE, trigger=HOSTILE))  # type: ignore[type-var, arg-type]
    year = replace(only(month), project=HOSTILE, model=HOSTILE, alarms=(HOSTILE,))
    page = render(year)

    assert "<script" not in page
    assert Page(page).tables["decided"][1][3] == HOSTILE
    assert HOSTILE in [row[0] for row in Page(page).tables["heat"]]
    assert any(HOSTILE in (attrs.get("title") or "") for _, attrs in Page(page).tags)


def test_one_month_alone(maker: Maker, only: Callable[[Month], Year]) -> None:
    """One mark with a block for its interval, no line; the title names the month once."""
    page = render(only(maker.month("2013-07", 1)))
    picture = next(svg for svg in svgs(page) if str(svg.get("aria-label")).startswith("AUC"))

    assert [path.get("class") for path in picture.iter("path")] == ["band", "band"]
    assert len(points(page, "AUC by month", "realised")) == 1
    assert "<title>flights: July 2013</title>" in page
    assert "no open alarm" in page


def test_no_monitor_no_drift_no_decision(only: Callable[[Month], Year]) -> None:
    """What was not done is said in words; nothing is drawn for it."""
    page = render(only(Month("2013-07", "2013-08-01T00:00:00+00:00", 10, 0, 1)))
    words = " ".join(" ".join(Page(page).words).split())

    assert "No month is monitored yet" in words
    assert "No drift is measured yet" in words
    assert "Nothing is decided yet" in words
    assert set(Page(page).pictures()) == {"Rows scored by month", "Rows in quarantine by month"}


def test_a_year_without_windows_says_so() -> None:
    """An empty project still has a page."""
    assert "flights: nothing is scored yet" in render(Year("flights", "flights", None, ()))


def test_a_figure_that_breaks_the_limit_is_marked(made_up: Year) -> None:
    """The cell says by which limit, not by colour alone."""
    page = Page(render(replace(made_up, limit=Limit("log_loss", at_most=0.515))))
    broken = [attrs["title"] for tag, attrs in page.tags if tag == "td" and attrs.get("class") == "broken"]
    above = [month.window for month in made_up.months if (month.figure("log_loss").value or 0) > 0.515]  # type: ignore[union-attr]

    assert 0 < len(above) < len(made_up.months)
    assert broken == ["above 0.515"] * len(above)


def test_versions_tell_what_became_of_each(made_up: Year) -> None:
    """Champions with their reigns, a refused challenger, spans of what each scored."""
    table = next(rows for name, rows in Page(render(made_up)).tables.items() if name.startswith("table"))

    assert [row[0] for row in table[1:]] == ["v1", "v2", "v3"]
    assert table[1][1:] == ["champion from 2013-08-01 to 2013-10-01 (promote)", "scored 2013-07 to 2013-09"]
    assert table[2][1].startswith("champion now trained after 2013-09 (drift), promoted; champion from 2013-10-01")
    assert table[3][1:] == ["trained after 2013-12 (performance), refused by its gates", "scored nothing"]


@pytest.mark.parametrize(("first", "count", "kind"), [("2013-07-01", 24, "day"), ("2013-07-01T00", 24, "hour")])
def test_days_and_hours_are_windows_too(maker: Maker, first: str, count: int, kind: str) -> None:
    """Labels of the axis are thinned out where they would not fit, and name what they are part of."""
    windows = [f"{first[:-2]}{place + (kind == 'day'):02}" for place in range(count)]
    months = tuple(replace(maker.month("2013-07", 1), window=window) for window in windows)
    page = render(Year("flights", "flights", 1, months))
    narrow = [svg for svg in svgs(page) if str(svg.get("aria-label")).startswith("AUC")][1]
    ticks = [float(text.get("x", 0)) for text in narrow.iter("text") if text.get("text-anchor") == "middle" and text.get("y") == "239"]

    assert f"AUC by {kind}" in page
    assert len(ticks) == 8
    assert min(b - a for a, b in itertools.pairwise(ticks)) >= 30


def test_effects_without_a_bound_and_unknown_verdicts_are_drawn(only: Callable[[Month], Year]) -> None:
    """A verdict of a later release gets the mark of the undecided; a very great effect the last colour."""
    month = Month("2013-07", "", 1, 0, 1, {"a": ColumnState("drift", float("inf")), "b": ColumnState("odd", None)})
    cells = [attrs.get("class") for tag, attrs in Page(render(only(month))).tags if tag == "td" and "v-" in (attrs.get("class") or "")]

    assert cells == ["h4 v-drift", "h0 v-odd"]


def test_what_is_odd_in_the_truth_is_told(maker: Maker, only: Callable[[Month], Year]) -> None:
    """Findings of a month stand under the figures, with the month."""
    month = maker.month("2013-07", 1)
    monitor = replace(month.monitor, findings=("3 rows with contradicting truth",))  # type: ignore[type-var, arg-type]

    assert "2013-07: 3 rows with contradicting truth" in Page(render(only(replace(month, monitor=monitor)))).words
