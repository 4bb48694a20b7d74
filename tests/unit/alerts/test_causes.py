"""Root causes: effect times importance, the segments that carry it, and the versions between which it began."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_work import TRAINING_SET
from pydantic import TypeAdapter
from pyspark.sql.types import LongType, StructField, StructType
from typer.testing import CliRunner
from watched_project import Watched

from feature_store.delta import Transaction
from sparkml_ops.cli.app import app
from sparkml_ops.errors import ContractError
from sparkml_ops.monitoring.causes import rank
from sparkml_ops.records import ModelVersion, TrainingSet
from sparkml_ops.release.importance import Importance, keep_importance
from sparkml_ops.verbs.causes import causes


def metric(column: str, value: float, verdict: str = "drift", *, segment: str | None = None, m: int = 1000, statistic: str = "ks") -> dict[str, Any]:
    return {"column": column, "segment": segment, "statistic": statistic, "value": value, "threshold": 0.1, "verdict": verdict, "m": m}


def test_importance_moves_the_order_and_faults_come_first() -> None:
    """A column on which nothing hangs comes last, however far it drifts; broken data come before all drift."""
    rows = [metric("far", 0.9), metric("near", 0.2), metric("lost", 0.3, "fault", statistic="missing"), metric("calm", 0.5, "no drift")]

    by_effect, by_both = rank(rows, None), rank(rows, {"near": 3.0, "lost": 1.0, "far": -0.2})

    assert [(cause.column, cause.importance) for cause in by_effect] == [("lost", None), ("far", None), ("near", None)]
    assert [(cause.column, cause.importance, round(cause.score, 3)) for cause in by_both] == [
        ("lost", 0.25, 0.75),
        ("near", 0.75, 1.5),
        ("far", 0.0, 0.0),
    ]


def test_segments_carry_their_rows_times_their_effect() -> None:
    """A tenth of the rows with nine times the effect carries as much as nine tenths; each segment column adds up by itself."""
    rows = [
        metric("x", 0.3),
        metric("x", 0.9, segment="origin=A", m=100),
        metric("x", 0.1, segment="origin=B", m=900),
        metric("x", 0.01, "no drift", segment="origin=C", m=0),
        metric("x", 0.4, segment="carrier=Z", m=1000),
    ]

    (cause,) = rank(rows, None)

    assert [(share.segment, round(share.carries, 3), round(share.rows, 3)) for share in cause.segments] == [
        ("carrier=Z", 1.0, 1.0),
        ("origin=A", 0.5, 0.1),
        ("origin=B", 0.5, 0.9),
    ]


@pytest.fixture
def traced(watched: Watched) -> Watched:
    """Four months, of which the last two drift; the features were written anew between the second and the third."""
    tables, one = watched.work.tables, StructType([StructField("id", LongType())])
    for month, version in ((1, 4), (2, 4), (3, 7), (4, 9)):
        window, verdict = f"2020-{month:02}", "drift" if month > 2 else "no drift"
        watched.score(window, as_of=f"2020-{month + 1:02}-02")
        watched.compared(window, {"amount": verdict, "distance": verdict, "customer": "no drift"}, as_of=f"2020-{month + 1:02}-02", effect=2.0)
        details = {"window": window, "inputs": {"customers": version, "events": version + 100}}
        tables.add("tiny_scores_scoring_set", one, [{"id": month}], transaction=Transaction(f"tiny_scores_scoring_set/{window}/0"), details=details)
    return watched


def test_a_cause_is_traced_to_versions_and_sources(traced: Watched) -> None:
    """To the first window of the unbroken row, the table's versions around it, and the source's column."""
    found = causes(traced.work, importance={"amount": 3, "distance": 1})

    amount, distance = found.causes
    assert (found.window, found.version, found.ranked_by) == ("2020-04", 1, "effect x importance")
    assert (amount.cause.column, amount.since, amount.last_good) == ("amount", "2020-03", "2020-02")
    assert (amount.table, amount.version_before, amount.version) == ("customers", 4, 7)
    assert list(amount.upstream) == ["events.amount"]
    assert (distance.table, distance.version_before, distance.version) == ("events", 104, 107)
    assert [(item.column, item.share) for item in found.upstream] == [("events.amount", 0.75), ("events.distance", 0.25)]


def test_the_versions_card_says_what_it_hangs_on(traced: Watched) -> None:
    """What a card measured is found by its version and digest; a personal column, of which it knows nothing, counts like the average one."""
    model = ModelVersion("tiny", 1, "d", TypeAdapter(TrainingSet).validate_python(TRAINING_SET))
    keep_importance(traced.work.storage, replace(model, digest="another"), Importance("another", "drop of the AUC", {"amount": 1.0}, ()))
    assert causes(traced.work).importance == ""

    keep_importance(traced.work.storage, model, Importance("d", "drop of the AUC", {"amount": 1.0, "other": 3.0}, ("distance",)))
    found = causes(traced.work)

    assert (found.ranked_by, found.importance) == ("effect x importance", "of version 1: drop of the AUC")
    assert [(item.cause.column, item.cause.importance, item.cause.score) for item in found.causes] == [
        ("distance", None, pytest.approx(2 / 3)),
        ("amount", 0.25, pytest.approx(0.5)),
    ]


def test_what_was_known_then_and_what_is_not_there(traced: Watched) -> None:
    """An earlier clock sees the windows of its time; a window that nobody compared is named."""
    assert [item.since for item in causes(traced.work, as_of="2020-04-10").causes] == ["2020-03", "2020-03"]
    assert causes(traced.work, window="2020-02").causes == ()
    with pytest.raises(ContractError, match="no drift of window 2021-01"):
        causes(traced.work, window="2021-01")


def test_the_command(traced: Watched, tmp_path: Path) -> None:
    """It says by what it ranks; a file that is no importance is refused."""
    place = ["--project", "tiny", "--conf", str(traced.place.folder / "conf")]
    (tmp_path / "known.json").write_text('{"amount": 0.3}')
    (tmp_path / "wrong.json").write_text('["amount"]')

    plain = CliRunner().invoke(app, ["causes", *place])
    known = CliRunner().invoke(app, ["causes", *place, "--importance", str(tmp_path / "known.json"), "--json"])
    wrong = CliRunner().invoke(app, ["causes", *place, "--importance", str(tmp_path / "wrong.json")])

    assert "effect alone: no importance is known" in plain.stdout
    assert "50% of it hangs on events.amount (amount)" in plain.stdout
    assert json.loads(known.stdout)["causes"][0]["cause"]["importance"] == 1.0
    assert wrong.exit_code == 2
