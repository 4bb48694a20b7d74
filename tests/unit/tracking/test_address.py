"""Model addresses: a registered name with an alias or a number, nothing else."""

from __future__ import annotations

import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.tracking import ModelAddress, parse_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/flights@champion", ModelAddress("flights", "champion")),
        ("models:/flights/12", ModelAddress("flights", 12)),
        ("models:/main.ops.flights@canary-2", ModelAddress("main.ops.flights", "canary-2")),
    ],
)
def test_registered_models_are_addressed_by_alias_or_number(uri: str, expected: ModelAddress) -> None:
    """The two forms are parsed into a name and what is asked of it."""
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "runs:/0123456789abcdef/model",
        "file:///srv/model",
        "/srv/model",
        "s3://bucket/model",
        "https://host/model",
        "models:/m-0123456789abcdef",
        "models:/flights",
        "models:/flights/champion",
        "models:/flights/0",
        "models:/flights/1/../2",
        "models:/../flights/1",
        "models:/flights@latest",
        "models:/flights@v3",
        "models:/flights@3",
        "models:/fl'ights/1",
        "models:/flights@champion/data",
        "models://profile@databricks/flights/1",
        "",
    ],
)
def test_any_other_address_is_refused(uri: str) -> None:
    """Runs, paths, object stores and odd names would load what nobody registered."""
    with pytest.raises(ContractError, match="found"):
        parse_uri(uri)
