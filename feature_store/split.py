"""Which rows of a training set are for what: by time, with a share of keys held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from feature_store.errors import ContractError
from feature_store.timeline import micros

__all__ = ["Split"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS = 1_000_000  # a share is cut to a millionth


@dataclass(frozen=True)
class Split:
    """Ordered parts by spine time, and a share of the first one's keys as another part.

    Args:
        boundaries: Name of a part to its exclusive upper UTC instant, in ascending order; rows beyond the last are left out.
        holdout: Name of a part, and the share (0 to 1, exclusive) of the first part's row keys that go to it.
        seed: Seed of the hash that chooses them.
        since: Inclusive lower UTC instant of the first part; earlier rows are left out. None: no limit.

    Raises:
        ContractError: No parts, instants that do not ascend or have no zone, or a share outside 0 to 1.

    >>> until, end = datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 8, 1, tzinfo=UTC)
    >>> Split({"train": until, "evaluation": end}, ("validation", 0.1)).parts
    ('train', 'evaluation', 'validation')
    """

    boundaries: Mapping[str, datetime]
    holdout: tuple[str, float] | None = None
    seed: int = 0
    since: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", dict(self.boundaries))
        instants = list(self.boundaries.values())
        given = [*instants, *([] if self.since is None else [self.since])]
        if any(not isinstance(instant, datetime) or instant.tzinfo is None for instant in given):
            raise ContractError(f"split boundaries {self.boundaries}, since {self.since}", expected="datetimes with a zone", mend="add tzinfo=UTC")
        if not instants or any(later <= earlier for earlier, later in pairwise(instants)):
            raise ContractError(f"split boundaries {self.boundaries}", expected="one or more instants, ascending", mend="order them by time")
        if self.since is not None and self.since >= instants[0]:
            raise ContractError(
                f"a first part from {self.since.isoformat()} until {instants[0].isoformat()}",
                expected="since before until",
                mend="correct one of them",
            )
        if self.holdout is not None:
            name, share = self.holdout
            if not 0 < share < 1 or name in self.boundaries:
                raise ContractError(f"the holdout {self.holdout}", expected="a name of its own and a share between 0 and 1", mend="correct it")

    @property
    def parts(self) -> tuple[str, ...]:
        """All names that the column `split` can hold."""
        return (*self.boundaries, *((self.holdout[0],) if self.holdout else ()))

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        instants = [[name, instant.astimezone(UTC).isoformat()] for name, instant in self.boundaries.items()]
        # Only where it is given: the identity of a set without it stays what it was.
        since = {} if self.since is None else {"since": self.since.astimezone(UTC).isoformat()}
        return {"boundaries": instants, "holdout": list(self.holdout) if self.holdout else None, "seed": self.seed, **since}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Split:
        """The split of a stored document."""
        boundaries = {name: datetime.fromisoformat(instant) for name, instant in document["boundaries"]}
        since = datetime.fromisoformat(document["since"]) if "since" in document else None
        return cls(boundaries, tuple(document["holdout"]) if document["holdout"] else None, document["seed"], since)

    def column(self, spine_time: Column, key_hash: Column) -> Column:
        """The part of a row, null beyond the last boundary and before `since`.

        Args:
            spine_time: The row's instant (timestamp).
            key_hash: 64-bit hash of the row's key under this split's seed; equal keys go to one part.
        """
        part = F.lit(None).cast("string")
        for number, (name, instant) in reversed(list(enumerate(self.boundaries.items()))):
            value = F.lit(name)
            if number == 0 and self.holdout is not None:
                held, share = self.holdout
                value = F.when(F.pmod(key_hash, F.lit(_PARTS)) < round(share * _PARTS), F.lit(held)).otherwise(value)
            if number == 0 and self.since is not None:
                value = F.when(F.unix_micros(spine_time) >= micros(self.since - _EPOCH), value)
            part = F.when(F.unix_micros(spine_time) < micros(instant - _EPOCH), value).otherwise(part)
        return part
