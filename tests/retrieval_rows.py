"""Customers who buy products: rows of queries with the items that were seen, and a model of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
from training_rows import task

from feature_store.scan import Scan
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput, Towers
from sparkml_ops.model.target import Target
from sparkml_ops.storage import Storage
from sparkml_ops.training.loop import TrainingTask

__all__ = ["ITEMS", "pairs", "retrieval_task", "spec_of"]

ITEMS = 30
_KINDS = ("book", "game", "tool")
_HIDDEN, _DIMENSION = (8,), 6


def pairs(rows: int, seed: int = 0) -> pa.Table:
    """Rows of all splits: nine products of ten are of the kind that the customer likes, and low numbers are frequent."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, 3, rows)
    kind = np.where(rng.random(rows) < 0.9, taste, rng.integers(0, 3, rows))
    product = kind + 3 * np.minimum(rng.geometric(0.3, rows) - 1, ITEMS // 3 - 1)
    return pa.table(
        {
            "customer": np.array(["ann", "bob", "cid"])[taste],
            "hour": pa.array(rng.normal(12, 4, rows), mask=rng.random(rows) < 0.1),
            "product": np.array([f"p{index:02d}" for index in product]),
            "kind": np.array(_KINDS)[kind],
            "price": 1.5 * product,
            "split": rng.choice(["train", "validation", "evaluation"], rows, p=[0.7, 0.15, 0.15]),
            "row_position": np.arange(rows),
        }
    )


def spec_of(data: pa.Table, dropout: float = 0.0) -> ModelSpec:
    """Two towers for `pairs`; the products' numbers are counted from its train split."""
    frame = data.to_pandas()
    items = tuple(sorted(frame["product"].unique()))
    counts = Counter(frame.loc[frame["split"] == "train", "product"])
    return ModelSpec(
        "two_tower",
        (NumericInput("hour", "double", 12.0, 12.0, 4.0, indicator=True), NumericInput("price", "double", 20.0, 20.0, 13.0)),
        (
            CategoricalInput("customer", "string", ("ann", "bob", "cid"), 3),
            CategoricalInput("kind", "string", _KINDS, 3),
            CategoricalInput("product", "string", items, 4),
        ),
        _HIDDEN,
        dropout,
        target=Target("retrieval", items=items, counts=tuple(counts[name] for name in items), dimension=_DIMENSION, top=5),
        towers=Towers(("customer", "hour"), temperature=0.2),
    )


def retrieval_task(scan: Scan, data: pa.Table, storage: Storage, settings: TrainingSection, spec: ModelSpec) -> TrainingTask:
    """A training of the rows of a scan, with its catalogue in storage."""
    last = data.to_pandas().drop_duplicates("product", keep="last").rename(columns={"product": "__item"})
    table = pa.Table.from_pandas(last.assign(product=last["__item"])[["__item", "kind", "price", "product"]], preserve_index=False)
    names = []
    for part in (table.slice(0, 7), table.slice(7)):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
        names.append(f"training/test/catalogue/{len(names)}.arrow")
        storage.publish(names[-1], sink.getvalue().to_pybytes(), kind="catalogue_part")
    return replace(task(scan, storage, settings, spec, label="product"), catalogue=tuple(names))
