"""Which task becomes which rank, and over which network interface the ranks talk."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from sparkml_ops.errors import ConfigurationError

__all__ = ["Interface", "Place", "choose_interface", "place"]


@dataclass(frozen=True)
class Place:
    """One task's rank among all and among those of its host.

    Args:
        cross_rank: Number of this host among the hosts that have a rank of the same `local_rank`.
        together: Whether all ranks are on one host.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int
    host: str
    together: bool


def place(hosts: Sequence[str], task: int) -> Place:
    """Place a task; ranks of one host follow each other, and task 0 is rank 0.

    Args:
        hosts: Host of each task, by number of the task.

    >>> place(["a", "b", "a"], 2)
    Place(rank=1, size=3, local_rank=1, local_size=2, cross_rank=0, cross_size=1, host='a', together=False)
    """
    names = list(dict.fromkeys(hosts))
    order = sorted(range(len(hosts)), key=lambda number: (names.index(hosts[number]), number))
    own = hosts[task]
    neighbours = [number for number in order if hosts[number] == own]
    local_rank = neighbours.index(task)
    wide = [name for name in names if hosts.count(name) > local_rank]
    return Place(
        rank=order.index(task),
        size=len(hosts),
        local_rank=local_rank,
        local_size=len(neighbours),
        cross_rank=wide.index(own),
        cross_size=len(wide),
        host=own,
        together=len(names) == 1,
    )


@dataclass(frozen=True)
class Interface:
    """A network interface and its IPv4 address."""

    name: str
    address: str


def choose_interface(where: Place, wished: str = "") -> Interface:
    """The one interface that a host's ranks listen on: the wished one, loopback where all share a host, else that of Spark's own address.

    Raises:
        ConfigurationError: There is no such interface here.

    >>> choose_interface(place(["a", "a"], 0)).address
    '127.0.0.1'
    """
    found = {name: [entry.address for entry in entries if entry.family == socket.AF_INET] for name, entries in psutil.net_if_addrs().items()}
    if wished:
        if not found.get(wished):
            raise ConfigurationError(
                f"training.interface={wished!r}",
                expected="one of " + ", ".join(sorted(name for name, has in found.items() if has)) + f" on {where.host}",
            )
        return Interface(wished, found[wished][0])
    address = "127.0.0.1" if where.together else socket.gethostbyname(where.host)
    for name, addresses in found.items():
        if address in addresses:
            return Interface(name, address)
    raise ConfigurationError(
        f"the address {address} of {where.host}, which none of its interfaces has",
        expected="executors reachable by the address that Spark knows",
        mend="name the interface in training.interface",
    )
