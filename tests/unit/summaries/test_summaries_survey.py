"""One pass over batches: groups, blocks, and what merging gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sparkml_ops.summaries import CategoryEdges, CategoryMaker, CellMaker, Layout, PrefixMaker, unpack_summary
from sparkml_ops.summaries.survey import Survey, _gathered, _Running, merge_states


def frame(rows: int = 4000) -> pd.DataFrame:
    random = np.random.default_rng(0)
    origin = random.choice(np.array(["JFK", "LGA", None], dtype=object), rows)
    days = pd.Timestamp("2013-07-01", tz="UTC") + pd.to_timedelta(random.integers(0, 5 * 86_400, rows), unit="s")
    return pd.DataFrame({"x": random.normal(0, 1, rows), "c": random.choice(list("ab"), rows), "origin": origin, "when": days})


def survey(data: pd.DataFrame, **options: Any) -> Survey:
    edges = Layout.of(PrefixMaker(1 << 20)(pa.array(data["x"]))).edges(1020)
    return Survey("s", {"x": CellMaker(edges), "c": CategoryMaker(CategoryEdges(("a", "b")), 10)}, **options)


def states(batch: pa.RecordBatch) -> dict[tuple[str | None, str | None, str], Any]:
    return {(row["segment"], row["block"], row["column"]): unpack_summary(row["state"]) for row in batch.to_pylist()}


def batches(data: pd.DataFrame, size: int) -> list[pa.RecordBatch]:
    return pa.Table.from_pandas(data, preserve_index=False).to_batches(max_chunksize=size)


def test_segments_stand_beside_the_whole() -> None:
    """Each value of a segment column is a group, null too, and the whole has all rows."""
    data = frame()
    (result,) = survey(data, segments=("origin",))(batches(data, 700))
    found = states(result)

    assert found[None, None, "x"].tally.n == len(data)
    assert found["origin=JFK", None, "x"].tally.n == (data["origin"] == "JFK").sum()
    assert found["origin=null", None, "c"].tally.n == data["origin"].isna().sum()
    (twice,) = survey(data, segments=("origin", "origin"))(batches(data, 700))
    assert states(twice)["origin=JFK", None, "x"].pack() == found["origin=JFK", None, "x"].pack()
    (alone,) = survey(data)(batches(data, 700))
    assert states(alone)[None, None, "x"].pack() == found[None, None, "x"].pack()


def test_blocks_split_every_group() -> None:
    """With a block column each group is there once for each block, here a UTC day."""
    data = frame()
    (result,) = survey(data, segments=("origin",), blocks="when")(batches(data, 700))
    found = states(result)
    july_first = data[data["when"].dt.strftime("%Y-%m-%d") == "2013-07-01"]

    assert found[None, "2013-07-01", "x"].tally.n == len(july_first)
    assert found["origin=LGA", "2013-07-01", "x"].tally.n == (july_first["origin"] == "LGA").sum()
    assert {block for _, block, _ in found} == {f"2013-07-0{day}" for day in range(1, 6)}


def test_keys_fall_into_a_bounded_number_of_blocks() -> None:
    """A block column of many keys gives at most 256 buckets, and equal keys share one."""
    data = frame().assign(customer=np.arange(4000) // 2)
    (result,) = survey(data, blocks="customer")(batches(data, 4000))
    sizes = [state.tally.n for (_, _, column), state in states(result).items() if column == "x"]

    assert len(sizes) <= 256
    assert all(size % 2 == 0 for size in sizes)


def test_batches_and_their_sizes_do_not_matter() -> None:
    """Two passes over differently cut batches merge to the same bytes."""
    data = frame()
    (one,) = survey(data)(batches(data, 4000))
    parts = [batch for half in (data[:1500], data[1500:]) for batch in survey(data)(batches(half, 333))]
    of_x = [table.filter(pa.compute.equal(table["column"], "x")) for table in (pa.Table.from_batches([one]), pa.Table.from_batches(parts))]

    assert merge_states(of_x[1]).to_pylist() == merge_states(of_x[0]).to_pylist()


def test_no_rows_give_no_states() -> None:
    """An empty partition hands on an empty batch of the same schema."""
    data = frame()
    (result,) = survey(data)([])

    assert result.num_rows == 0
    assert result.schema.names == ["side", "segment", "block", "column", "state"]


def test_a_segment_column_with_too_many_values_is_reported() -> None:
    """A row without column and state names the segment column, so that the driver can refuse it."""
    data = frame().assign(key=np.arange(4000).astype(str))
    (result,) = survey(data, segments=("key",), most_groups=50)(batches(data, 4000))

    assert {"side": "s", "segment": "key", "block": None, "column": "", "state": b""} in result.to_pylist()


def test_too_many_segments_are_noticed_across_batches() -> None:
    """Sorted by the segment, each batch has few values; their states do not pile up."""
    data = frame().assign(key=(np.arange(4000) // 40).astype(str))
    running = _Running(survey(data, segments=("key",), most_groups=30))
    for batch in batches(data, 400):
        running.add(pa.Table.from_batches([batch]))
        assert len(running.states) <= 2 * (30 + 1)

    assert running.overflow == {"key"}


def test_wide_batches_are_gathered_by_their_bytes() -> None:
    """Many columns make fewer rows at a time."""
    batch = pa.RecordBatch.from_pydict({"x": np.zeros(1 << 12)})
    wide = pa.RecordBatch.from_pydict({f"x{number}": np.zeros(1 << 12) for number in range(4096)})

    assert [table.num_rows for table in _gathered([batch] * 40)] == [1 << 17, 1 << 15]
    assert [table.num_rows for table in _gathered([wide] * 2)] == [1 << 12] * 2
