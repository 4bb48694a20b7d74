"""Verdicts, tables and the page of a report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparkml_ops.config.drift import DriftSection, Thresholds
from sparkml_ops.drift import DriftReport, Profile, compare_profiles, merge
from sparkml_ops.drift.report import STATISTICS
from sparkml_ops.errors import ContractError

Comparer = Callable[..., DriftReport]
Profiler = Callable[..., Profile]


def rows(size: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "shifted": random.normal(shift, 1, size),
            "same": random.exponential(1, size),
            "kind": random.choice(["a", "b", "<script>alert(1)</script>"], size, p=[0.5, 0.3, 0.2] if not shift else [0.2, 0.3, 0.5]),
            "flag": random.random(size) < 0.3,
            "when": pd.Timestamp("2013-01-01", tz="UTC") + pd.to_timedelta(random.integers(0, 86_400 * 90, size), unit="s"),
            "holes": np.where(random.random(size) < (0.05 if not shift else 0.6), np.nan, random.normal(0, 1, size)),
            "empty": np.full(size, np.nan),
            "origin": random.choice(["JFK", "LGA"], size),
        }
    )


@pytest.fixture(scope="module")
def report(compared: Comparer) -> DriftReport:
    """A report with every verdict in it."""
    return compared(rows(4000, 1), rows(3000, 2, shift=1.0), segments=("origin",))


def test_each_column_has_its_verdict(report: DriftReport) -> None:
    """A shift is drift, equal distributions are not, a rise of missing values is a fault, no values are undecided."""
    found = {column.column: column.verdict for column in report if column.segment is None}

    assert found == {
        "shifted": "drift",
        "same": "no drift",
        "kind": "drift",
        "flag": "no drift",
        "when": "no drift",
        "holes": "fault",
        "empty": "undecided",
        "origin": "no drift",
    }
    assert report.verdict == "fault"


def test_missing_values_are_counted_apart(report: DriftReport) -> None:
    """The share of null and NaN is that of each side, and distances leave them out."""
    column = report["holes"]

    assert column.missing == rows(3000, 2, shift=1.0)["holes"].isna().mean()
    assert column.reference.missing == rows(4000, 1)["holes"].isna().mean()
    assert column.ks < 0.1


def test_statistics_without_values_are_none(report: DriftReport) -> None:
    """A side without values gives None, never a number."""
    column = report["empty"]

    assert {name: getattr(column, name) for name in STATISTICS if name != "missing"} == {name: None for name in STATISTICS if name != "missing"}
    assert (column.bins, column.counts, column.ks_bounds, column.ks_interval) == (None, None, None, None)


def test_an_empty_side_is_undecided(compared: Comparer) -> None:
    """Without any row on one side nothing is computed, and nothing is claimed."""
    column = compared(rows(500, 1), rows(500, 1)[:0].astype(rows(1, 1).dtypes))["same"]

    assert (column.verdict, column.ks, column.psi, column.missing) == ("undecided", None, None, None)


def test_a_column_that_lost_all_its_values_is_a_fault(compared: Comparer) -> None:
    """All-null now, and not before: a fault, even with few rows."""
    column = compared(pd.DataFrame({"x": np.arange(50.0)}), pd.DataFrame({"x": np.full(50, np.nan)}))["x"]

    assert (column.verdict, column.ks, column.missing) == ("fault", None, 1.0)


def test_few_rows_are_undecided(compared: Comparer) -> None:
    """Below the minimum of 100 values a side no verdict is given, however far apart the sides are."""
    few = compared(pd.DataFrame({"x": np.arange(99.0)}), pd.DataFrame({"x": np.arange(99.0) + 1000}))["x"]
    enough = compared(pd.DataFrame({"x": np.arange(100.0)}), pd.DataFrame({"x": np.arange(100.0) + 1000}))["x"]

    assert (few.verdict, few.ks) == ("undecided", 1.0)
    assert enough.verdict == "drift"


def test_a_small_effect_is_no_drift_however_many_rows(compared: Comparer) -> None:
    """At 100,000 rows a shift of 0.05 is significant and below the minimum effect."""
    random = np.random.default_rng(0)
    column = compared(pd.DataFrame({"x": random.normal(0, 1, 100_000)}), pd.DataFrame({"x": random.normal(0.05, 1, 100_000)}))["x"]

    assert column.measures["chi_square"].p < 1e-6
    assert column.verdict == "no drift"


def test_thresholds_can_be_raised_and_taken_away(compared: Comparer) -> None:
    """A higher threshold lets a shift pass; null takes the verdict away; other statistics can be judged."""
    both = pd.DataFrame({"x": np.arange(2000.0)}), pd.DataFrame({"x": np.arange(2000.0) + 500})

    assert compared(*both)["x"].verdict == "drift"
    assert compared(*both, settings=DriftSection(thresholds=Thresholds(ks=0.9, psi=None)))["x"].verdict == "no drift"
    assert compared(*both, settings=DriftSection(thresholds=Thresholds(ks=None, psi=None, wasserstein=400.0)))["x"].verdict == "drift"


def test_segments_stand_beside_the_whole(report: DriftReport, compared: Comparer) -> None:
    """A segment's statistics are those of its rows alone, on the bins of the whole column."""
    reference, current = (side[side["origin"] == "JFK"] for side in (rows(4000, 1), rows(3000, 2, shift=1.0)))
    alone = compared(reference, current)["shifted"]
    segment = report["shifted", "origin=JFK"]

    assert segment.ks_bounds[0] <= alone.ks_bounds[1]
    assert alone.ks_bounds[0] <= segment.ks_bounds[1]
    assert segment.counts.reference.sum() == len(reference)
    with pytest.raises(KeyError, match="origin=ZZZ"):
        report["shifted", "origin=ZZZ"]


