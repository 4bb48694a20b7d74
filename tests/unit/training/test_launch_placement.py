"""Ranks by host, and the interface they listen on."""

from __future__ import annotations

import socket

import pytest

from sparkml_ops.errors import ConfigurationError
from sparkml_ops.training.launch.placement import choose_interface, place


def test_ranks_of_a_host_follow_each_other() -> None:
    """Each host's ranks are consecutive, whatever the order of the tasks; task 0 is rank 0."""
    hosts = ["b", "a", "b", "a", "a"]

    places = [place(hosts, task) for task in range(5)]

    assert [where.rank for where in places] == [0, 2, 1, 3, 4]
    assert [where.local_rank for where in places] == [0, 0, 1, 1, 2]
    assert [where.local_size for where in places] == [2, 3, 2, 3, 3]


def test_cross_ranks_count_the_hosts_that_have_such_a_local_rank() -> None:
    """The third rank of host a has no counterpart on b."""
    hosts = ["b", "a", "b", "a", "a"]

    places = [place(hosts, task) for task in range(5)]

    assert [(where.cross_rank, where.cross_size) for where in places] == [(0, 2), (1, 2), (0, 2), (1, 2), (0, 1)]


def test_ranks_of_one_host_talk_over_loopback() -> None:
    """Nothing listens on a network that no rank needs."""
    assert choose_interface(place(["driver-host"] * 3, 2)).address == "127.0.0.1"


def test_ranks_of_several_hosts_talk_over_the_address_that_spark_knows() -> None:
    """The interface is the one that has the host's own address."""
    chosen = choose_interface(place(["localhost", "elsewhere"], 0))

    assert chosen.address == socket.gethostbyname("localhost")


def test_an_unknown_interface_is_refused_with_those_there_are() -> None:
    """The error lists what exists."""
    with pytest.raises(ConfigurationError, match=r"training\.interface='wlan7'.*one of .*lo"):
        choose_interface(place(["a"], 0), "wlan7")


def test_a_host_address_that_no_interface_has_is_refused() -> None:
    """Behind a translated address Spark's name for a host is not where its ranks can listen."""
    with pytest.raises(ConfigurationError, match=r"name the interface in training\.interface"):
        choose_interface(place(["203.0.113.7", "elsewhere"], 0))
