"""Which rows of a training set are for what: by time, and by shares of the keys or groups of the first part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
    """Ordered parts by spine time, and shares of the first one's keys, or groups of rows, as further parts.

    Args:
        boundaries: Name of a part to its exclusive upper UTC instant, in ascending order; rows beyond the last are left out.
            None as the last instant: the part has no end.
        holdout: Name of a part, and the share (0 to 1, exclusive) of the first part's row keys that go to it; or several, as a mapping.
        seed: Seed of the hash that chooses them.
        since: Inclusive lower UTC instant of the first part; earlier rows are left out. None: no limit.
        replay: Share (0 to 1) of the earlier rows' keys (or groups) that the first part takes as well, so that a model which goes on with new
            rows does not forget the old ones. Never one that a share of the first part holds out; with another `since` other keys.
        group: Columns of the spine whose rows stay together: shares are of groups, then, not of row keys. Rows that are null in all
            of them are one group.

    Raises:
        ContractError: No parts, instants that do not ascend or have no zone, shares outside 0 to 1 or of 1 and more together.

    >>> until, end = datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 8, 1, tzinfo=UTC)
    >>> Split({"train": until, "evaluation": end}, ("validation", 0.1)).parts
    ('train', 'evaluation', 'validation')
    >>> Split({"train": None}, {"validation": 0.1, "evaluation": 0.2}, group=("customer",)).shares
    {'validation': 0.1, 'evaluation': 0.2}
    """

    boundaries: Mapping[str, datetime | None]
    holdout: tuple[str, float] | Mapping[str, float] | None = None
    seed: int = 0
    since: datetime | None = None
    group: tuple[str, ...] = ()
    replay: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", dict(self.boundaries))
        group: Any = self.group  # one column may be given as its name
        object.__setattr__(self, "group", (group,) if isinstance(group, str) else tuple(group))
        if isinstance(self.holdout, Mapping):
            # One share is one thing, however it is written: the identity of a set does not depend on that.
            shares = tuple(self.holdout.items())
            object.__setattr__(self, "holdout", dict(shares) if len(shares) > 1 else next(iter(shares), None))
        _check_instants(self.boundaries, self.since)
        _check_shares(self.shares, self.boundaries)
        if self.replay and (self.since is None or not 0 < self.replay <= 1 - sum(self.shares.values())):
            raise ContractError(
                f"replay {self.replay} with {'no since' if self.since is None else f'the shares {self.shares}'}",
                expected="a share of the keys before `since` that are not held out",
                mend="say since, or lower the share",
            )
        if self.group and not self.shares and not self.replay:
            raise ContractError(f"the group {self.group} without a share", expected="holdout", mend="say which part takes which share of the groups")

    @property
    def shares(self) -> dict[str, float]:
        """Share of the first part's keys or groups that each further part takes."""
        return dict(self.holdout if isinstance(self.holdout, Mapping) else [self.holdout] if self.holdout else [])

    @property
    def parts(self) -> tuple[str, ...]:
        """All names that the column `split` can hold."""
        return (*self.boundaries, *self.shares)

    @property
    def hashed(self) -> tuple[str, ...]:
        """The parts that a hash of keys or groups tells apart: the first one by time, and those that take a share of it."""
        return (next(iter(self.boundaries)), *self.shares) if self.shares else ()

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        instants = [[name, None if instant is None else instant.astimezone(UTC).isoformat()] for name, instant in self.boundaries.items()]
        held = dict(self.holdout) if isinstance(self.holdout, Mapping) else list(self.holdout) if self.holdout else None
        # Only where they are given: the identity of a set without them stays what it was.
        since = {} if self.since is None else {"since": self.since.astimezone(UTC).isoformat()}
        group = {"group": list(self.group)} if self.group else {}
        replay = {"replay": self.replay} if self.replay else {}
        return {"boundaries": instants, "holdout": held, "seed": self.seed, **since, **group, **replay}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Split:
        """The split of a stored document."""
        boundaries = {name: None if instant is None else datetime.fromisoformat(instant) for name, instant in document["boundaries"]}
        since = datetime.fromisoformat(document["since"]) if "since" in document else None
        held = document["holdout"]
        holdout = held if held is None or isinstance(held, Mapping) else (held[0], held[1])
        return cls(boundaries, holdout, document["seed"], since, tuple(document.get("group", ())), document.get("replay", 0.0))

    def column(self, spine_time: Column, key_hash: Column) -> Column:
        """The part of a row, null beyond the last boundary and before `since`, but for what is replayed.

        Args:
            spine_time: The row's instant (timestamp).
            key_hash: 64-bit hash of the row's key, or of its group, under this split's seed; equal ones go to one part.
        """
        part = F.lit(None).cast("string")
        for number, (name, instant) in reversed(list(enumerate(self.boundaries.items()))):
            value = F.lit(name)
            if number == 0:
                value = self._shared(value, key_hash)
            if number == 0 and self.since is not None:
                value = F.when(F.unix_micros(spine_time) >= micros(self.since - _EPOCH), value).when(self._replayed(key_hash), F.lit(name))
            inside = spine_time.isNotNull() if instant is None else F.unix_micros(spine_time) < micros(instant - _EPOCH)
            part = F.when(inside, value).otherwise(part)
        return part

    def _replayed(self, key_hash: Column) -> Column:
        """Whether a key of before `since` is taken: a range of the hash beyond those of the shares, which held the same keys out before."""
        if self.since is None or not self.replay:
            return F.lit(False)
        held, width = round(sum(self.shares.values()) * _PARTS), round(self.replay * _PARTS)
        # Drawn anew for each `since`: over the generations of a model other rows come again.
        drawn = hashlib.blake2b(f"{self.seed} {self.since.astimezone(UTC).isoformat()}".encode(), digest_size=8).digest()
        start = held + int.from_bytes(drawn, "big") % (_PARTS - width - held + 1)
        cell = F.pmod(key_hash, F.lit(_PARTS))
        return (cell >= start) & (cell < start + width)

    def _shared(self, first: Column, key_hash: Column) -> Column:
        """The part of a row inside the first boundary: shares are ranges of the hash, one after the other from 0 on."""
        cell, value, upper = F.pmod(key_hash, F.lit(_PARTS)), first, sum(self.shares.values())
        for name, share in self.shares.items():
            value, upper = F.when(cell < round(upper * _PARTS), F.lit(name)).otherwise(value), upper - share
        return value


