"""How one rank ended, as a row on its way to the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SCHEMA", "Kind", "Outcome", "root_cause"]

Kind = Literal["returned", "raised", "died", "hung", "lost", "refused", "stopped"]

# What explains the others stands first: a raised exception or a death breaks the collectives of the other ranks.
_CAUSES: tuple[Kind, ...] = ("raised", "died", "hung", "lost", "refused", "stopped")

SCHEMA = "rank int, kind string, type string, message string, traceback string, result binary"


@dataclass(frozen=True)
class Outcome:
    """One rank's end.

    Args:
        kind: `returned`; `raised` its own exception; `died` by a signal or an exit; `hung` beyond the limit;
            `lost` its peers; `refused` to run as a retry of Spark's; `stopped` because another rank failed.
        type: Name of the exception or signal.
        traceback: Traceback, stacks or the end of the error output.
        result: What the task returned.
    """

    rank: int
    kind: Kind
    type: str = ""
    message: str = ""
    traceback: str = ""
    result: bytes | None = None

    def to_batch(self) -> pa.RecordBatch:
        """The one row of `SCHEMA`."""
        import pyarrow as pa

        types = {"rank": pa.int32(), "result": pa.binary()}
        values = asdict(self)
        arrays = [pa.array([values[field.name]], types.get(field.name, pa.string())) for field in fields(self)]
        return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields(self)])

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Outcome:
        """Read one row of `SCHEMA`."""
        result = row["result"]
        return cls(**{**row, "result": None if result is None else bytes(result)})


def root_cause(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The failure that explains the others; None where every rank returned. A hang has the stacks of all ranks.

    >>> root_cause([Outcome(0, "lost"), Outcome(1, "raised", "ValueError"), Outcome(2, "died", "SIGABRT")]).rank
    1
    >>> root_cause([Outcome(0, "returned")]) is None
    True
    """
    failures = [outcome for outcome in outcomes if outcome.kind != "returned"]
    cause = min(failures, key=lambda outcome: (_CAUSES.index(outcome.kind), outcome.rank), default=None)
    if cause is None or cause.kind != "hung":
        return cause
    # Which rank the others wait for shows in the stacks of all.
    return replace(cause, traceback="\n".join(f"rank {outcome.rank}:\n{outcome.traceback}" for outcome in failures))
