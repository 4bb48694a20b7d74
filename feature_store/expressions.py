"""SQL expressions of a configuration: row by row, deterministic, and nothing that leaves the row.

Spark's SQL reaches the JVM (`java_method`), files and whole queries. So an expression passes two
checks before Spark sees it: its text is split into words, and every word that is called must be on
a list of functions; and sqlglot's tree of it may hold only known kinds of nodes. The text itself
is handed on, not sqlglot's rendering, which is not always the same function in Spark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from feature_store.errors import ContractError
from feature_store.nearest import nearest

__all__ = ["FUNCTIONS", "check", "columns_of"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    """
    abs acos add_months array array_contains array_max array_min ascii asin atan atan2 bigint boolean bround btrim cast cbrt ceil ceiling
    char_length coalesce concat concat_ws contains cos cosh crc32 date date_add date_diff date_format date_part date_sub date_trunc datediff
    day dayofmonth dayofweek dayofyear decimal degrees double e element_at endswith exp expm1 extract float floor from_unixtime from_utc_timestamp
    greatest hash hour hypot if ifnull initcap instr int isnan isnotnull isnull last_day lcase least left length levenshtein ln locate log
    log10 log1p log2 lower lpad ltrim make_date make_timestamp md5 minute mod month months_between nanvl next_day nullif nvl nvl2 pi pmod
    position pow power quarter radians regexp_extract regexp_like regexp_replace replace reverse right rint round rpad rtrim second sha2 sign
    signum sin sinh size smallint split split_part sqrt startswith string substr substring tan tanh timestamp timestamp_micros timestamp_millis
    timestamp_seconds timestampadd timestampdiff tinyint to_date to_timestamp to_unix_timestamp to_utc_timestamp translate trim trunc
    try_add try_cast try_divide try_element_at try_multiply try_subtract try_to_timestamp ucase unix_micros unix_millis unix_seconds upper
    weekday weekofyear width_bucket xxhash64 year
    """
)

# Words that an opening parenthesis may follow without being a call.
_KEYWORDS = _words("and or not in case when then else between like ilike rlike div is from as both leading trailing for")
# Functions that Spark calls without parentheses; a column of such a name is written in backticks.
_BARE = _words(
    "current_catalog current_database current_date current_schema current_time current_timestamp current_user localtimestamp session_user user"
)
_NODES = _words(
    """
    Add And Between BitwiseAnd BitwiseOr BitwiseXor Boolean Bracket Case Cast Column DPipe DataType DataTypeParam Div EQ Escape GT GTE
    Identifier In IntDiv Interval Is LT LTE Like ILike Literal Mod Mul NEQ Neg Not Null NullSafeEQ NullSafeNEQ Or Paren RegexpLike RegexpILike Sub
    TryCast Var Anonymous Tuple
    """
)
# Strings hold neither backslashes nor double quotes, so that every reader agrees where one ends.
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<string>'[^'\\]*')|(?P<quoted>`[^`]+`)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?[A-Za-z]{0,2}|\.[0-9]+)|(?P<refused>--|/\*)|(?P<sign>::|<=>|\|\||[<>!=]=|<>|[-+*/%<>=(),.\[\]&|^])"
)
_LONGEST = 4_000


def check(expression: str) -> str:
    """The expression, if it holds only what a feature's definition may hold.

    Args:
        expression: Spark SQL over the columns of one row.

    Returns:
        The same text without surrounding space.

    Raises:
        ContractError: A function outside `FUNCTIONS`, a query, an aggregate, a lambda, a comment, a second statement.

    >>> check("coalesce(dep_delay, 0) > 15")
    'coalesce(dep_delay, 0) > 15'
    >>> check("java_method('java.lang.System', 'exit', 1)")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    feature_store.errors.ContractError: found the function `java_method` in "java_method('java.lang.System', 'exit', 1)"; ...
    """
    text = expression.strip() if isinstance(expression, str) else ""
    if not text or len(text) > _LONGEST:
        raise _refusal(f"{len(text)} characters", str(expression), f"1 to {_LONGEST}", "write one expression over the columns of a row")
    _check_calls(text)
    for node in _parse(text).walk():
        if type(node).__name__ not in _NODES and not isinstance(node, exp.Func):
            raise _refusal(f"{type(node).__name__.lower()}", text, "arithmetic, comparisons, case, cast and functions of one row", "rewrite it")
        if isinstance(node, exp.AggFunc | exp.Exists):
            raise _refusal(f"the aggregate {type(node).__name__.lower()}", text, "an expression over one row", "declare an aggregate instead")
    return text


def columns_of(expression: str) -> tuple[str, ...]:
    """Names of the columns that a checked expression reads, sorted.

    >>> columns_of("dep_delay > 15 and weather.visib < 1")
    ('dep_delay', 'weather')
    """
    return tuple(sorted({column.parts[0].name for column in _parse(check(expression)).find_all(exp.Column)}))


def _parse(text: str) -> exp.Expression:
    try:
        trees = sqlglot.parse(text, read="spark")
    except SqlglotError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refusal(f"no SQL expression ({reason})", text, "Spark SQL", "correct it") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Expression):
        raise _refusal(f"{len(trees)} statements", text, "one expression", "remove the rest")
    return trees[0]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup == "refused":
            raise _refusal(
                f"{text[position : position + 2]!r} at position {position}",
                text,
                "names, numbers, 'strings' without backslashes, operators and calls",
                "remove it; write a pattern with classes as [0-9]; put odd names in backticks",
            )
        position = found.end()
        if found.lastgroup != "space":
            yield str(found.lastgroup), found[0]


def _check_calls(text: str) -> None:
    tokens = [("start", ""), *_tokens(text), ("end", ""), ("end", "")]
    for (_, before), (kind, word), (_, after) in zip(tokens, tokens[1:], tokens[2:], strict=False):
        name = word.strip("`").lower()
        called = after == "(" and kind in ("word", "quoted") and name not in _KEYWORDS
        if kind == "word" and name in _BARE and before != ".":
            raise _refused_function(name, text)
        # A dot or backticks would call a function of a schema, not the built-in one of that name.
        if called and (kind == "quoted" or before == "."):
            raise _refusal(
                f"the function `{name}` called with a dot or backticks", text, "a built-in function by its plain name", f"write {name}(...)"
            )
        if called and name not in FUNCTIONS:
            raise _refused_function(name, text)


def _refused_function(name: str, text: str) -> ContractError:
    close = nearest(name, FUNCTIONS, cutoff=0.0)
    return _refusal(f"the function `{name}`", text, "one of feature_store.expressions.FUNCTIONS", f"the nearest allowed one is `{close}`")


def _refusal(found: str, text: str, expected: str, mend: str) -> ContractError:
    return ContractError(f'{found} in "{text[:200]}"', expected=expected, mend=mend)
