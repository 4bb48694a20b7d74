"""The order of finished runs, and which of them is the newest."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from finished_work import Night

from feature_store.records import TrainingSet
from sparkml_ops.errors import ContractError
from sparkml_ops.verbs.newest import newest


def test_generations_keep_their_order_when_a_wall_clock_steps_back(tmp_path: Path) -> None:
    """A later generation stands in place of an earlier one, even where the machine that made it lives in the past."""
    night = Night(tmp_path)
    night.score("2020-01")
    night.score("2020-02")
    night.wall -= timedelta(days=365)
    night.score("2020-02", generation=1)
    night.score("2020-03")

    runs = night.work.ledger.runs({"verb": "score"})
    last = night.work.ledger.newest("score", "tiny")

    assert [(run.key.window, run.key.generation) for run in runs] == [("2020-02", 0), ("2020-03", 0), ("2020-01", 0), ("2020-02", 1)]
    assert last is not None
    assert last.key.generation == 1


def test_what_ran_as_of_a_later_time_is_not_the_newest_before_it(tmp_path: Path) -> None:
    """A training as of August does not take the training set of November, which knows what came after; without a clock all count."""
    night = Night(tmp_path)
    for month, name in (("08", "summer"), ("11", "autumn")):
        record = {"id": name, "snapshot": {"table": name, "version": 0}, "inputs": {}, "content_hash": "", "rows": 3}
        night.enter("training-set", record, as_of=f"2020-{month}-01", target="", window=f"2020-{month}")

    found = {as_of: newest(night.work, "training-set", TrainingSet, as_of).id for as_of in ("2020-08-01", "2020-10-31", "2020-11-01", None)}

    assert found == {"2020-08-01": "summer", "2020-10-31": "summer", "2020-11-01": "autumn", None: "autumn"}
    with pytest.raises(ContractError, match=r"no finished `training-set` of project tiny as of 2020-07-31T00:00:00\+00:00 or before"):
        newest(night.work, "training-set", TrainingSet, "2020-07-31")
