"""Row functions without a session: what can be declared, and a single row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from pydantic import ValidationError

import feature_store as fs
from feature_store.declaration import TrainingSetDeclaration
from feature_store.row_function import function_of


def ratio(part: pa.Array, whole: pa.Array) -> pa.Array:
    """A share."""
    return pc.divide(pc.cast(part, pa.float64()), whole)


SHARE = fs.RowFunction("share", "double", {"part": "bigint", "whole": "double"}, function=ratio, unit="share")
TEXT = """
spine: raw
time: at
row_key: [id]
label: late
columns: [distance]
functions:
  speed: {type: double, unit: mph, inputs: {distance: double, minutes: int}, expression: 60 * distance / minutes}
  fast: {type: boolean, inputs: {speed: double}, expression: speed > 400}
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "with both or neither"),
        ({"expression": "a + 1", "function": ratio}, "with both or neither"),
        ({"expression": "a + b"}, r"the inputs \['a'\].*reads \['a', 'b'\]"),
        ({"expression": "reflect('a', 'b')"}, "the function `reflect`"),
        ({"function": ratio, "inputs": {}}, "without inputs"),
        ({"expression": "a", "inputs": {"a": "doubel"}}, "the type 'doubel'"),
        ({"function": ratio, "type": "text"}, "the type 'text'"),
    ],
)
def test_one_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    """Before anything runs."""
    with pytest.raises(fs.ContractError, match=message):
        fs.RowFunction(**{"name": "x", "type": "double", "inputs": {"a": "double"}, **options})


def test_a_single_row_needs_no_session_for_functions_of_arrays() -> None:
    """A later function reads what an earlier one made; null stays null."""
    twice = fs.RowFunction("twice", "double", {"share": "double"}, function=lambda share: pc.multiply(share, 2.0))

    assert fs.apply_functions([SHARE, twice], {"part": 1, "whole": 4, "other": "x"}) == {"share": 0.25, "twice": 0.5}
    assert fs.apply_functions([SHARE], {"part": None, "whole": 4}) == {"share": None}


@pytest.mark.parametrize(
    ("item", "row", "message"),
    [
        (SHARE, {"part": 1, "hole": 2}, r"no value of `whole` .did you mean `hole`.*`share`"),
        (SHARE, {"part": 1.5, "whole": 2}, "`part` = 1.5.*expected a value of type bigint"),
        (SHARE, {"part": "1", "whole": 2}, "`part` = '1'"),
        (SHARE, {"part": 1, "whole": 2, "share": 3}, "a value of `share` in the row"),
        (fs.RowFunction("at2", "timestamp", {"at": "timestamp"}, function=lambda at: at), {"at": datetime(2013, 1, 1)}, "an instant with a zone"),
        (fs.RowFunction("x", "bigint", {"n": "bigint"}, function=lambda n: pc.divide(n, 2.0)), {"n": 1}, "type double .*expected int64"),
        (fs.RowFunction("x", "bigint", {"n": "bigint"}, function=pc.sum), {"n": 1}, "a Int64Scalar.*an Arrow array of 1 values"),
        (fs.RowFunction("x", "bigint", {"n": "bigint"}, function="no.such"), {"n": 1}, "the builder `no.such`"),
    ],
)
def test_a_row_or_a_result_that_does_not_fit(item: fs.RowFunction, row: dict[str, Any], message: str) -> None:
    """Named with its function, its type and the mend."""
    with pytest.raises(fs.ContractError, match=message):
        fs.apply_functions([item], row)


def test_an_instant_comes_back_in_utc() -> None:
    """Whatever zone the function computes in."""
    at = datetime(2013, 1, 1, 12, tzinfo=UTC)
    moved = fs.RowFunction("moved", "timestamp", {"at": "timestamp"}, function=lambda at: pc.cast(at, pa.timestamp("us", "America/New_York")))

    assert fs.apply_functions([moved], {"at": at}) == {"moved": at}


class TestDeclaration:
    def test_yaml_and_python_give_the_same_objects(self) -> None:
        """In the order in which they are written, with the columns of the spine that they read."""
        declared = TrainingSetDeclaration(**yaml.safe_load(TEXT))
        speed = fs.RowFunction("speed", "double", {"distance": "double", "minutes": "int"}, expression="60 * distance / minutes", unit="mph")
        fast = fs.RowFunction("fast", "boolean", {"speed": "double"}, expression="speed > 400")

        assert declared.options()["functions"] == (speed, fast)
        assert declared.spine_inputs(["id", "at", "minutes", "distance"]) == ["minutes", "distance"]

    def test_a_wrong_one_is_refused_when_it_is_read(self) -> None:
        """Expressions are held to the allow-list with the rest of the configuration."""
        with pytest.raises(ValidationError, match="the function `reflect`"):
            TrainingSetDeclaration(**yaml.safe_load(TEXT.replace("speed > 400", "reflect(speed)")))

    def test_projects_without_functions_keep_their_hash(self) -> None:
        """Finished runs are compared with the declared configuration, in which the key did not exist."""
        plain = yaml.safe_load(TEXT)
        del plain["functions"]

        assert "functions" not in TrainingSetDeclaration(**plain).model_dump(mode="json")
        assert "functions" in TrainingSetDeclaration(**yaml.safe_load(TEXT)).model_dump(mode="json")


class TestRecord:
    def test_an_expression_comes_back(self) -> None:
        """`rebuild` reads it from the definition; words do not count."""
        item = fs.RowFunction("x", "double", {"a": "decimal(4, 2)"}, expression="cast(a as double)")

        assert function_of(item.document()) == item

    def test_of_a_python_object_only_the_name_is_kept(self) -> None:
        """As for transforms: what cannot be found again says so."""
        with pytest.raises(fs.ContractError, match=r"`share` that was given as the Python object .*ratio.*entry point"):
            function_of(SHARE.document())

    def test_an_entry_point_is_held_to_its_code(self) -> None:
        """A builder of the flights project stands for any."""
        item = fs.RowFunction("x", "double", {"a": "double"}, function="nyc_airlines")

        assert function_of(item.document()) == item
        with pytest.raises(fs.ContractError, match=r"other code behind the entry point `nyc_airlines`"):
            function_of({**item.document(), "code": "0"})
