"""A launch without Spark, and the records of a launch."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sparkml_ops.errors import ConfigurationError, ContractError
from sparkml_ops.storage import Storage
from sparkml_ops.training.launch import LaunchSettings, RankContext, RankFailed, StartTimeout, launch
from sparkml_ops.training.launch.folder import AttemptFolder, next_attempt
from sparkml_ops.training.launch.outcome import Outcome, root_cause
from sparkml_ops.training.launch.reports import ReportReader, ReportWriter

LOCAL = LaunchSettings(workers=1, backend="local")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "storage"))


class TestLocal:
    def test_runs_here_and_returns_the_bytes(self, storage: Storage) -> None:
        """The backend `local` needs no Spark and no process."""
        here = threading.get_ident()

        def task(context: RankContext) -> bytes:
            return json.dumps([context.rank, context.size, context.attempt, threading.get_ident() == here]).encode()

        assert launch(None, task, LOCAL, storage, "r") == [b"[0, 1, 0, true]"]

    def test_hands_over_and_publishes_each_report(self, storage: Storage) -> None:
        """A report is one new object, as with ranks on Spark."""
        heard: list[dict[str, Any]] = []

        def task(context: RankContext) -> None:
            for epoch in range(3):
                context.report({"epoch": epoch})

        launch(None, task, LOCAL, storage, "r", on_report=heard.append)

        assert heard == [{"epoch": epoch, "rank": 0, "attempt": 0} for epoch in range(3)]
        assert [json.loads(storage.read(name)) for name in storage.list("training/r/attempt-0/reports")] == heard

    def test_an_exception_is_a_failed_rank(self, storage: Storage) -> None:
        """The same error as with ranks on Spark, with the cause behind it."""

        def task(context: RankContext) -> None:
            raise ValueError("no such column")

        with pytest.raises(RankFailed, match="rank 0 raised ValueError: no such column") as caught:
            launch(None, task, LOCAL, storage, "r")

        assert (caught.value.type, caught.value.message, caught.value.exit_code) == ("ValueError", "no such column", 5)
        assert "in task" in caught.value.traceback
        assert isinstance(caught.value.__cause__, ValueError)

    def test_a_result_that_is_not_bytes_is_refused(self, storage: Storage) -> None:
        """What a rank returns is one field of a row."""
        with pytest.raises(RankFailed, match="a task that returned dict; expected bytes or None"):
            launch(None, lambda _: {"loss": 1.0}, LOCAL, storage, "r")  # type: ignore[arg-type,return-value]

    def test_a_run_launched_again_counts_on(self, storage: Storage) -> None:
        """A driver that was killed and started again mixes nothing with the earlier attempt."""
        seen: list[int] = []
        for _ in range(2):
            launch(None, lambda context: seen.append(context.attempt) or context.report({}), LOCAL, storage, "r")  # type: ignore[func-returns-value]

        assert seen == [0, 1]

    def test_horovod_without_spark_is_refused(self, storage: Storage) -> None:
        """Ranks need slots."""
        with pytest.raises(ContractError, match="without a Spark session"):
            launch(None, lambda _: None, LaunchSettings(workers=2), storage, "r")


def test_without_horovod_the_error_names_the_extra_and_the_other_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Databricks runtime of today has no Horovod."""
    from sparkml_ops.training.launch.horovod import HorovodCommunicator

    monkeypatch.setitem(sys.modules, "horovod", None)
    monkeypatch.delitem(sys.modules, "horovod.torch", raising=False)

    with pytest.raises(ConfigurationError, match=r"sparkml-ops\[horovod\].*training\.backend=ddp"):
        HorovodCommunicator()


def test_a_spark_task_imports_neither_torch_nor_horovod() -> None:
    """The task only watches its rank's process; torch would cost it seconds and 200 MB."""
    import subprocess

    program = "import sys, sparkml_ops.training.launch.stage; print(sorted({'torch', 'horovod', 'mlflow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


class TestOutcome:
    def test_a_raised_exception_explains_broken_collectives(self) -> None:
        """Other ranks see a lost peer or abort; the exception is the cause."""
        outcomes = [Outcome(0, "lost"), Outcome(1, "died"), Outcome(2, "raised"), Outcome(3, "stopped")]

        assert root_cause(outcomes) == outcomes[2]

    def test_a_death_explains_lost_peers(self) -> None:
        """A killed rank takes the others' collectives with it."""
        outcomes = [Outcome(0, "stopped"), Outcome(1, "lost"), Outcome(2, "died"), Outcome(3, "returned")]

        assert root_cause(outcomes) == outcomes[2]

    def test_a_hang_shows_the_stacks_of_all_ranks(self) -> None:
        """Only together they show which rank the others wait for."""
        cause = root_cause([Outcome(0, "hung", traceback="in all_reduce"), Outcome(1, "hung", traceback="in load")])

        assert cause is not None
        assert cause.traceback == "rank 0:\nin all_reduce\nrank 1:\nin load"

    @pytest.mark.parametrize("result", [None, b"", b"\x00\xff"])
    def test_survives_the_way_as_a_row(self, result: bytes | None) -> None:
        """None and empty bytes stay apart."""
        outcome = Outcome(3, "returned", "bytes", "m", "t", result)

        assert Outcome.from_row(outcome.to_batch().to_pylist()[0]) == outcome


class TestReports:
    def test_each_is_handed_over_once_and_in_order(self, storage: Storage) -> None:
        """The driver polls a plain listing."""
        folder = AttemptFolder("r", 0)
        writer = ReportWriter(storage, folder, 1)
        heard: list[int] = []
        reader = ReportReader(storage, folder, lambda report: heard.append(report["n"]))

        for number in range(12):
            writer.publish({"n": number})
            if number % 5 == 0:
                reader.poll()
        reader.poll()
        reader.poll()

        assert heard == list(range(12))

    def test_counts_the_ranks_that_have_met(self, storage: Storage) -> None:
        """Each rank says so with one object."""
        folder = AttemptFolder("r", 0)
        reader = ReportReader(storage, folder, lambda _: None)
        before = reader.poll()
        storage.publish(folder.started(0), b"{}", kind="started")
        storage.publish(folder.started(1), b"{}", kind="started")
        storage.publish(folder.claimed(2), b"{}", kind="claimed")

        assert (before, reader.poll()) == (0, 2)

    def test_attempts_of_another_run_do_not_count(self, storage: Storage) -> None:
        """Run `r` is not run `r2`."""
        storage.publish(AttemptFolder("r2", 4).ended, b"{}", kind="ended")
        storage.publish(AttemptFolder("r", 10).ended, b"{}", kind="ended")
        storage.publish(AttemptFolder("r", 9).ended, b"{}", kind="ended")

        assert (next_attempt(storage, "r"), next_attempt(storage, "new")) == (11, 0)


def test_errors_survive_pickling_with_all_fields() -> None:
    """They cross processes in schedulers and notebooks."""
    failed = RankFailed("rank 1 raised", mend="mend it", rank=1, type="ValueError", message="m", traceback="t")
    late = StartTimeout("1 of 2 ranks", expected="2 free slots", mend="wait")

    assert vars(pickle.loads(pickle.dumps(failed))) == vars(failed)
    assert (str(pickle.loads(pickle.dumps(late))), late.exit_code) == (str(late), 4)
