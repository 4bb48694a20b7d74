"""The server at which ranks meet, and the watch over them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from sparkml_ops.training.launch.rendezvous import Rendezvous, Watch, note


class Clock:
    """Seconds set by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rendezvous() -> Iterator[Rendezvous]:
    opened = Rendezvous("127.0.0.1", Watch(2, limit=60))
    yield opened
    opened.close()


def ask(rendezvous: Rendezvous, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(rendezvous.host, rendezvous.port, timeout=5)
    connection.request(method, path, body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


class TestRendezvous:
    def test_keeps_values_under_scope_and_key(self, rendezvous: Rendezvous) -> None:
        """Horovod's client stores with PUT, asks with GET until the value is there, and says DELETE at the end."""
        prefix = f"/{rendezvous.token}:{rendezvous.port}"

        before = ask(rendezvous, "GET", f"{prefix}/global/0")
        stored = ask(rendezvous, "PUT", f"{prefix}/global/0", b"\x00address")
        after = ask(rendezvous, "GET", f"{prefix}/global/0")
        ended = ask(rendezvous, "DELETE", f"{prefix}/global/0")

        assert (before[0], stored[0], after, ended[0]) == (404, 200, (200, b"\x00address"), 200)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
    @pytest.mark.parametrize("prefix", ["", "/global", "/" + "0" * 32])
    def test_answers_only_to_the_token(self, rendezvous: Rendezvous, method: str, prefix: str) -> None:
        """Whoever does not know the run's token learns and changes nothing."""
        assert ask(rendezvous, method, f"{prefix}/watch/0", b"{}") == (403, b"")

    def test_listens_on_the_chosen_address_only(self, rendezvous: Rendezvous) -> None:
        """Another address of the same host refuses the connection."""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", rendezvous.port), timeout=5)

    def test_a_port_that_is_taken_is_no_fault(self) -> None:
        """Another server has the port of the launch before: the next one listens on another."""
        first = Rendezvous("127.0.0.1", Watch(1, limit=60))
        first.close()
        with socket.create_server(("127.0.0.1", first.port)):
            second = Rendezvous("127.0.0.1", Watch(1, limit=60))

            assert second.port != first.port
            assert note(second.host, second.port, second.token, 0, signs=1) == "go on"
            second.close()

    def test_passes_notes_to_the_watch(self, rendezvous: Rendezvous) -> None:
        """A task hears from the others' tasks by noting its own state."""
        first = note(rendezvous.host, rendezvous.port, rendezvous.token, 0, signs=1)
        second = note(rendezvous.host, rendezvous.port, rendezvous.token, 1, signs=1, state="failed")
        third = note(rendezvous.host, rendezvous.port, rendezvous.token, 0, signs=1)

        assert (first, second, third) == ("go on", "failed", "failed")

    def test_a_closed_rendezvous_is_an_error_to_the_tasks(self) -> None:
        """So a task learns that the task of rank 0 is gone."""
        opened = Rendezvous("127.0.0.1", Watch(1, limit=60))
        opened.close()

        with pytest.raises(OSError, match="refused"):
            note(opened.host, opened.port, opened.token, 0, signs=0)

    def test_a_wrong_token_is_an_error_to_the_task(self, rendezvous: Rendezvous) -> None:
        """An answer that is no verdict is never taken for one."""
        with pytest.raises(ConnectionError, match="no answer from the rendezvous"):
            note(rendezvous.host, rendezvous.port, "wrong", 0, signs=0)


class TestWatch:
    def test_a_run_hangs_when_no_rank_gives_a_sign(self) -> None:
        """The limit counts from the last sign of any rank."""
        clock = Clock()
        watch = Watch(2, limit=10, clock=clock)
        watch.note(0, signs=1)
        watch.note(1, signs=1)

        clock.now = 9.0
        busy = watch.note(0, signs=2)
        clock.now = 18.0
        waiting = watch.note(1, signs=1)
        clock.now = 19.5
        hung = watch.note(1, signs=1)

        assert (busy, waiting, hung) == ("go on", "go on", "hung")

    def test_every_rank_of_a_hanging_run_is_told_so(self) -> None:
        """Each task takes its rank's stacks, also after the first one has ended."""
        clock = Clock()
        watch = Watch(2, limit=10, clock=clock)
        watch.note(0, signs=1)
        watch.note(1, signs=1)

        clock.now = 11.0
        watch.note(1, signs=1)
        watch.note(1, signs=1, state="failed")

        assert watch.note(0, signs=1) == "hung"

    def test_ranks_that_have_not_met_do_not_hang(self) -> None:
        """Until all have met the start timeout rules."""
        clock = Clock()
        watch = Watch(2, limit=10, clock=clock)
        watch.note(0, signs=1)

        clock.now = 100.0

        assert watch.note(1, signs=0) == "go on"

    def test_the_end_of_a_rank_is_a_sign(self) -> None:
        """A rank may need a while after another has ended."""
        clock = Clock()
        watch = Watch(2, limit=10, clock=clock)
        watch.note(0, signs=1)
        watch.note(1, signs=1)

        clock.now = 9.0
        watch.note(1, signs=1, state="ended")
        clock.now = 15.0

        assert watch.note(0, signs=1) == "go on"

    def test_all_ended_ends_the_wait(self) -> None:
        """Rank 0's task stays until the others have no more questions."""
        watch = Watch(2, limit=10)
        watch.note(0, signs=1, state="ended")
        early = watch.wait_until_all_ended(0.01)
        watch.note(1, signs=1, state="failed")

        assert (early, watch.wait_until_all_ended(0.01)) == (False, True)
