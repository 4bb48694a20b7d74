"""The card of a version: what it says, what it keeps to itself, and how a browser lays it out."""

from __future__ import annotations

import html
import re
from pathlib import Path

from browser import in_browser, laid_out

from feature_store.records import Snapshot, TrainingSet
from sparkml_ops.config.release import CardSection
from sparkml_ops.model.spec import ArrayInput, CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.records import GateReport, GateResult, ModelVersion
from sparkml_ops.release.card import Card
from sparkml_ops.release.explanation import Explained, Explanation

MEASURE = """
<pre id="result"></pre><script>
addEventListener('load', () => {
  const measure = (frame) => { const page = frame.contentDocument; return {
    width: page.documentElement.scrollWidth,
    beyond: [...page.querySelectorAll('.scroll')].filter((node) => node.scrollWidth > node.clientWidth + 1).length,
    cut: [...page.querySelectorAll('.tile, dd, h1, h3, td, .bars span')].filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.innerText),
    bars: [...page.querySelectorAll('.bars i')].map((node) => Math.round(node.getBoundingClientRect().width)),
    scripts: page.scripts.length, outside: page.querySelectorAll('[src], link').length }; };
  document.getElementById('result').textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(measure));
});
</script>
"""
LONG = "mean_of_arrival_delays_of_the_last_twenty_eight_days_by_destination_and_carrier"
SPEC = ModelSpec(
    "mlp",
    (NumericInput("distance", "double", 0.0, 1040.0, 733.0), NumericInput(LONG, "double", 0.2, 0.2, 0.1, indicator=True)),
    (CategoricalInput("carrier", "string", ("UA", "<b>", "EV", "B6", "DL", "AA"), 3), CategoricalInput("tailnum", "string", ("N1SECRET",), 3)),
    (128, 64),
    arrays=(ArrayInput("vector", "array<float>", (0.0, 0.0), (1.0, 1.0)),),
)
VERSION = ModelVersion(
    "flights",
    3,
    "d" * 64,
    TrainingSet("flights_1a2b", Snapshot("training_set_flights_1a2b", 0), {"planes": 4, "flights": 2}, "0123456789abcdef", 20_000),
)
RESULTS = (
    GateResult("auc", "pass", {"evaluation_auc": 0.75}, {}, "evaluation_auc 0.75, limit >= 0.7"),
    GateResult("origins", "fail", {"origin=LGA challenger_auc": 0.61, "tailnum=N1SECRET challenger_auc": 0.5}, {}, "origin=LGA: 0.61 | <i>below</i>"),
    GateResult("again", "no evidence", {}, {}, "run was not reproduced"),
)
REPORT = GateReport("flights", 3, "d" * 64, "0123456789abcdef", "c0ffee", False, RESULTS)


def explanation() -> Explanation:
    parts = {"distance": 0.2, LONG: 0.1, "carrier": 0.0}
    values = {"distance": "1400", LONG: "missing", "carrier": "<script>alert(1)</script>"}
    rows = tuple(Explained(level, values, parts, parts if level > 0.5 else {}) for level in (0.1, 0.4, 0.9))
    return Explanation("probability", 200, 0.3, parts, parts, parts, rows, ("tailnum",), "mean rise of the log loss, nats a row")


def card(*, explained: bool = True, report: GateReport | None = REPORT) -> Card:
    said = CardSection(intended_use="Whether a flight's arrival is late.", owner="Ada & Grace")
    metrics = {"evaluation_auc": 0.7512, "evaluation_rows": 28_000.0, "train_loss": 0.4}
    return Card(VERSION, said, SPEC, metrics, report, ("tailnum",), {"distance": "mi"}, explanation() if explained else None)


def test_a_card_says_what_is_on_record_and_what_nobody_has_said() -> None:
    """In both forms: use, data with versions, figures, gates, slices; of a sensitive column its name alone."""
    for text in (card().html(), card().markdown()):
        plain = html.unescape(text)
        assert "Whether a flight's arrival is late." in plain
        assert "Nobody has said." in plain
        assert "flights at version 2, planes at version 4" in plain
        assert "28,000" in plain
        assert "0.7512" in plain
        assert "origin=LGA" in plain
        assert "personal data: nothing is shown" in plain
        assert re.search(r"double\W+(td|data-what|=|in|\W)*mi\W", plain)
        assert "N1SECRET" not in plain
        assert "train_loss" not in plain
    assert "Ada &amp; Grace" in card().markdown()
    assert "No gate report" in card(report=None).markdown()


def test_no_value_becomes_markup() -> None:
    """What tables and people hold is text: no tag of theirs, no cell that ends early."""
    page, text = card().html(), card().markdown()

    assert "<script>" not in page
    assert "<b>" not in re.sub(r"<b>[\d,.]+</b>", "", page)
    assert "<script" not in text
    assert "0.61 \\| &lt;i>below" in text
    assert len({line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| origins ")}) == 1


@in_browser
def test_a_browser_lays_the_card_out_on_a_phone_and_on_a_desk(tmp_path: Path) -> None:
    """As wide as the screen, nothing cut off, long names broken; the longest bar is the strongest input; nothing comes from elsewhere."""
    for width, laid in laid_out(card().html(), MEASURE, tmp_path).items():
        assert (laid["width"], laid["beyond"], laid["cut"]) == (width, 0, [])
        assert laid["bars"][0] > 1.5 * laid["bars"][1] > laid["bars"][2]
        assert (laid["scripts"], laid["outside"]) == (0, 0)