def _check_instants(boundaries: Mapping[str, datetime | None], since: datetime | None) -> None:
    instants = list(boundaries.values())
    if instants and instants[-1] is None:
        instants.pop()
    ends = [instant for instant in instants if isinstance(instant, datetime)]
    given = [*ends, *([] if since is None else [since])]
    if len(ends) < len(instants) or any(not isinstance(instant, datetime) or instant.tzinfo is None for instant in given):
        raise ContractError(f"split boundaries {dict(boundaries)}, since {since}", expected="datetimes with a zone", mend="add tzinfo=UTC")
    if not boundaries or any(later <= earlier for earlier, later in pairwise(ends)):
        raise ContractError(f"split boundaries {dict(boundaries)}", expected="one or more instants, ascending", mend="order them by time")
    if since is not None and ends and since >= ends[0]:
        raise ContractError(
            f"a first part from {since.isoformat()} until {ends[0].isoformat()}",
            expected="since before until",
            mend="correct one of them",
        )


def _check_shares(shares: Mapping[str, float], parts: Sequence[str] | Mapping[str, Any]) -> None:
    for name, share in shares.items():
        if not 0 < share < 1 or name in parts:
            raise ContractError(f"the holdout {(name, share)}", expected="a name of its own and a share between 0 and 1", mend="correct it")
    if sum(shares.values()) >= 1:
        raise ContractError(f"the shares {dict(shares)}", expected="less than 1 together: the rest is the first part", mend="lower them")
