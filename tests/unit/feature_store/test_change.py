"""What a new declaration does to a registered table."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import feature_store as fs
from feature_store.change import change_of
from feature_store.declaration import FeatureTableDeclaration

PLAIN = fs.FeatureTable(
    "plain",
    ("origin",),
    "at",
    (fs.Feature("late", "boolean"), fs.Feature("delay", "double", "min")),
    source="raw",
    transform=fs.Derived({"minutes": "cast(raw_delay as double)", "delay": "minutes", "late": "delay > 15"}, where="minutes < 600"),
)
WINDOWS = fs.FeatureTable(
    "windows",
    ("origin",),
    "at",
    (fs.Feature("delay_mean_2h", "double"),),
    source="raw",
    transform=fs.Derived({"late": "delay > 15"}),
    aggregates=(fs.Aggregate("mean", "delay", "2h", where="late"),),
    slide="1h",
)


def plus(table: fs.FeatureTable, feature: fs.Feature, *pairs: tuple[str, str], first: bool = False) -> fs.FeatureTable:
    """A table with a feature more, and derived columns behind (or before) those that are there."""
    assert isinstance(table.transform, fs.Derived)
    derived = (*pairs, *table.transform.pairs) if first else (*table.transform.pairs, *pairs)
    return replace(table, features=(*table.features, feature), transform=fs.Derived(derived, table.transform.where))


def counted(pair: tuple[str, str]) -> fs.FeatureTable:
    """The windows with a count of some rows, from a derived column."""
    assert isinstance(WINDOWS.transform, fs.Derived)
    aggregates = (*WINDOWS.aggregates, fs.Aggregate("count", pair[0], "2h", name="count_2h"))
    features = (*WINDOWS.features, fs.Feature("count_2h", "bigint"))
    return replace(WINDOWS, features=features, aggregates=aggregates, transform=fs.Derived((*WINDOWS.transform.pairs, pair)))


HOURS = fs.Feature("hours", "double")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (PLAIN, plus(PLAIN, HOURS, ("hours", "delay / 60")), ["feature `hours` added"]),
        (PLAIN, plus(PLAIN, HOURS, ("hours", "1D"), first=True), ["feature `hours` added"]),
        (plus(PLAIN, HOURS, ("hours", "delay / 60")), PLAIN, ["feature `hours` removed"]),
        (PLAIN, replace(PLAIN, features=PLAIN.features[::-1]), []),
        (WINDOWS, counted(("early", "delay < 0")), ["feature `count_2h` added"]),
        (PLAIN, replace(PLAIN, features=(PLAIN.features[0], fs.Feature("delay", "float", "min"))), ["feature `delay` was double and is float"]),
        (PLAIN, replace(PLAIN, keys=("origin", "carrier")), ['keys was ["origin"] and is ["origin", "carrier"]']),
    ],
)
def test_what_comes_and_goes_is_told_from_meaning(old: fs.FeatureTable, new: fs.FeatureTable, words: list[str]) -> None:
    """Features with derived columns and aggregates of their own leave the others what they were."""
    change = change_of(old, new)

    assert (list(change.words), change.meaning) == (words, ())
    assert change.takes_away == (bool(words) and "added" not in words[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (PLAIN, replace(PLAIN, ttl="1d"), "ttl was null"),
        (PLAIN, replace(PLAIN, features=(PLAIN.features[0], fs.Feature("delay", "double", "h"))), "unit of delay"),
        # A new column of a name that something reads.
        (PLAIN, plus(PLAIN, HOURS, ("raw_delay", "0"), ("hours", "1D"), first=True), "transform was"),
        (PLAIN, plus(PLAIN, HOURS, ("hours", "1D"), ("MINUTES", "0")), "transform was"),
        (PLAIN, plus(PLAIN, HOURS, ("hours", "1D"), ("origin", "'x'")), "transform was"),
        (PLAIN, replace(PLAIN, transform=fs.Derived(PLAIN.transform.pairs)), "transform was"),  # type: ignore[union-attr]
        (PLAIN, replace(PLAIN, transform="a.builder"), "transform was"),
        (WINDOWS, counted(("delay", "0D")), "transform was"),
        (WINDOWS, replace(WINDOWS, transform=fs.Derived({"late": "delay > 30"})), "transform was"),
        (WINDOWS, replace(WINDOWS, aggregates=(fs.Aggregate("mean", "delay", "2h"),)), "the aggregate of `delay_mean_2h` was"),
        (WINDOWS, replace(WINDOWS, slide="30m"), "slide was"),
    ],
)
def test_another_meaning_is_none_of_these(old: fs.FeatureTable, new: fs.FeatureTable, message: str) -> None:
    """Where it cannot be told that values stay what they were, a new version is asked for."""
    assert any(message in text for text in change_of(old, new).meaning)


names = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=4, max_size=8, unique_by=str.lower)
lengths = st.sampled_from(["90m", "36h", "2d", "1w", "1500ms"])
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    """A feature table as a mapping of YAML types."""
    key, at, *features = draw(names)
    kinds = st.sampled_from(["double", "long", "integer", "string", "decimal(10, 2)", "array<short>", "timestamp"])
    typed = {name: {"type": draw(kinds), "unit": draw(st.none() | words), "meaning": draw(words)} for name in features}
    number = next((name for name, item in typed.items() if item["type"] in ("double", "long")), None)
    rules: list[dict[str, Any]] = [{"rule": "not_null", "column": features[0], "otherwise": draw(st.sampled_from(["fail", "quarantine", "warn"]))}]
    if number:
        rules += [{"rule": "between", "column": number, "low": draw(st.integers(-9, 9)), "high": draw(st.floats(10, 99))}]
        rules += [{"rule": "change", "column": number, "of": "mean", "by": draw(st.floats(0.01, 3))}]
    options: dict[str, Any] = {
        "known_time": draw(st.none() | lengths),
        **{name: draw(st.none() | lengths) for name in ("ttl", "retention", "freshness")},
        "version": draw(st.integers(1, 9)),
        "owner": draw(st.none() | words),
        "meaning": draw(words),
        "tags": draw(st.lists(words, max_size=3)),
        "pii": draw(st.lists(st.sampled_from([key, *features]), max_size=2)),
        "expectations": draw(st.lists(st.sampled_from(rules), max_size=3, unique_by=lambda item: item["rule"])),
        "deprecated": draw(st.none() | st.dates(date(2013, 1, 1), date(2100, 1, 1))),
    }
    return {"keys": [key], "event_time": at, "features": typed, **{name: value for name, value in options.items() if draw(st.booleans())}}


@settings(max_examples=80, deadline=None)
@given(declarations())
def test_yaml_and_python_give_the_same_object_and_hash(declared: dict[str, Any]) -> None:
    """Written as YAML and read again, or as Python objects; and so does what the registry keeps."""
    from_yaml = FeatureTableDeclaration(**yaml.safe_load(yaml.safe_dump(declared, sort_keys=False))).table("t")
    python = {
        **declared,
        "features": [fs.Feature(name, item["type"], item["unit"], item["meaning"]) for name, item in declared["features"].items()],
        "expectations": [fs.Expectation(**item) for item in declared.get("expectations", ())],
    }
    from_python = fs.FeatureTable("t", **python)

    assert from_yaml == from_python
    assert from_yaml.definition_hash == from_python.definition_hash
    assert fs.FeatureTable.from_definition(from_yaml.definition) == from_python


def test_a_deprecation_is_a_day() -> None:
    """An instant would say more than is meant; text is read as a day."""
    assert replace(PLAIN, deprecated="2027-01-31").deprecated == date(2027, 1, 31)
    assert replace(PLAIN, deprecated=date(2027, 1, 31)).definition_hash == PLAIN.definition_hash
    for wrong in ("soon", timedelta(1), 2027):
        with pytest.raises(fs.ContractError, match="deprecated="):
            replace(PLAIN, deprecated=wrong)  # type: ignore[arg-type]
