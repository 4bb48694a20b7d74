"""`since`: where the training rows begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feature_store.declaration import TrainingSetDeclaration
from feature_store.errors import ContractError
from feature_store.split import Split

UNTIL = datetime(2013, 7, 1, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=60)
DECLARED = {"spine": "raw", "time": "at", "row_key": ("id",), "label": "late"}


def test_a_split_without_it_keeps_its_document() -> None:
    """The ids of training sets from before stay what they are."""
    assert Split({"train": UNTIL}).document() == {"boundaries": [["train", "2013-07-01T00:00:00+00:00"]], "holdout": None, "seed": 0}


def test_a_split_with_it_is_read_back_exactly() -> None:
    """And is another split."""
    split = Split({"train": UNTIL}, ("validation", 0.1), 3, SINCE)

    assert Split.from_document(split.document()) == split
    assert split.document() != Split({"train": UNTIL}, ("validation", 0.1), 3).document()


@pytest.mark.parametrize("since", [UNTIL, UNTIL + timedelta(days=1)])
def test_it_lies_before_until(since: datetime) -> None:
    """An empty range is a mistake."""
    with pytest.raises(ContractError, match="expected since before until"):
        Split({"train": UNTIL}, since=since)


def test_it_has_a_zone() -> None:
    """As every instant has."""
    with pytest.raises(ContractError, match="datetimes with a zone"):
        Split({"train": UNTIL}, since=datetime(2013, 5, 1))


def test_a_declaration_passes_it_on() -> None:
    """Only a declared split can begin somewhere."""
    declared = TrainingSetDeclaration(**DECLARED, split={"evaluation": "31d"})

    assert declared.options(UNTIL, SINCE)["split"] == declared.split.at(UNTIL, 0, SINCE)  # type: ignore[union-attr]
    assert declared.options(UNTIL)["split"].since is None
    with pytest.raises(ContractError, match="without a declared split"):
        TrainingSetDeclaration(**DECLARED).options(UNTIL, SINCE)


@pytest.mark.parametrize(("since", "replay"), [(None, 0.1), (SINCE, 0.8), (SINCE, -0.1)], ids=["without since", "more than is free", "negative"])
def test_a_replay_that_cannot_be_meant(since: datetime | None, replay: float) -> None:
    """Of rows before `since`, and of keys that no share holds out."""
    with pytest.raises(ContractError, match="replay"):
        Split({"train": UNTIL}, ("validation", 0.3), 0, since, replay=replay)


def test_a_declaration_passes_the_replay_on() -> None:
    """With its split only."""
    declared = TrainingSetDeclaration(**DECLARED, split={"evaluation": "31d"})

    assert declared.options(UNTIL, SINCE, 0.25)["split"].replay == 0.25
    with pytest.raises(ContractError, match=r"replay 0\.25 without a declared split"):
        TrainingSetDeclaration(**DECLARED).options(UNTIL, None, 0.25)
