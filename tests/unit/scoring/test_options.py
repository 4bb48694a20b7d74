"""The section `scoring` of the configuration."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sparkml_ops.config.scoring import ScoringSection


def test_defaults_refuse_more_than_one_row_in_a_hundred() -> None:
    """What nobody configured is strict."""
    found = ScoringSection()

    assert (found.engine, found.max_quarantine_share, found.allow_empty, found.allowed_loaders) == ("auto", 0.01, False, ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "file"}, "'auto', 'files', 'arrow' or 'pandas'"),
        ({"target": "Scores; DROP"}, "table name"),
        ({"target": "scores@v2"}, "table name"),
        ({"max_quarantine_share": 1.5}, "less than or equal to 1"),
        ({"checks": {"distance": {"minimum": 5, "maximum": 1}}}, "minimum 5.0 is above maximum 1.0"),
        ({"shadow": True}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, object], message: str) -> None:
    """A wrong option fails when the configuration is read."""
    with pytest.raises(ValidationError, match=message):
        ScoringSection.model_validate(values)
