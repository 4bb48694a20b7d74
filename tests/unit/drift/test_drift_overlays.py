"""Pictures of values over the windows, from stored profiles: as pandas counts them, and nothing where they cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from finished_work import Night
from pyspark.sql.pandas.types import from_arrow_schema
from typer.testing import CliRunner

from sparkml_ops.cli.app import app
from sparkml_ops.drift import METRICS_TABLE, STATE_TABLE, Profile
from sparkml_ops.drift.measure import _METRICS
from sparkml_ops.drift.states import _SCHEMA, StateKey, StoredProfile, write_profiles
from sparkml_ops.verbs import history

REFERENCE = "training_set_tiny@0"


def rows(seed: int, shift: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"x": random.normal(shift, 1, 5000), "word": random.choice(list("abcdefg"), 5000, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])})


@pytest.fixture
def night(tmp_path: Path, profiled: Callable[..., Profile]) -> Night:
    """Three windows; the second was profiled on other edges."""
    night = Night(tmp_path / "p")
    tables = night.work.tables
    tables.ensure(STATE_TABLE, from_arrow_schema(_SCHEMA))
    base = profiled(rows(0, 0.0))
    other = profiled(rows(9, 2.0))
    found = [StoredProfile(StateKey("tiny", "reference-1", "reference"), base, REFERENCE)]
    for month, shift, edges in ((1, 0.0, base.edges), (2, 0.5, other.edges), (3, 1.0, base.edges)):
        window = f"2020-{month:02}"
        found.append(StoredProfile(StateKey("tiny", window), profiled(rows(month, shift), edges), f"tiny_scores_scoring_set@{month}"))
        night.score(window)
        run_id = night.drift(window, {"x": "drift", "word": "no drift"})
        common: dict[str, Any] = {**dict.fromkeys(_METRICS.names), "project": "tiny", "window": window, "slot": "champion", "run_id": run_id}
        told = [{**common, "column": column, "statistic": "missing", "reference": REFERENCE, "n": 1, "m": 1} for column in ("x", "word")]
        tables.add(METRICS_TABLE, from_arrow_schema(_METRICS), told)
    write_profiles(tables, found)
    return night


def test_shares_are_those_of_the_rows(night: Night) -> None:
    """Numbers by equal bins of the middle of what is shown, categories by name; a window on other edges is left out."""
    x, word = history.months(night.work, pictures=True).overlays

    assert (x.column, word.column, list(x.windows)) == ("x", "word", ["2020-01", "2020-03"])
    counts = [rows(seed, 0.0).word.value_counts(normalize=True) for seed in (0, 3)]
    names = [name for _, name in word.ticks]
    assert (names[:2], set(names[2:5]), names[5]) == (["a", "b"], set("cde"), "other")
    assert word.reference[:2] == pytest.approx(counts[0][["a", "b"]].tolist())
    assert word.windows["2020-03"][-1] == pytest.approx(counts[1][[name for name in "abcdefg" if name not in names]].sum())
    assert sum(word.reference) == pytest.approx(1.0)
    values = rows(3, 1.0).x
    middle = np.average(np.linspace(0, 1, len(x.reference)), weights=x.windows["2020-03"]) - np.average(
        np.linspace(0, 1, len(x.reference)), weights=x.reference
    )
    assert sum(x.windows["2020-03"]) == pytest.approx(0.99, abs=0.01)
    assert middle * (values.quantile(0.995) - rows(0, 0.0).x.quantile(0.005)) == pytest.approx(1.0, abs=0.1)


def test_only_the_page_reads_them(night: Night, tmp_path: Path) -> None:
    """The table needs no pictures; states of a form that is not read any more are no picture, and no error."""
    place = ["report", "--project", "tiny", "--conf", str(night.place.folder / "conf"), "--html", str(tmp_path / "year.html")]
    assert history.months(night.work).overlays == ()
    assert CliRunner().invoke(app, place).exit_code == 0
    assert (tmp_path / "year.html").read_text().count('class="overlay"') == 2

    tables = night.work.tables
    old = [{**row, "state": b"ARROW1", "column_edges": b"ARROW1"} for row in tables.rows(STATE_TABLE)]
    tables.put(STATE_TABLE, from_arrow_schema(_SCHEMA), old, {"table": "tiny"})
    assert history.months(night.work, pictures=True).overlays == ()
