"""The items of a training set with their features, one row each: made by Spark, written by its tasks, read by ranks.

An item's features are those of its row with the highest `row_position`; where they are the item's own, all its rows have the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.storage import Storage
from sparkml_ops.training.plan import POSITION, SPLIT

if TYPE_CHECKING:  # ranks read the catalogue, and Spark's classes would cost them a second
    import torch
    from pyspark.sql import DataFrame

__all__ = ["read", "with_catalogue", "write"]

_ITEM, _FEATURES = "__item", "__features"


def write(frame: DataFrame, spec: ModelSpec, label: str, storage: Storage, folder: str) -> list[str]:
    """Write one row of each item; returns the names of the objects.

    Args:
        frame: The training set, all splits.
        spec: Of kind `two_tower`.
        label: Column that identifies the item.
        storage: Where the objects go, from the executors.
        folder: Their prefix.
    """
    from pyspark.sql import functions as F

    inputs = [F.col(quote(name)) for name, _ in spec.tower("item").inputs]
    rows = frame.where(F.col(SPLIT).isNotNull() & F.col(quote(label)).isNotNull())
    newest = F.max_by(F.struct(*inputs), F.col(POSITION)).alias(_FEATURES)
    items = rows.groupBy(F.col(quote(label)).cast("string").alias(_ITEM)).agg(newest).select(_ITEM, f"{_FEATURES}.*")
    return sorted(row["name"] for row in items.mapInArrow(_writing(storage, folder), "name string").collect())


def read(spec: ModelSpec, storage: Storage, names: Sequence[str]) -> pa.Table:
    """The columns of the item's inputs, a row for each of `spec.target.items`, in their order.

    Args:
        spec: Of kind `two_tower`.
        storage: Where the objects lie.
        names: What `write` returned.

    Raises:
        ContractError: They are not those of the model's items.
    """
    rows = pa.concat_tables(pa.ipc.open_stream(storage.read(name)).read_all() for name in names)
    places = pc.index_in(rows.column(_ITEM).cast(pa.string()), value_set=pa.array(spec.target.items, pa.string())).to_numpy()
    if not np.array_equal(np.sort(places), np.arange(len(spec.target.items))):
        raise ContractError(f"{rows.num_rows} items in the catalogue", expected=f"the {len(spec.target.items)} of the model", mend="train anew")
    return rows.drop_columns([_ITEM]).take(pa.array(np.argsort(places)))


def with_catalogue(spec: ModelSpec, state: Mapping[str, torch.Tensor], storage: Storage, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The weights of a finished training, of a two-tower model with the vectors of its items.

    Raises:
        ContractError: An item has infinite numbers, and so no vector.
    """
    if spec.kind != "two_tower":
        return dict(state)
    import torch

    from sparkml_ops.model.retriever import CATALOGUE, tower, vectors

    found = torch.from_numpy(vectors(spec, tower(spec, state, "item"), read(spec, storage, names)))
    if lost := int((~found.isfinite().all(1)).sum()):
        raise ContractError(f"{lost} items with infinite numbers", expected="finite ones", mend="make them null where the feature is built")
    return {**state, CATALOGUE: found.to(next(value.dtype for value in state.values() if value.is_floating_point()))}


def _writing(storage: Storage, folder: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        if parts := [batch for batch in batches if batch.num_rows]:
            context, sink = TaskContext.get(), pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, parts[0].schema) as writer:
                for part in parts:
                    writer.write_batch(part)
            name = f"{folder}/{context.partitionId() if context else 0:05d}.arrow"
            storage.publish(name, sink.getvalue().to_pybytes(), kind="catalogue_part")
            yield pa.RecordBatch.from_pydict({"name": [name]})

    return work
