"""The contract of a model's inputs: what a window's scoring set keeps to before it is scored, judged in one pass.

One idea with the expectations of feature tables: the same rules, the same pass, the same judgement. Here they are about rows that are
scored; a row that breaks one is set aside with the rule as its reason, beside all other reasons of scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_store.checks import require_columns
from feature_store.names import quote
from feature_store.quality import Expectation, Verdict
from feature_store.quality.rows import broken, check_frame, mark_repeated
from feature_store.quality.tally import take_tally
from feature_store.quality.verdicts import judge
from feature_store.table import definition_digest
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.reason import Reason

__all__ = ["APART", "Judged", "contract_hash", "judge_rows", "mark_broken", "refuse"]

APART = "__apart"
_SHOWN = 5


@dataclass(frozen=True)
class Judged:
    """A scoring set against its contract.

    Args:
        contract: Digest of the rules.
        rows: Rows that were judged.
        bad: Rows that break a rule which quarantines.
        verdicts: One for each rule.
        apart: The rules that set rows aside, those alone that some row breaks.
    """

    contract: str
    rows: int
    bad: int
    verdicts: tuple[Verdict, ...]
    apart: tuple[Expectation, ...] = ()

    @property
    def worst(self) -> tuple[Verdict, ...]:
        """Verdicts of rules that do not hold, the gravest first."""
        order = ("fail", "quarantine", "warn")
        return tuple(sorted((item for item in self.verdicts if item.outcome in order), key=lambda item: order.index(item.outcome)))


def contract_hash(expectations: Sequence[Expectation]) -> str:
    """Sixteen digits over the rules, whatever their order: what was promised when a window was judged.

    >>> contract_hash([Expectation("not_null", "a"), Expectation("rows", low=1)]) == contract_hash([Expectation("rows", low=1), Expectation("not_null", "a")])
    True
    """
    return definition_digest(sorted((item.document() for item in expectations), key=repr))[:16]


def judge_rows(rows: DataFrame, expectations: Sequence[Expectation], *, row_key: Sequence[str], time: str, at: datetime, what: str) -> Judged:
    """Judge rows by a contract in one job; a row of counts for each twelve rules reaches the driver.

    A column of another type than the contract says breaks the `type` rule alone: what else is said of it cannot be judged.

    Args:
        rows: The scoring set.
        expectations: The rules.
        row_key: What identifies a row.
        time: Column (timestamp) of each row's time.
        at: The instant from which `fresh` counts, UTC: the window's end, or the clock where that is earlier.
        what: The rows in words, for messages.

    Raises:
        ContractError: A column is missing, or a rule cannot judge its type.
    """
    require_columns(rows, [name for item in expectations if not item.sql for name in item.read], f"{what}, which its contract names")
    types = {item.name: item.dataType.simpleString() for item in rows.schema.fields}
    changed = {item.column for item in expectations if item.rule == "type" and types[item.column or ""] != item.type}
    kept = [item for item in expectations if item.rule == "type" or not changed.intersection(item.read)]
    check_frame(kept, rows, what)
    about_rows = [item for item in kept if not item.of_table]
    marked = _marked(rows, about_rows, row_key)
    breaks = [broken(item, rows.schema, place) for place, item in enumerate(about_rows)]
    bad = _any([condition for item, condition in zip(about_rows, breaks, strict=True) if item.otherwise == "quarantine"])
    profiled = dict.fromkeys([*([time] if any(item.rule == "fresh" for item in kept) else []), *(i.column or "" for i in kept if i.rule == "nulls")])
    found = take_tally(marked, tuple(profiled), breaks, bad, hashed=False)
    verdicts = {item.name: verdict for item, verdict in zip(kept, judge(kept, found, event_time=time, as_of=at, last=None), strict=True)}
    apart = tuple(item for item in about_rows if verdicts[item.name].outcome == "quarantine")
    unjudged = (Verdict(item.name, item.rule, "not judged", found="its column has another type") for item in expectations)
    every = tuple(verdicts.get(item.name, verdict) for item, verdict in zip(expectations, unjudged, strict=True))
    return Judged(contract_hash(expectations), found.rows, found.bad, every, apart)


def mark_broken(rows: DataFrame, apart: Sequence[Expectation], row_key: Sequence[str]) -> DataFrame:
    """The rows with one more column: the first rule of some that each breaks as a reason not to score it, or null."""
    marked = _marked(rows, apart, row_key)
    reasons = [F.when(broken(item, rows.schema, place), F.lit(Reason.BROKEN.of(item.name))) for place, item in enumerate(apart)]
    return marked.select(*(F.col(quote(name)) for name in rows.columns), F.coalesce(*reasons, F.lit(None).cast("string")).alias(APART))


def refuse(judged: Judged, what: str) -> None:
    """Refuse a scoring set that breaks a rule which says `fail`.

    Raises:
        ContractError: With the rules and what was found.
    """
    failed = [verdict for verdict in judged.verdicts if verdict.outcome == "fail"]
    if failed:
        said = "; ".join(f"`{item.name}` broken by {f'{item.failed} rows' if item.failed else item.found}" for item in failed[:_SHOWN])
        more = f"; and {len(failed) - _SHOWN} more rules" if len(failed) > _SHOWN else ""
        raise ContractError(
            f"{said}{more} in {what}",
            expected="what scoring.contract says",
            mend="correct the source, or edit the contract; nothing was scored",
        )


def judged_until(end: datetime, now: datetime) -> datetime:
    """The instant from which a window's freshness counts.

    >>> judged_until(datetime(2013, 8, 1), datetime(2014, 1, 1)).month
    8
    """
    return min(end, now)


def _marked(rows: DataFrame, expectations: Sequence[Expectation], row_key: Sequence[str]) -> DataFrame:
    marks = ((place, item) for place, item in enumerate(expectations) if item.rule == "unique")
    return reduce(lambda frame, mark: mark_repeated(frame, mark[1], mark[0], row_key, None), marks, rows)


def _any(conditions: Sequence[Column]) -> Column:
    return reduce(Column.__or__, conditions, F.lit(False))
