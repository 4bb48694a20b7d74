"""Tables that a project is given keep their contract, or the verbs that read them refuse before Spark starts."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from finished_work import TRAINING_SET, Night
from pydantic import TypeAdapter
from pyspark.sql.types import StructType
from tiny_project import FILES
from typer.testing import CliRunner

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops import session
from sparkml_ops.cli.app import app
from sparkml_ops.config.load import load
from sparkml_ops.errors import ContractError, RetryableError, TableNotFound
from sparkml_ops.records import ScoredWindow
from sparkml_ops.runkey import RunKey
from sparkml_ops.verbs import build_features, score, training_set
from sparkml_ops.verbs.work import Work
from sparkml_ops.window import Window

CONTRACT = {"id": "bigint", "at": "timestamp", "customer": "string", "distance": "double", "amount": "double", "label": "double"}
KINDS = {"bigint": "long"}
VERBS: dict[str, Callable[..., Any]] = {
    "build-features": build_features.perform,
    "build-features --plan": build_features.plan,
    "training-set": lambda work: training_set.perform(work, until="2020-02-01", as_of="2020-04-01"),
    "training-set --plan": lambda work: training_set.plan(work, until="2020-02-01", as_of="2020-04-01"),
    "score": lambda work: score.perform(work, window="2020-02", as_of="2020-04-01"),
}


@pytest.fixture(autouse=True)
def _without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is asked for fails the test."""

    def refused(*_: object) -> NoReturn:
        raise AssertionError("Spark was asked for")

    monkeypatch.setattr(session, "find", refused)


class Given:
    """The tiny project with a spine of certain columns and a source that declares some."""

    def __init__(self, folder: Path) -> None:
        self.night = Night(folder)
        self.declare(columns=CONTRACT)

    def declare(self, **source: Any) -> None:
        declared = {"table": "events", "event_time": "at", "row_id": ["id"], **source}
        self.write("sources.yaml", {"sources": {"events": declared}})

    def write(self, name: str, values: object) -> None:
        (self.night.place.folder / "conf" / "projects" / "tiny" / name).write_text(yaml.safe_dump(values))

    def stored(self, columns: dict[str, str]) -> None:
        fields = [{"name": name, "type": KINDS.get(kind, kind), "nullable": True, "metadata": {}} for name, kind in columns.items()]
        self.work.tables.ensure("events", StructType.fromJson({"fields": fields}))

    @property
    def work(self) -> Work:
        return Work(load(self.night.place.folder / "conf", "tiny"))


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path / "p")


def renamed(old: str, new: str) -> dict[str, str]:
    return {new if name == old else name: kind for name, kind in CONTRACT.items()}


@pytest.mark.parametrize("verb", VERBS)
class TestContract:
    def refusal(self, given: Given, verb: str) -> ContractError:
        before = given.night.place.names()
        with pytest.raises(ContractError) as caught:
            VERBS[verb](given.work)
        assert given.night.place.names() == before
        assert caught.value.exit_code == 2
        assert caught.value.mend
        return caught.value

    def test_a_column_of_another_type_is_refused(self, given: Given, verb: str) -> None:
        """With the table, the column and both types."""
        given.stored(CONTRACT | {"amount": "string"})

        error = self.refusal(given, verb)

        assert "`amount` of type string where double is declared in table `events` (source `events`)" in error.found
        assert error.expected == "the declared types"

    def test_a_column_under_another_name_is_refused(self, given: Given, verb: str) -> None:
        """With the nearest one that is there."""
        given.stored(renamed("customer", "custmer"))

        error = self.refusal(given, verb)

        assert "`customer` (did you mean `custmer`?) in table `events` (source `events`)" in error.found
        assert "'custmer'" in error.expected

    def test_a_table_that_is_not_there_is_refused(self, given: Given, verb: str) -> None:
        """It is never a build of nothing."""
        error = self.refusal(given, verb)

        assert isinstance(error, TableNotFound)
        assert "no table `events`" in error.found
        assert error.expected == "the rows of source `events`"
        assert "sources.events.table" in error.mend

    def test_what_is_read_is_checked_without_a_contract_too(self, given: Given, verb: str) -> None:
        """A time that is no instant, and a column that features or spine take."""
        given.declare()
        given.stored(CONTRACT | {"at": "string"})
        assert "`at` of type string" in self.refusal(given, verb).found


def test_what_keeps_the_contract_is_planned(given: Given) -> None:
    """Columns beside the declared ones may be there."""
    given.stored(CONTRACT | {"more": "string"})

    planned = VERBS["build-features --plan"](given.work)

    assert not planned.done
    assert planned.notes == ("customers: rebuild, events ? to 0: the table is not there yet",)
    assert VERBS["training-set --plan"](given.work).writes == ("table training_set_tiny_<hash>",)


@pytest.mark.parametrize("name", ["amount", "distance"])
def test_a_column_that_only_the_project_names(given: Given, name: str) -> None:
    """Features and training set say what they read, though the source declares no columns."""
    given.declare()
    given.stored(renamed(name, "other"))
    verb = {"amount": "build-features", "distance": "training-set"}[name]

    with pytest.raises(ContractError, match=f"column `{name}`"):
        VERBS[verb](given.work)


