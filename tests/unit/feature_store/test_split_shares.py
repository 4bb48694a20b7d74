"""Splits by shares of keys or groups: what a split says, reads back and refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feature_store.declaration import TrainingSetDeclaration
from feature_store.errors import ContractError
from feature_store.examples import Examples
from feature_store.split import Split

UNTIL = datetime(2013, 7, 1, tzinfo=UTC)
SHARES = {"validation": 0.1, "evaluation": 0.2}


@pytest.mark.parametrize(
    "split",
    [Split({"train": None}, SHARES), Split({"train": UNTIL}, SHARES, 3, group=("a", "b")), Split({"train": UNTIL}, ("held", 0.2), group=("a",))],
    ids=["by hash", "by group", "held out by group"],
)
def test_a_split_is_read_back_exactly(split: Split) -> None:
    """A stored set is rebuilt with the split that it was made with."""
    assert Split.from_document(split.document()) == split


def test_one_share_is_one_thing_however_it_is_written() -> None:
    """The identity of a training set does not depend on the spelling of its split."""
    pair, mapping = Split({"train": UNTIL}, ("held", 0.2)), Split({"train": UNTIL}, {"held": 0.2})

    assert pair.document() == mapping.document() == {"boundaries": [["train", UNTIL.isoformat()]], "holdout": ["held", 0.2], "seed": 0}
    assert Split({"train": UNTIL}, {}).holdout is None


def test_the_parts_that_a_hash_tells_apart_are_named() -> None:
    """A part by time may share keys with them, these may not with each other."""
    split = Split({"train": UNTIL, "later": UNTIL + timedelta(days=1)}, SHARES)

    assert split.parts == ("train", "later", "validation", "evaluation")
    assert split.hashed == ("train", "validation", "evaluation")
    assert Split({"train": UNTIL}).hashed == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"holdout": {"a": 0.5, "b": 0.5}}, "less than 1 together"),
        ({"holdout": {"a": 0.5, "train": 0.1}}, "a name of its own"),
        ({"boundaries": {"train": None, "later": UNTIL}}, "datetimes with a zone"),
        ({"group": ("customer",), "holdout": None}, "the group .* without a share"),
    ],
)
def test_a_split_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    """Found before Spark starts."""
    with pytest.raises(ContractError, match=message):
        Split(**{"boundaries": {"train": UNTIL}, "holdout": SHARES, **changes})


def test_a_project_declares_group_shares_and_weight() -> None:
    """A share as evaluation is cut from the rows before `until`, a length lies after it."""
    declared = {"spine": "raw", "time": "at", "row_key": ("id",), "label": "late", "weight": "coalesce(amount, 1)"}
    by_group = TrainingSetDeclaration(**declared, split={"validation": 0.1, "evaluation": 0.2, "group": ["customer"]}).options(UNTIL)
    by_time = TrainingSetDeclaration(**declared, split={"evaluation": "31d"}).options(UNTIL)

    assert by_group["split"] == Split({"train": UNTIL}, SHARES, group=("customer",))
    assert by_time["split"] == Split({"train": UNTIL, "evaluation": UNTIL + timedelta(days=31)})
    assert by_group["weight"] == "coalesce(amount, 1)"
    assert (by_group["site"], TrainingSetDeclaration(**declared, site="shop").options()["site"]) == (None, "shop")
    assert "site" not in TrainingSetDeclaration(**declared).model_dump()
    with pytest.raises(ValueError, match="java_method"):
        TrainingSetDeclaration(**{**declared, "weight": "java_method('a')"})


def test_sets_without_weight_site_or_group_keep_their_ids() -> None:
    """Their definition says nothing of them; one with a weight and sites is read back with them."""
    plain = Examples("at", "late", None, ("id",), Split({"train": UNTIL}), timedelta(0), 0)
    weighted = Examples("at", "late", None, ("id",), Split({"train": UNTIL}, SHARES, group=("customer",)), timedelta(0), 0, "amount", "shop")

    assert not {"weight", "site"} & plain.document().keys()
    assert weighted.document()["weight"] == "amount"
    assert Examples.from_document({**weighted.document(), "spine": "raw"}) == weighted
    assert {"customer", "shop"} <= set(weighted.needed)
