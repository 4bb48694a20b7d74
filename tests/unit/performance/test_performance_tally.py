"""Tallies of a contest: mergeable, by contestant and by slice, equal to scikit-learn's figures on the rows themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from sparkml_ops.performance.tally import ALL, SLICES, Scored, Tally

NAMES = ("challenger", "champion")


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Scores of two models, labels, positions and two columns of slices, one with nulls."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 1, count)
    return pd.DataFrame(
        {
            "challenger": 1 / (1 + np.exp(-(logits + rng.normal(0, 0.4, count)))),
            "champion": 1 / (1 + np.exp(-(logits + rng.normal(0, 0.8, count)))),
            "label": (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(np.int64),
            "position": np.arange(count),
            "origin": rng.choice(np.array(["EWR", "JFK", None], object), count),
            "hour": rng.integers(0, 4, count).astype(str),
        }
    )


def scored(frame: pd.DataFrame, names: Sequence[str] = NAMES, slices: Mapping[str, str] | None = None) -> Scored:
    values = {number: pa.array(frame[column], pa.string()) for number, column in (slices or {"0": "origin", "1": "hour"}).items()}
    return Scored({name: frame[name].to_numpy() for name in names}, frame["label"].to_numpy(), frame["position"].to_numpy(), values)


def tally(*parts: Scored, names: Sequence[str] = NAMES) -> Tally:
    made = Tally(names, 200, 5)
    for part in parts:
        made.update(part)
    return made


def merged(*parts: Tally, names: Sequence[str] = NAMES) -> Tally:
    """Parts as they come together: through batches, as between processes."""
    made = Tally(names, 200, 5)
    for part in parts:
        for batch in part.batches():
            for row in batch.to_pylist():
                made.merge(row)
    return made


def test_all_rows_and_every_slice_are_those_of_scikit_learn() -> None:
    """AUC and log loss of both models, over all rows, by airport (null is a slice) and by hour."""
    frame = rows(4000)
    found = tally(scored(frame)).measured
    cuts = {ALL: frame, **{f"0={name}": frame[frame["origin"] == name] for name in ("EWR", "JFK")}, "0=null": frame[frame["origin"].isna()]}
    cuts |= {f"1={hour}": frame[frame["hour"] == hour] for hour in "0123"}

    assert {cut for _, cut in found} == set(cuts)
    for cut, part in cuts.items():
        for name in NAMES:
            measured = found[name, cut]
            assert measured.rows == len(part)
            assert measured.counts.auc == pytest.approx(roc_auc_score(part["label"], part[name]), abs=1e-12)
            assert measured.loss / measured.rows == pytest.approx(log_loss(part["label"], part[name]), abs=1e-12)


def test_parts_merge_to_the_whole_in_any_order() -> None:
    """Counts to the last bit; the bootstrap's too."""
    frame = rows(3000)
    parts = [tally(scored(frame[start::3])) for start in range(3)]
    whole, found = tally(scored(frame)), merged(parts[2], merged(parts[0], parts[1]))

    assert found.measured.keys() == whole.measured.keys()
    for key, measured in whole.measured.items():
        np.testing.assert_array_equal(found.measured[key].counts.scores, measured.counts.scores)
        np.testing.assert_array_equal(found.measured[key].counts.positives, measured.counts.positives)
        assert found.measured[key].loss == pytest.approx(measured.loss, rel=1e-12)
    assert whole.drawn is not None
    assert found.drawn is not None
    np.testing.assert_array_equal(found.drawn.counts, whole.drawn.counts)


def test_blocks_can_be_joined_before_they_are_counted() -> None:
    """As one block or as two."""
    frame = rows(1000)
    joined = Scored.joined([scored(frame[:300]), scored(frame[300:])])

    assert tally(joined).measured["champion", "0=JFK"].counts.auc == tally(scored(frame)).measured["champion", "0=JFK"].counts.auc


def test_a_row_that_one_model_cannot_judge_counts_for_none() -> None:
    """The comparison is paired, and says how many rows it left out."""
    frame = rows(1000)
    frame.loc[frame.index % 50 == 0, "champion"] = np.nan
    found = merged(tally(scored(frame[:500])), tally(scored(frame[500:])))

    assert found.unscored == 20
    assert {found.measured[name, ALL].rows for name in NAMES} == {980}
    assert sum(found.measured["champion", f"1={hour}"].rows for hour in "0123") == 980


def test_a_column_with_too_many_values_is_given_up_and_the_others_are_not() -> None:
    """Whether one task sees them all, or only all tasks together."""
    frame = rows(2000)
    frame["ident"] = [str(number % (SLICES + 5)) for number in range(len(frame))]
    columns = {"0": "ident", "1": "origin"}
    one, late = tally(scored(frame, slices=columns)), tally(scored(frame[:100], slices=columns))
    found = merged(late, one, late)

    assert one.crowded == found.crowded == {"0"}
    assert late.crowded == set()
    assert {cut for _, cut in found.measured} == {ALL, "1=EWR", "1=JFK", "1=null"}


def test_one_contestant_has_no_bootstrap() -> None:
    """Alone it is measured by slice only."""
    frame = rows(500)
    found = tally(scored(frame, ("challenger",)), names=("challenger",))

    assert found.drawn is None
    assert found.measured["challenger", ALL].counts.auc == pytest.approx(roc_auc_score(frame["label"], frame["challenger"]), abs=1e-12)