def test_a_derived_column_is_looked_for_in_the_log(given: Given) -> None:
    """An expression's columns are found before Spark parses it, whatever their case."""
    features = {**FILES["features.yaml"]["features"]["customers"], "transform": [{"amount": "AMOUNT + fee"}]}
    given.declare()
    given.write("features.yaml", {"features": {"customers": features}})
    given.stored(CONTRACT)

    with pytest.raises(ContractError, match=r"the column `fee`; expected one of the columns of `events`"):
        build_features.plan(given.work)


def test_finished_work_is_not_judged_again(given: Given) -> None:
    """Its record is returned before anything is looked at."""
    work = given.work
    key = "2020-02-01T00:00:00+00:00"
    given.night.enter("training-set", TRAINING_SET, as_of="2020-04-01", target="tiny", window=key)

    assert training_set.plan(work, until="2020-02-01").done


class TestWindow:
    def test_one_that_has_not_ended_is_refused(self, given: Given) -> None:
        """Rows that come later would have no prediction; at its very end it is complete."""
        given.stored(CONTRACT)

        with pytest.raises(ContractError, match=r"window 2020-02 as of 2020-02-29T23:59:59.*ended: this one does at 2020-03-01"):
            score.perform(given.work, window="2020-02", as_of="2020-02-29T23:59:59")
        score._check(given.work, Window.parse("2020-02"), 0, Window.parse("2020-02").end)

    def test_one_may_be_allowed_before_it_ends(self, given: Given) -> None:
        """Rows that are known beforehand, as tomorrow's flights; what else is asked of them stays."""
        given.stored(CONTRACT | {"at": "string"})
        window = Window.parse("2020-02")
        work = Work(load(given.night.place.folder / "conf", "tiny", overrides=("scoring.allow_open=true",)))

        with pytest.raises(ContractError, match="window 2020-02 as of 2020-02-01"):
            score._check(given.work, window, 0, window.start)
        with pytest.raises(ContractError, match="`at` of type string"):
            score._check(work, window, 0, window.start)

    def test_one_that_overlaps_another_is_refused(self, given: Given) -> None:
        """Its rows would have two predictions to act on; in another slot, beside it, or once that one was taken back, it is not in the way."""
        night, july = given.night, Window.parse("2020-07")
        night.score("2020-02")
        night.score("2020-07-31")
        night.score("2020-07-01T00", slot="shadow")

        with pytest.raises(ContractError, match="window 2020-02-29, which overlaps 2020-02 in slot champion"):
            score.perform(given.work, window="2020-02-29", as_of="2020-04-01")
        with pytest.raises(ContractError, match="overlaps 2020-07-01T00 in slot shadow"):
            score._check_apart(given.work, july, "shadow")
        for window, slot in (("2020-02", "champion"), ("2020-03-01", "champion"), ("2020-07-31", "shadow")):
            score._check_apart(given.work, Window.parse(window), slot)

    def test_a_version_that_did_not_score_it_is_not_handed_on(self, given: Given) -> None:
        """A finished window is not looked at again; by its record it is another version's."""
        given.night.score("2020-02", slot="trial")
        key, record = RunKey("score", "tiny", "tiny_scores", "2020-02", "trial"), given.work.ledger.runs({"verb": "score"})[-1].record
        done = TypeAdapter(ScoredWindow).validate_python(record)

        score._check_version(key, done, 1)
        score._check_version(key, done, None)
        with pytest.raises(ContractError, match="version 1 in slot trial of window 2020-02, generation 0, where 7 was asked for"):
            score._check_version(key, done, 7)


class TestLog:
    @pytest.mark.parametrize("text", ["garbage\n", "", '{"protocol": 1}\n'])
    def test_a_broken_log_is_named(self, given: Given, text: str) -> None:
        """With the table, in one line, as an error of the input."""
        given.stored(CONTRACT)
        log = Path(given.work.tables.location("events")) / "_delta_log"
        next(log.glob("*.json")).write_text(text)
        conf = str(given.night.place.folder / "conf")

        done = CliRunner().invoke(app, ["training-set", "--until", "2020-02-01", "--plan", "--project", "tiny", "--conf", conf, "--json"])

        error = json.loads(done.stderr.strip().splitlines()[-1])
        assert (done.exit_code, error["exit_code"]) == (2, 2)
        assert "an unreadable log of table `events`" in error["found"]
        assert error["expected"].endswith("events/_delta_log")
        assert error["mend"]
        assert "\n" not in error["found"]

    def test_a_store_that_is_away_may_come_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same call may succeed later."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        for name, value in {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "ALLOW_HTTP": "true"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_REGION", "us-east-1")

        def no_session() -> NoReturn:
            raise AssertionError("Spark was asked for")

        with pytest.raises(
            RetryableError, match=r"no answer from the store of table `events` \(Connection refused .*\); expected s3://lake/events"
        ) as caught:
            Tables(no_session, Warehouse(root="s3://lake")).newest("events")
        assert caught.value.exit_code == 4
