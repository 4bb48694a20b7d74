"""The counts of the pass merge: however rows are cut, the state is the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from sparkml_ops.config.monitoring import MonitoringSection
from sparkml_ops.monitoring.tally import Counting, Oddity, Tally, merged, packed
from sparkml_ops.monitoring.tally import counted as counted_batches

HOURS = (1.0, 24.0)


def rows(size: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    odd = random.random(size) < 0.05
    known = (random.random(size) < 0.7) & ~odd
    label = pa.array((random.random(size) < 0.4).astype(float), mask=~known)
    return pa.table(
        {
            "window": random.choice(["2013-07", "2013-08"], size),
            "score": pa.array(random.random(size).round(2), mask=odd & (random.random(size) < 0.5)),
            "label": label,
            "lag": pa.array(random.exponential(12, size), mask=~known),
            "odd": pa.array(np.where(odd, "contradiction", None)),
            "key": pa.array([f"k{number}" if strange else None for number, strange in enumerate(odd)]),
            "segment_0": pa.array(random.choice(["JFK", "EWR"], size), mask=random.random(size) < 0.1),
        }
    )


def counted(table: pa.Table, counting: Counting) -> dict[tuple[str, str | None], Tally]:
    return merged(packed(counted_batches(table.to_batches(max_chunksize=700), counting)))


def plain(tallies: dict[tuple[str, str | None], Tally]) -> dict[object, object]:
    def of(tally: Tally) -> object:
        counts = [[values.tolist() for values in (item.scores, item.negatives, item.positives)] for item in (tally.scored, tally.labelled)]
        return counts, tally.lag.tolist(), dict(tally.odd)

    return {part: of(tally) for part, tally in sorted(tallies.items(), key=str)}


def test_parts_of_the_rows_in_any_order_are_the_whole() -> None:
    """Counted in five parts, merged backwards, and sent between processes."""
    table, counting = rows(5000, 1), Counting(("origin",), HOURS)
    whole = counted(table, counting)
    parts = [counted(table.slice(start, 1000), counting) for start in range(0, 5000, 1000)]
    together = merged(batch for part in reversed(parts) for batch in packed(part))

    assert plain(together) == plain(whole)
    assert set(whole) == {(window, segment) for window in ("2013-07", "2013-08") for segment in (None, "origin=JFK", "origin=EWR", "origin=null")}


def test_counts_are_those_of_the_rows() -> None:
    """Against pandas: scored, labelled, lag cells, oddities with the first keys; segments add up to the whole."""
    table = rows(3000, 2)
    found = counted(table, Counting(("origin",), HOURS))
    frame = table.to_pandas()
    july = frame[frame["window"] == "2013-07"]
    whole = found["2013-07", None]

    assert whole.scored.negatives.sum() == july["score"].notna().sum()
    assert whole.labelled.positives.sum() == (july["label"] == 1).sum()
    assert whole.lag.tolist() == [(july["lag"] <= 1).sum(), ((july["lag"] > 1) & (july["lag"] <= 24)).sum(), (july["lag"] > 24).sum()]
    strange = july[july["odd"].notna()]
    assert whole.odd == {"contradiction": Oddity(len(strange), tuple(sorted(strange["key"])[:3]))}
    segments = [tally for (window, segment), tally in found.items() if window == "2013-07" and segment]
    assert sum(tally.labelled.negatives.sum() for tally in segments) == whole.labelled.negatives.sum()


def test_a_lag_on_the_hour_is_within_it() -> None:
    """Within h hours means at most h."""
    tally = Tally.of(np.array([0.5, 0.5, 0.5]), np.array([1.0, 0.0, np.nan]), np.array([1.0, 1.0000001, np.nan]), HOURS)

    assert tally.lag.tolist() == [1, 1, 0]


def test_too_many_segments_are_said_and_not_kept() -> None:
    """A column of keys would make a state of every row."""
    found = counted(rows(500, 3), Counting(("origin",), HOURS, most_segments=2))

    assert ("", "origin") in found
    assert not [segment for _, segment in found if segment and "=" in segment]


def test_the_section_refuses_a_curve_that_falls() -> None:
    """And reads durations as everywhere."""
    with pytest.raises(ValidationError, match="rising"):
        MonitoringSection(lag_hours=(3, 1))
    with pytest.raises(ValidationError, match="above 0"):
        MonitoringSection(lag_hours=(0, 1))
    assert MonitoringSection(final_after="720h").final_after == "30d"
