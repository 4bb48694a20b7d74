"""Plans of rows that stay where they are at home: each rank holds whole sites, and opens no row group of another one.

With local steps this is federated averaging (McMahan et al. 2017, with a site as a client, all of them in each round): a rank steps on the rows
of its own sites alone, and only models are averaged. All ranks know the whole plan, that is how many rows lie where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from sparkml_ops.errors import ContractError
from sparkml_ops.training.plan import Block, Group, Plan

__all__ = ["SitePlan", "deal", "settle"]


@dataclass(frozen=True)
class SitePlan(Plan):
    """The rows of a split and their order, rank by rank.

    A rank has its share of the shards as ever, and its own rows are cut into these. A global batch holds as many rows of each rank, so that an
    epoch has as many steps as the rank with the most rows needs; the others have none left at its end.

    Args:
        groups: The row groups of rank 0, then those of rank 1 and so on, each in order of `row_position`.
        ranks: Rows of each rank.

    >>> plan = SitePlan((Group("a", 0, 5), Group("b", 0, 2)), shards=4, batch_size=4, seed=1, ranks=(5, 2))
    >>> plan.steps, [plan.batch_rows(step) for step in range(3)], plan.shard(2)
    (3, [4, 2, 1], Block(start=5, stop=6))
    """

    ranks: tuple[int, ...] = ()

    @property
    def each(self) -> int:
        """Rows of a rank in a global batch."""
        return max(1, self.batch_size // len(self.ranks))

    @property
    def steps(self) -> int:
        """Global batches of an epoch."""
        return -(-max(self.ranks) // self.each)

    def batch_rows(self, step: int) -> int:
        """Rows of a global batch, all workers together."""
        return sum(min(rows, (step + 1) * self.each) - min(rows, step * self.each) for rows in self.ranks)

    def shards_of(self, rank: int, size: int) -> range:
        """The shards of a worker.

        Raises:
            ContractError: The plan was made for another number of workers.
        """
        if size != len(self.ranks):
            raise ContractError(
                f"{size} workers for rows that were dealt to {len(self.ranks)}", expected="as many", mend=f"train with workers={len(self.ranks)}"
            )
        return super().shards_of(rank, size)

    def shard(self, shard: int) -> Block:
        """The rows of a shard: a contiguous range of its rank's, equal in size up to one row."""
        home = self._homes[shard]
        each, more = divmod(home.rows, home.shards)
        start = home.first + home.index * each + min(home.index, more)
        return Block(start, start + each + (home.index < more))

    def dealt(self, shard: int, step: int) -> int:
        """How many rows of a shard lie before a step."""
        home = self._homes[shard]
        return (min(step * self.each, home.rows) - home.index + home.shards - 1) // home.shards

    def quotas(self, shards: range, steps: range) -> npt.NDArray[np.int64]:
        """[shards, steps] how many rows of each shard are in each step."""
        rows, index, among = (
            np.array([getattr(self._homes[shard], name) for shard in shards]).reshape(-1, 1) for name in ("rows", "index", "shards")
        )
        ends = np.minimum(np.arange(steps.start, steps.stop + 1) * self.each, rows)
        found: npt.NDArray[np.int64] = np.diff((ends - index + among - 1) // among, axis=1)
        return found

    def most(self, shards: range, steps: int = 1) -> int:
        """How many rows of some shards of a worker so many steps hold at most."""
        return -(-steps * self.each * len(shards) // self._homes[shards[0]].shards)

    @cached_property
    def _homes(self) -> list[_Home]:
        """Of each shard, where its rank's rows lie."""
        found, size = [], len(self.ranks)
        for rank, (first, rows) in enumerate(zip(accumulate((0, *self.ranks)), self.ranks, strict=False)):
            shards = self.shards_of(rank, size)
            found += [_Home(first, rows, index, len(shards)) for index in range(len(shards))]
        return found


@dataclass(frozen=True)
class _Home:
    """Where a shard's rank has its rows.

    Args:
        first: Its first row.
        rows: Its rows.
        index: The shard's number among its shards.
        shards: Its shards.
    """

    first: int
    rows: int
    index: int
    shards: int


def settle(plans: Mapping[str, Plan], workers: int) -> dict[str, Plan]:
    """The same splits with each row at home.

    Args:
        plans: Of `train`, by which the sites are dealt, and perhaps of other splits.
        workers: Ranks.

    Raises:
        ContractError: The training set's files hold rows of several sites, or there are more workers than sites to train on.
    """
    rows = {split: _by_site(plan.groups) for split, plan in plans.items()}
    sites = {site: 0 for found in rows.values() for site in found}
    sites |= {site: sum(group.rows for group in groups) for site, groups in rows["train"].items()}
    ranks = deal(sites, workers)
    return {split: _settled(plan, [[group for site in own for group in rows[split].get(site, ())] for own in ranks]) for split, plan in plans.items()}


def deal(sites: Mapping[str, int], workers: int) -> tuple[tuple[str, ...], ...]:
    """The sites of each rank: the largest first, each to the rank with the fewest rows by then.

    Args:
        sites: Rows to train on of each.
        workers: Ranks.

    Raises:
        ContractError: There are more ranks than sites with rows to train on.

    >>> deal({"north": 10, "south": 40, "east": 25, "west": 20}, 2)
    (('south', 'north'), ('east', 'west'))
    """
    if (trained := sum(rows > 0 for rows in sites.values())) < workers:
        raise ContractError(
            f"{workers} workers for {trained} sites with rows to train on",
            expected="a site or more for each",
            mend=f"set training.workers to {trained} or fewer",
        )
    dealt: list[list[str]] = [[] for _ in range(workers)]
    held = [0] * workers
    for site in sorted(sites, key=lambda site: (-sites[site], site)):
        rank = held.index(min(held))
        dealt[rank].append(site)
        held[rank] += sites[site]
    return tuple(map(tuple, dealt))


def _by_site(groups: Iterable[Group]) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in groups:
        if len(group.constants) != 1:
            raise ContractError(
                f"{group.path}, a file that is not of one site",
                expected="a training set whose files are apart by site",
                mend="declare training_set.site and make the training set anew, or leave training.sites out",
            )
        found.setdefault(str(group.constants[0][1]), []).append(group)
    return found


def _settled(plan: Plan, ranks: Sequence[Sequence[Group]]) -> SitePlan:
    values = {item.name: getattr(plan, item.name) for item in fields(Plan)}
    values["groups"] = tuple(group for groups in ranks for group in groups)
    return SitePlan(**values, ranks=tuple(sum(group.rows for group in groups) for groups in ranks))
