"""The page of a year as headless Chromium lays it out: on a phone and on a desk, in light and dark."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import WIDTHS, in_browser, laid_out
from months_maker import COLUMNS, Maker

from sparkml_ops.monitoring.year import Overlay, Rung, Year

pytestmark = in_browser

MEASURE = """
<pre id="result"></pre><script>
const measure = (frame) => {
  const page = frame.contentDocument, shown = (node) => node.getClientRects().length > 0, box = (node) => node.getBoundingClientRect();
  const overlaps = [], outside = [], small = [];
  for (const svg of [...page.querySelectorAll('svg')].filter(shown)) {
    const texts = [...svg.querySelectorAll('text')], edge = box(svg);
    texts.forEach((text, place) => {
      const mine = box(text);
      if (mine.height < 11) small.push(text.textContent);
      if (mine.left < edge.left - 1 || mine.right > edge.right + 1 || mine.bottom > edge.bottom + 1 || mine.top < edge.top - 1) outside.push(text.textContent);
      for (const other of texts.slice(place + 1)) {
        const its = box(other);
        if (mine.left < its.right - 1 && its.left < mine.right - 1 && mine.top < its.bottom - 3 && its.top < mine.bottom - 3)
          overlaps.push(text.textContent + ' / ' + other.textContent);
      }
    });
  }
  const style = (selector) => page.defaultView.getComputedStyle(page.querySelector(selector));
  const heat = [...page.querySelectorAll('#heat tbody td')];
  return {
    width: page.documentElement.scrollWidth, overlaps, outside, small,
    pictures: [...page.querySelectorAll('svg')].filter(shown).map((svg) => svg.getAttribute('aria-label').split(':')[0]),
    cells: heat.length, text: page.body.innerText,
    cut: [...page.querySelectorAll('td.reason, .tile, h1, .alarms li')].filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.innerText),
    marks: heat.map((cell) => cell.querySelector('.mark')).filter((mark) => mark.innerText).length,
    heat: heat.map((cell) => cell.className.split(' ')[0] + page.defaultView.getComputedStyle(cell).backgroundColor),
    beyond: page.querySelector('#heat').scrollWidth - page.querySelector('#heat').parentElement.clientWidth,
    tallest: Math.max(...[...page.querySelectorAll('#heat tr')].map((row) => box(row).height)),
    paper: style('body').backgroundColor, ink: style('body').color,
  };
};
addEventListener('load', () => {
  document.getElementById('result').textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(measure));
});
</script>
"""


def of_year(year: Year, folder: Path, *, dark: bool = False) -> dict[int, dict[str, Any]]:
    """What the browser made of the page, by width."""
    return laid_out(year.html(), MEASURE, folder, f"--blink-settings=preferredColorScheme={0 if dark else 1}")


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, a_year: Year) -> dict[int, dict[str, Any]]:
    """The made-up year in light."""
    return of_year(a_year, tmp_path_factory.mktemp("light"))


@pytest.mark.parametrize("width", WIDTHS)
class TestLayout:
    def test_the_page_is_as_wide_as_the_screen(self, light: dict[int, dict[str, Any]], width: int) -> None:
        """Nothing makes the whole page scroll sideways, and no text is cut off."""
        assert light[width]["width"] == width
        assert light[width]["cut"] == []

    def test_labels_of_the_pictures_can_be_read(self, light: dict[int, dict[str, Any]], width: int) -> None:
        """They lie inside their picture, are no smaller than 11 px, and none covers another."""
        assert (light[width]["overlaps"], light[width]["outside"], light[width]["small"]) == ([], [], [])

    def test_each_picture_is_shown_once(self, light: dict[int, dict[str, Any]], width: int) -> None:
        """Of the great picture that form which fits the screen."""
        names = ["AUC", "Log loss", "Brier score", "Calibration error", "Label rate", "Rows scored", "Rows in quarantine"]
        assert light[width]["pictures"] == [f"{name} by month" for name in names]

    def test_the_heat_map_fits_and_its_colours_differ(self, light: dict[int, dict[str, Any]], width: int) -> None:
        """Columns × months cells; each step of the effect has its own colour; loud verdicts have a mark that is seen."""
        cells = light[width]["heat"]
        steps = {cell[:2] for cell in cells if cell.startswith("h")}

        assert light[width]["cells"] == len(COLUMNS) * 7
        assert light[width]["beyond"] <= 0
        assert light[width]["tallest"] < 60
        assert {"h0", "h1", "h2", "h3", "h4"} == steps
        assert len({cell.split("rgb")[1] for cell in cells}) >= len(steps)
        assert light[width]["marks"] > len(COLUMNS)

    def test_months_decisions_and_numbers_are_seen(self, light: dict[int, dict[str, Any]], a_year: Year, width: int) -> None:
        """As the screen shows them, not only in the source."""
        text = light[width]["text"]

        for month in a_year.months:
            assert month.decision is not None
            assert month.window in text
            assert month.decision.reason in text
            assert f"{month.rows:,}" in text
        assert "not scored" in text
        assert "v2 promoted" in text
        assert "no scores of 2013-10" in text


def test_values_and_alerts_fit_too(a_year: Year, tmp_path: Path) -> None:
    """Distributions over each other with long names, and alerts with what to do: nothing is cut off, covered or outside."""
    shares = [np.random.default_rng(seed).dirichlet(np.full(32, 3.0)) for seed in range(7)]
    dates = tuple(zip((1 / 6, 1 / 2, 5 / 6), ("2013-07-01", "2013-08-15", "2013-10-01"), strict=True))
    letters = tuple(((place + 0.5) / 6, name) for place, name in enumerate(("Honolulu Hawaii", "ATL", "a", "i" * 40, "MMMMMMMMM", "other")))
    windows = [month.window for month in a_year.months]
    overlays = tuple(
        Overlay(name, ticks, tuple(shares[0][:size]), {label: tuple(part[:size]) for label, part in zip(windows, shares[1:], strict=True)})
        for name, ticks, size in (("scheduled_departure_date_of_the_flight", dates, 32), ("destination", letters, 6))
    )
    said = "realised auc 0.6812 of 26,500 rows in 2013-12, between 0.6761 and 0.6863; certainly below 0.69"
    runbook = "https://wiki.example.org/" + "poor-scores/" * 6
    alerts = (
        Rung("poor-scores", "segment=origin=JFK", "page", "open", "2013-12", "", said, "model-team", runbook, "real", 2),
        Rung("inputs-drift", "", "ticket", "resolved", "2013-08", "2013-11", "<b>9 of 36</b> columns drift", "ada", "javascript:alert(1)", "", 1),
    )
    year = replace(a_year, overlays=overlays, alerts=alerts)
    found = of_year(year, tmp_path)

    for width in WIDTHS:
        assert found[width]["width"] == width
        assert (found[width]["overlaps"], found[width]["outside"], found[width]["small"], found[width]["cut"]) == ([], [], [], [])
        assert [name for name in found[width]["pictures"] if "by month" not in name] == ["scheduled_departure_date_of_the_flight", "destination"]
        assert said in found[width]["text"]
        assert "<b>9 of 36</b> columns drift" in found[width]["text"]
    assert year.html().count("<a href=") == 1


def test_dark_is_dark(a_year: Year, light: dict[int, dict[str, Any]], tmp_path: Path) -> None:
    """Where the system asks for dark, paper and ink change places."""
    dark = of_year(a_year, tmp_path, dark=True)

    for width in WIDTHS:
        assert brightness(light[width]["paper"]) > 240
        assert brightness(light[width]["ink"]) < 60
        assert brightness(dark[width]["paper"]) < 40
        assert brightness(dark[width]["ink"]) > 200


def test_two_years_of_months_fit_too(maker: Maker, tmp_path: Path) -> None:
    """Twenty-four months with many columns: labels thin out, the page does not grow beyond the screen."""
    columns = tuple(f"{name}_{place}" for place in range(4) for name in COLUMNS)
    months = tuple(maker.month(f"{year}-{month:02}", 1, columns=columns) for year in (2013, 2014) for month in range(1, 13))
    found = of_year(Year("flights", "flights", 1, months), tmp_path)

    for width in WIDTHS:
        assert found[width]["width"] == width
        assert found[width]["cells"] == 40 * 24
        assert found[width]["tallest"] < 60
        assert (found[width]["overlaps"], found[width]["outside"], found[width]["small"]) == ([], [], [])


def brightness(colour: str) -> float:
    """Mean of red, green and blue, 0 to 255."""
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3