def test_the_table_has_a_row_for_each_segment_column_and_statistic(report: DriftReport) -> None:
    """Names and order of the columns are fixed; the whole has no segment; what does not apply is null."""
    table = report.to_pandas()

    assert list(table.columns) == ["segment", "column", "statistic", "value", "lower", "upper", "n", "m", "p", "q", "threshold", "method", "verdict"]
    assert len(table) == 3 * 8 * len(STATISTICS)
    assert set(table["segment"]) == {None, "origin=JFK", "origin=LGA"}
    whole = table[table["segment"].isna()].set_index(["column", "statistic"])
    assert whole.loc[("shifted", "ks"), "lower"] == report["shifted"].ks_bounds[0]
    assert np.isnan(whole.loc[("kind", "ks"), "value"])
    assert whole.loc[("same", "psi"), "verdict"] == "no drift"
    assert (whole["lower"].dropna() <= whole["value"].dropna()).all()
    assert table["n"].dtype == np.int64


def test_the_document_is_plain_json(report: DriftReport) -> None:
    """What the verb prints and stores has no arrays."""
    document = json.loads(json.dumps(report.to_document()))

    assert document["verdict"] == "fault"
    assert document["columns"]["shifted"]["ks"] == report["shifted"].ks
    assert ["origin=JFK", "shifted", "drift"] in document["segments"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "line", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "line"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_nothing_else_and_escapes_names(report: DriftReport, tmp_path: Path) -> None:
    """One file: no script, no address; names of categories are text; every tag is closed."""
    page = report.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = _Page()
    parsed.feed(page)

    assert parsed.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert '<meta name="viewport"' in page


def test_the_page_shows_the_gravest_first_with_a_picture_each(report: DriftReport) -> None:
    """The summary is ordered by severity; numbers have curves, categories bars."""
    page = report.html()
    order = [page.index(f'href="#c-{name}"') for name in ("holes", "shifted", "empty", "same")]

    assert order == sorted(order)
    assert page.count("<svg") == sum(column.ks is not None for column in report if column.segment is None)
    assert 'class="bars"' in page
    assert "Bins and their counts" in page


def test_profiles_on_other_edges_are_refused(profiled: Profiler, compared: Comparer) -> None:
    """Counts of different cells cannot be compared or merged."""
    first, second = profiled(rows(300, 1)), profiled(rows(300, 2))

    with pytest.raises(ContractError, match=r"edges=first\.edges"):
        compare_profiles(first, second)
    with pytest.raises(ContractError, match="the same edges"):
        merge(first, second)


def test_profiles_of_parts_merge_to_the_whole(profiled: Profiler) -> None:
    """Every group of the merged profile has the bytes of the whole's."""
    data = rows(2000, 3)
    options = {"segments": ("origin",), "blocks": "flag"}
    whole = profiled(data, **options)
    first, second = (profiled(part, whole.edges, **options) for part in (data[:700], data[700:]))
    merged = first.merge(second)

    assert merged.groups.keys() == whole.groups.keys()
    assert all(state.pack() == whole.groups[group][name].pack() for group, columns in merged.groups.items() for name, state in columns.items())
    assert merged.rows == 2000


def test_a_profile_tells_what_is_in_a_column(profiled: Profiler) -> None:
    """Rows, missing and infinite values, extremes, sums and counts by cell."""
    values = np.array([1.0, 2.5, -4.0, np.nan, np.inf])
    column = profiled(pd.DataFrame({"x": values}))["x"]

    assert (column.n, column.nulls + column.nan, column.infinite) == (5, 1, (0, 1))
    assert (column.min, column.max, column.sum, column.mean) == (-4.0, 2.5, -0.5, pytest.approx(-0.5 / 3))
    assert column.sum_of_squares == pytest.approx(1 + 2.5**2 + 16, rel=1e-7)
    assert column.counts.sum() == 3
    assert len(column.sums) == len(column.counts) == column.edges.cells


@pytest.mark.parametrize("cells", [1000, 1025, 5000])
def test_cells_are_a_multiple_of_ten_in_range(cells: int) -> None:
    """Deciles must be edges: other numbers of cells are refused before anything runs."""
    with pytest.raises(ValueError, match="cells"):
        DriftSection(cells=cells)
