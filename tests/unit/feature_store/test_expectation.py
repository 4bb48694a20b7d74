"""An expectation is declared once, and judged by a pure function over counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import feature_store as fs
from feature_store.declaration import FeatureTableDeclaration
from feature_store.quality.expectation import RULES
from feature_store.quality.report import ColumnProfile, QualityReport
from feature_store.quality.tally import Tally
from feature_store.quality.verdicts import judge

AT = datetime(2013, 1, 2, tzinfo=UTC)
MICROS = int((AT - timedelta(hours=3)).timestamp()) * 1_000_000.0


def expect(rule: str, column: str | None = None, **options: Any) -> fs.Expectation:
    return fs.Expectation(rule, column, **options)


def verdict(
    item: fs.Expectation, *, rows: int = 100, bad: int = 0, mean: float | None = 2.0, nulls: int = 10, last: QualityReport | None = None
) -> str:
    """What becomes of one expectation."""
    columns = {"at": ColumnProfile(0, 0, 0.0, MICROS if rows else None), "delay": ColumnProfile(nulls, 0, 0.0, 9.0, mean)}
    (found,) = judge([item], Tally(rows, bad, "", (7,), columns, {"delay": "double"}), event_time="at", as_of=AT, last=last)
    return found.outcome


class TestDeclared:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rule": "betwen"}, r"'betwen' .did you mean `between`.*one of \['not_null'"),
            ({"rule": "not_null"}, "without column"),
            ({"rule": "between", "column": "delay"}, "without low or high"),
            ({"rule": "between", "column": "delay", "low": 2, "high": 1}, "low=2 and high=1.*the low one first"),
            ({"rule": "between", "column": "delay", "low": float("nan")}, "numbers"),
            ({"rule": "between", "column": "delay", "low": "1"}, "numbers"),
            ({"rule": "rows", "low": 1, "pattern": "x"}, "with pattern"),
            ({"rule": "pattern", "column": "origin", "pattern": "["}, "regular expression"),
            ({"rule": "fresh", "within": "0d"}, "more than zero"),
            ({"rule": "nulls", "column": "delay", "high": 1.5}, "expected a share"),
            ({"rule": "type", "column": "delay"}, "without type"),
            ({"rule": "change", "of": "mean", "by": 0.1}, "of 'mean' with column=None"),
            ({"rule": "change", "of": "rows", "by": 0}, "by=0"),
            ({"rule": "sql", "sql": "java_method('a', 'b')"}, "the function `java_method`"),
            ({"rule": "rows", "low": 1, "otherwise": "quarantine"}, "no single row is bad"),
            ({"rule": "rows", "low": 1, "otherwise": "warm"}, "'warm' .did you mean `warn`"),
        ],
    )
    def test_one_that_cannot_be_meant(self, options: dict[str, Any], message: str) -> None:
        """Before Spark starts, with the mend."""
        with pytest.raises(fs.ContractError, match=message):
            fs.Expectation(**options)

    @pytest.mark.parametrize(
        ("expectations", "message"),
        [
            ([expect("not_null", "dely")], r"the column `dely` .did you mean `delay`.*`dely not null` of table `t`"),
            ([expect("sql", sql="dely > 1")], "the column `dely`"),
            ([expect("between", "origin", low=1), expect("pattern", "delay", pattern="a")], "over `delay` of type double.*expected a string"),
            ([expect("between", "name", low=1)], "over `name` of type string.*expected a number"),
            ([expect("one_of", "name", values=(1, 2))], "expected values of type string"),
            ([expect("not_null", "delay"), expect("not_null", "delay", otherwise="warn")], "`delay not null` twice"),
            (["delay is plausible"], "expected an Expectation"),
        ],
    )
    def test_one_that_its_table_does_not_fit(self, expectations: list[Any], message: str) -> None:
        """Columns and types are those of the declaration; the type of a key is known only at the write."""
        with pytest.raises(fs.ContractError, match=message):
            fs.FeatureTable("t", ("origin",), "at", (fs.Feature("delay", "double"), fs.Feature("name", "string")), expectations=expectations)

    def test_a_quarantine_needs_its_columns(self) -> None:
        """A feature of such a name could not be told from the reasons."""
        table = {"keys": ("k",), "event_time": "at", "features": (fs.Feature("quarantine_write", "string"),)}
        fs.FeatureTable("t", **table, expectations=[expect("not_null", "quarantine_write")])
        with pytest.raises(fs.ContractError, match="`quarantine_write` twice in the quarantine of table `t`"):
            fs.FeatureTable("t", **table, expectations=[expect("not_null", "quarantine_write", otherwise="quarantine")])
        with pytest.raises(fs.ContractError, match="the name `t_quarantine`"):
            fs.FeatureTable("t_quarantine", ("k",), "at", (fs.Feature("x", "int"),))

    def test_yaml_says_which_word_is_wrong(self) -> None:
        """Closed as the rest of the configuration."""
        table = yaml.safe_load("{keys: [k], event_time: at, features: {x: int}, expectations: [{rule: betwen, column: x, low: 1}]}")
        with pytest.raises(ValidationError, match="did you mean `between`"):
            FeatureTableDeclaration(**table)
        with pytest.raises(ValidationError, match=r"lo\n.*Extra inputs"):
            FeatureTableDeclaration(**{**table, "expectations": [{"rule": "between", "column": "x", "lo": 1}]})


class TestJudged:
    @pytest.mark.parametrize(
        ("item", "found", "outcome"),
        [
            (expect("not_null", "delay", otherwise="warn"), {}, "warn"),
            (expect("rows", low=91, high=100), {"bad": 9}, "pass"),
            (expect("rows", low=91), {"bad": 10}, "fail"),
            (expect("rows", high=99, otherwise="warn"), {}, "warn"),
            (expect("fresh", within="3h"), {}, "pass"),
            (expect("fresh", within=timedelta(hours=3) - timedelta(microseconds=1000)), {}, "fail"),
            (expect("fresh", within="3h"), {"rows": 0}, "fail"),
            (expect("change", of="rows", by=0.2), {}, "not judged"),
            (expect("nulls", "delay", high=0.1), {}, "pass"),
            (expect("nulls", "delay", high=0.1), {"bad": 1}, "fail"),
            (expect("nulls", "delay", high=0.1), {"rows": 0}, "not judged"),
            (expect("type", "delay", type="double"), {}, "pass"),
            (expect("type", "delay", type="bigint", otherwise="warn"), {}, "warn"),
        ],
    )
    def test_rules_about_the_rows_of_a_write(self, item: fs.Expectation, found: dict[str, Any], outcome: str) -> None:
        """Row rules by their count, table rules by what lands; limits belong to what is allowed."""
        assert verdict(item, **found) == outcome

    @pytest.mark.parametrize(
        ("of", "by", "found", "outcome"),
        [
            ("rows", 0.25, {"rows": 100}, "pass"),
            ("rows", 0.24, {"rows": 100}, "fail"),
            ("rows", 0.24, {"rows": 100, "bad": 1}, "pass"),
            ("mean", 0.5, {"mean": -6.0}, "pass"),
            ("mean", 0.5, {"mean": -6.1}, "fail"),
            ("mean", 0.5, {"mean": None}, "not judged"),
            ("nulls", 0.1, {"rows": 100, "nulls": 20}, "pass"),
            ("nulls", 0.1, {"rows": 100, "nulls": 21}, "fail"),
        ],
    )
    def test_a_change_against_the_last_write(self, of: str, by: float, found: dict[str, Any], outcome: str) -> None:
        """Rows and mean relative to the last, also where that is negative; the share of nulls absolutely. 80 rows landed then."""
        last = QualityReport(90, 10, False, (), {"delay": ColumnProfile(8, 0, -9.0, 0.0, -4.0)})
        item = expect("change", None if of == "rows" else "delay", of=of, by=by)

        assert verdict(item, last=last, **found) == outcome

    def test_a_report_comes_back_from_the_log(self) -> None:
        """Its document is JSON types alone."""
        found = judge([expect("not_null", "delay")], Tally(1, 0, "", (0,), {}), event_time="at", as_of=AT, last=None)
        report = QualityReport(1, 0, True, found, {"delay": ColumnProfile(1, 2, 3.0, 4.0, 3.5)}, 9)

        assert QualityReport.from_document(json.loads(json.dumps(report.document())), 9) == report


def test_every_rule_has_words_of_its_own() -> None:
    """Reports and quarantined rows name an expectation without being told how."""
    made = [
        expect("not_null", "x"),
        expect("between", "x", low=0),
        expect("one_of", "x", values=(1, 2)),
        expect("pattern", "x", pattern="a+"),
        expect("unique", columns="x"),
        expect("sql", sql="x > 1"),
        expect("type", "x", type="bigint"),
        expect("nulls", "x", high=0.1),
        expect("rows", high=3),
        expect("fresh", within="90m"),
        expect("change", "x", of="mean", by=0.2),
    ]

    assert [item.rule for item in made] == list(RULES)
    assert [item.name for item in made] == [
        "x not null",
        "x at least 0",
        "x one of 2 values",
        "x like a+",
        "x unique",
        "x > 1",
        "x of type bigint",
        "at most 0.1 of x missing",
        "rows at most 3",
        "fresh within 90m",
        "mean of x within 0.2 of the last",
    ]
