"""Expressions of a configuration stay inside their row."""

from __future__ import annotations

import pytest

from feature_store.errors import ContractError
from feature_store.expressions import FUNCTIONS, check, columns_of

ALLOWED = [
    "a + 1 - b * c / d % 2",
    "coalesce(a, b, 0) > 15 and not (c or d)",
    "case when a > 1 then 'x' else 'y' end",
    "case a when 1 then 2 end",
    "a between 1 and 2 or a not in (3, 4)",
    "a is not null and b is distinct from c and d <=> e",
    "name like 'a%' or name rlike '[0-9]+' or name not like 'it''s'",
    "cast(a as decimal(10,2)) + try_cast(b as int) + c::double",
    "at + interval 2 hours > timestamp '2013-01-01 00:00:00Z'",
    "extract(hour from at) + date_part('hour', at) + hour(at)",
    "date_trunc('day', at) - interval '1' day",
    "timestampdiff(HOUR, a, b)",
    "trim(both 'x' from a) || substring(b, 1, 2)",
    "split(a, ',')[1] = place.name",
    "`my column` + 1.5e-3 + .5 - -1",
    "if(isnan(a), 0, a) + greatest(a, b)",
]

REFUSED = {
    "java_method('java.lang.System', 'exit', 1)": "java_method",
    "JAVA_METHOD ('a', 'b')": "java_method",
    "reflect('a', 'b')": "reflect",
    "try_reflect('a', 'b')": "try_reflect",
    "not(java_method('a', 'b'))": "java_method",
    "input_file_name()": "input_file_name",
    "`reflect`('a', 'b')": "reflect",
    "spark_catalog.default.upper(a)": "upper",
    "identifier('java_method')('a', 'b')": "identifier",
    "transform(a, x -> reflect(x, 'b'))": "transform",
    "exists(a, x -> true)": "exists",
    "sum(a)": "sum",
    "sum(a) over (partition by b)": "sum",
    "count(*)": "count",
    "rand() > 0.5": "rand",
    "at < current_timestamp": "current_timestamp",
    "a = current_user()": "current_user",
    "at < now()": "now",
}

MALFORMED = [
    "",
    "   ",
    "a = 1; drop table x",
    "a, b",
    "a as b",
    "a b",
    "*",
    "(select 1)",
    "a in (select b from c)",
    "case (select 1) when 1 then 2 end",
    "a -- b",
    "a /* b */ + 1",
    "java_method /**/ ('a')",
    ":name",
    "?",
    "{fn hour(a)}",
    '"a"',
    "'it\\'s'",
    "r'\\d'",
    "coalesce(a => 1)",
    "upper(distinct a)",
    "a +",
    "x" * 5000,
]


@pytest.mark.parametrize("expression", ALLOWED)
def test_an_allowed_expression_is_handed_on_as_written(expression: str) -> None:
    """What passes is the text itself: a rendering could mean something else in Spark."""
    assert check(f"  {expression}\n") == expression


@pytest.mark.parametrize(("expression", "name"), REFUSED.items())
def test_a_function_outside_the_list_is_named(expression: str, name: str) -> None:
    """The error names the function and an allowed one."""
    with pytest.raises(ContractError, match=f"the function `{name}`.*(the nearest allowed one is `[a-z0-9_]+`|write upper|write reflect)") as caught:
        check(expression)

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("expression", MALFORMED)
def test_anything_but_one_expression_over_a_row_is_refused(expression: str) -> None:
    """Queries, statements, comments, parameters and escapes never reach Spark."""
    with pytest.raises(ContractError):
        check(expression)


def test_the_nearest_allowed_function_is_shown() -> None:
    """A mistyped name leads to the meant one."""
    with pytest.raises(ContractError, match="the nearest allowed one is `coalesce`"):
        check("coalese(a, 0)")


def test_no_function_of_the_list_leaves_the_row() -> None:
    """The list holds none of the functions that reach the JVM, files, the session or chance."""
    forbidden = (
        "java_method reflect try_reflect input_file_name rand randn uuid now current_timestamp version from_json explode raise_error assert_true"
    )

    assert FUNCTIONS.isdisjoint(forbidden.split())


def test_columns_are_those_the_expression_reads() -> None:
    """A field of a struct counts as its column, units and strings do not."""
    found = columns_of("timestampdiff(HOUR, a, `b c`) > 1 and weather.visib = 'd' and extract(day from e) = 1")

    assert found == ("a", "b c", "e", "weather")
