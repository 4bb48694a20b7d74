"""The contract of a model's inputs as a person meets it: learnt, a file to edit, closed."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError
from tiny_project import Place

from sparkml_ops.config.load import load
from sparkml_ops.config.scoring import ScoringSection
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.learnt import ColumnFacts, WindowFacts, learnt_rules, to_yaml
from sparkml_ops.summaries.views import pattern_of
from sparkml_ops.verbs import contract
from sparkml_ops.verbs.work import Work

FACTS = (
    ColumnFacts("distance", "double", 1000, 20, 0, 80.0, 4980.0),
    ColumnFacts("seats", "bigint", 1000, 0, 0, 3.0, 97.0),
    ColumnFacts("wind", "double", 10, 0, 3, -3.2, 7.7),
    ColumnFacts("origin", "string", 10, 0, values=("EWR", "no")),
    ColumnFacts("tail", "string", 10, 1, patterns=("a9a", "a-9 9")),
    ColumnFacts("secret", "string", 10, 0),
    ColumnFacts("empty", "double", 10, 10),
)
WINDOWS = WindowFacts(100, 201, timedelta(minutes=33))


def rules(**options: Any) -> dict[str, str]:
    return {rule.name: rule.otherwise for rule in learnt_rules(FACTS, WINDOWS, **options)}


def test_a_contract_is_what_the_rows_kept_with_some_room() -> None:
    """Types fail; a range has a margin and stays above zero; nulls may be a twentieth more; a column of nulls has its type alone."""
    assert rules(otherwise="quarantine") == {
        "distance of type double": "fail",
        "at most 0.07 of distance missing": "warn",
        "distance between 0.0 and 5470.0": "quarantine",
        "seats of type bigint": "fail",
        "seats not null": "quarantine",
        "seats between 0 and 107": "quarantine",
        "wind of type double": "fail",
        "at most 0.35 of wind missing": "warn",
        "wind between -4.29 and 8.79": "quarantine",
        "origin of type string": "fail",
        "origin not null": "quarantine",
        "origin one of 2 values": "quarantine",
        "tail of type string": "fail",
        "at most 0.15 of tail missing": "warn",
        next(name for name in rules() if name.startswith("tail like")): "quarantine",
        "secret of type string": "fail",
        "secret not null": "quarantine",
        "empty of type double": "fail",
        "rows between 50 and 402": "warn",
        "fresh within 66m": "warn",
    }
    assert "distance between 80.0 and 4980.0" in rules(margin=0.0)
    assert not [rule for rule in learnt_rules(FACTS, None) if rule.rule in ("rows", "fresh")]


def test_learnt_patterns_match_what_they_were_learnt_from() -> None:
    """Letters of every script, whole texts alone."""
    texts = ["N725MQ", "Ærø-12 7", "AA 9"]
    facts = ColumnFacts("tail", "string", 3, 0, patterns=tuple(pattern_of(pa.array(texts[:2])).to_pylist()))
    (pattern,) = [rule.pattern for rule in learnt_rules([facts], None) if rule.pattern]

    assert [bool(re.fullmatch(pattern, text)) for text in (*texts, "N725MQ!")] == [True, True, False, False]


def test_the_file_that_is_written_is_the_contract(tmp_path: Path) -> None:
    """It stands beside the project's other files, a line a rule, and its hash is recorded with each window."""
    learnt = learnt_rules(FACTS, WINDOWS)
    Place(tmp_path)
    (tmp_path / "conf" / "projects" / "tiny" / "contract.yaml").write_text(to_yaml(learnt, "training set 'a: b'"))
    config = load(tmp_path / "conf", "tiny")

    assert config.sections.scoring.contract.expectations == learnt
    assert config.sections.scoring.contract.learnt_from == "training set 'a: b'"
    assert config.sections.scoring.target == "tiny_scores"
    assert config.hash("scoring") != load(tmp_path / "conf", "tiny", overrides=("scoring.contract.rules=[]",)).hash("scoring")


def test_a_project_without_a_contract_keeps_the_hash_of_its_configuration() -> None:
    """Work that was finished before there were contracts stays finished."""
    assert "contract" not in ScoringSection().model_dump(mode="json")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([{"rule": "change", "of": "rows", "by": 0.1}], "what `sparkml-ops drift` measures"),
        ([{"rule": "not_null", "column": "a"}, {"rule": "not_null", "column": "a", "otherwise": "warn"}], "`a not null` twice"),
        ([{"rule": "betwen", "column": "a", "low": 1}], "did you mean `between`"),
    ],
)
def test_rules_that_cannot_be_meant(found: list[dict[str, Any]], message: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError, match=message):
        ScoringSection(**yaml.safe_load(yaml.safe_dump({"contract": {"rules": found}})))


def test_what_is_asked_too_early_is_refused_without_spark(tmp_path: Path) -> None:
    """No contract, no scored window, a margin that is none."""
    Place(tmp_path)
    rule = "scoring.contract.rules=[{rule: rows, low: 1}]"
    with pytest.raises(ContractError, match=r"no rule in scoring\.contract"):
        contract.check(Work(load(tmp_path / "conf", "tiny")), "2020-02")
    with pytest.raises(ContractError, match=r"no scoring set of window 2020-02.*sparkml-ops score"):
        contract.check(Work(load(tmp_path / "conf", "tiny", overrides=(rule,))), "2020-02")
    with pytest.raises(ContractError, match="a margin of -1"):
        contract.learn(Work(load(tmp_path / "conf", "tiny")), margin=-1)
