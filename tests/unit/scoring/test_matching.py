"""Columns against a model's signature, before any task starts."""

from __future__ import annotations

import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.matching import Match, match
from sparkml_ops.scoring.signature import Field


def matched(found: dict[str, str], *fields: Field) -> tuple[Match, ...]:
    return match(found, fields, where="table `x`")


def test_columns_are_found_by_name_in_the_model_s_order() -> None:
    """Permuted columns and further ones do not matter."""
    matches = matched({"c": "string", "b": "string", "a": "double"}, Field("a", "double"), Field("b", "string"))

    assert [found.field.name for found in matches] == ["a", "b"]


@pytest.mark.parametrize(
    ("found", "wanted", "bits"),
    [
        ("double", "double", None),
        ("int", "double", None),
        ("bigint", "double", 53),
        ("float", "double", None),
        ("int", "float", 24),
        ("smallint", "float", None),
        ("bigint", "int", 31),
        ("int", "bigint", None),
        ("decimal(10,2)", "double", None),
        ("timestamp", "timestamp", None),
        ("array<float>", "array<double>", None),
        ("array<smallint>", "array<bigint>", None),
        ("struct<a:double,b:array<string>>", "struct<a:double,b:array<string>>", None),
    ],
)
def test_lossless_types_pass_and_whole_numbers_carry_their_limit(found: str, wanted: str, bits: int | None) -> None:
    """Whole numbers fit a double up to 2^53: others are looked at row by row."""
    assert matched({"a": found}, Field("a", wanted))[0].bits == bits


def test_a_whole_number_that_the_model_reads_as_a_double_has_the_double_s_limit() -> None:
    """Our models declare bigint and compute in float64."""
    assert matched({"a": "bigint"}, Field("a", "bigint", bits=53))[0].bits == 53


@pytest.mark.parametrize(
    ("found", "wanted", "advice"),
    [
        ("string", "double", "no lossless cast exists"),
        ("double", "bigint", "no lossless cast exists"),
        ("double", "float", "no lossless cast exists"),
        ("decimal(38,2)", "double", "no lossless cast exists"),
        ("boolean", "double", "CAST(`a` AS double)"),
        ("int", "string", "CAST(`a` AS string)"),
        ("date", "timestamp", "CAST(`a` AS timestamp)"),
        ("timestamp_ntz", "timestamp", "to_utc_timestamp"),
        ("timestamp", "bigint", "no lossless cast exists"),
        ("array<bigint>", "array<double>", "no lossless cast exists"),
        ("array<array<float>>", "array<float>", "row by row: flatten(`a`)"),
        ("struct<a:double,c:double>", "struct<a:double,b:double>", "no lossless cast exists"),
    ],
)
def test_a_wrong_type_names_both_and_whether_a_cast_exists(found: str, wanted: str, advice: str) -> None:
    """Nothing is converted by guess."""
    with pytest.raises(ContractError) as refused:
        matched({"a": found}, Field("a", wanted))

    assert f"`a` of type {found} where the model reads {wanted}" in str(refused.value)
    assert advice in str(refused.value)


def test_fields_of_a_struct_are_found_by_name_too() -> None:
    """The rows keep the table's order: a model gets a map."""
    assert matched({"a": "struct<y:double,x:struct<q:int,p:int>>"}, Field("a", "struct<x:struct<p:int,q:int>,y:double>")) == (
        Match(Field("a", "struct<y:double,x:struct<q:int,p:int>>")),
    )


def test_a_missing_column_is_refused_with_the_nearest_name() -> None:
    """A renamed column is found by the reader of the message."""
    with pytest.raises(ContractError, match=r"no column `distance` \(did you mean `distence`\?\)"):
        matched({"distence": "double"}, Field("distance", "double"))


def test_at_most_five_faults_are_shown() -> None:
    """The message stays short whatever is wrong."""
    with pytest.raises(ContractError, match="and 3 more") as refused:
        matched({}, *(Field(f"feature_{index}", "double") for index in range(8)))

    assert str(refused.value).count("no column") == 5


def test_an_optional_input_may_be_absent() -> None:
    """MLflow signatures know columns that are not required."""
    assert [found.field.name for found in matched({"a": "double"}, Field("a", "double"), Field("b", "double", optional=True))] == ["a"]
