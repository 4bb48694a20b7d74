"""Items that came after a retrieval model was trained: their vectors as a Delta table, and the best of them for queries.

The model's own catalogue is that of its training set and travels inside the artifact; `score` recommends from it. An index is made from any
frame of items by the same tower, in one distributed pass, and may be larger: each worker holds its vectors, 1 GiB at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, StringType, StructField, StructType

from feature_store.delta import Tables
from feature_store.names import quote
from feature_store.records import Snapshot
from feature_store.scan import plan_scan
from sparkml_ops.errors import ContractError
from sparkml_ops.model import artifact
from sparkml_ops.model.spec import ModelSpec, Side
from sparkml_ops.scoring.loading import limit_threads
from sparkml_ops.scoring.matching import Match, match
from sparkml_ops.scoring.model import ScoringModel
from sparkml_ops.scoring.published import PublishedModel
from sparkml_ops.scoring.signature import Field

if TYPE_CHECKING:  # the driver that plans a pass needs no torch
    from sparkml_ops.model.nearest import Catalogue
    from sparkml_ops.model.retriever import Retriever

__all__ = ["MOST_BYTES", "build_index", "recommend"]

#: Of an index, at four bytes a number: what each worker holds.
MOST_BYTES = 1 << 30
_SCHEMA = "item string, vector array<double>, model string"
_ITEMS, _SCORES = "items", "scores"
_KEPT = 2


@dataclass(frozen=True)
class _Index:
    """An index as a worker finds it.

    Args:
        files: Its Parquet files.
        dimension: Numbers of a vector.
    """

    files: tuple[str, ...]
    dimension: int


def build_index(tables: Tables, model: ScoringModel, items: DataFrame, *, item: str, name: str) -> Snapshot:
    """Write the vectors of some items into a table, in place of what was there.

    Args:
        tables: The warehouse.
        model: What `load` returned, of kind `two_tower`.
        items: A row for each item, with the columns that the item's tower reads; null is a missing value.
        item: Column that identifies the item.
        name: Of the table: columns `item` (text), `vector` and `model` (the digest).

    Raises:
        ContractError: The model is no retrieval, a column is missing or of another type, an item is null or there twice, there are none or too
            many, or one has infinite numbers.
    """
    spec = _spec(model.published)
    matches = _matches(spec, "item", items)
    rows, dimension = _count(items, item), spec.target.dimension
    if not 0 < rows * dimension * 4 <= MOST_BYTES:
        raise ContractError(
            f"{rows} items of {dimension} numbers",
            expected=f"1 to {MOST_BYTES // (4 * dimension)} items",
            mend="leave out those that nobody is shown",
        )
    columns = [match.value(text_integers=False).alias(match.field.name) for match in matches]
    identity = F.col(quote(item)).cast("string").alias("__item")
    frame = items.select(identity, *columns).mapInArrow(_indexing(model.published), _SCHEMA)
    return tables.overwrite(name, frame, details={"model": model.published.digest}).snapshot


def recommend(tables: Tables, model: ScoringModel, queries: DataFrame, index: Snapshot, *, keep: Sequence[str], most: int | None = None) -> DataFrame:
    """The best items of an index for each query, exactly; lazy.

    Args:
        tables: The warehouse.
        model: What `load` returned; the model that the index was made with.
        queries: Rows with the columns that the query's tower reads.
        index: What `build_index` returned.
        keep: Columns of the queries that go with the result.
        most: Items for each query; None: as the model says. Fewer where the index has fewer.

    Returns:
        `keep`, `items` (array of text, best first; of equal scores the earlier text) and `scores` (array of double); both are null for a query
        with an infinite number.

    Raises:
        ContractError: The index was made with another model, or a column is missing or of another type.
    """
    spec = _spec(model.published)
    matches = _matches(spec, "query", queries)
    if wrong := [name for name in keep if name in (_ITEMS, _SCORES) or name not in queries.columns]:
        expected = f"some of {queries.columns[:20]}, and neither {_ITEMS} nor {_SCORES}, which the result has itself"
        raise ContractError(f"{wrong} among the columns to keep", expected=expected, mend="correct or rename them")
    _refuse_another(tables, model, index)
    scan = plan_scan(tables, index)
    if scan is None:
        raise ContractError(f"index `{index.table}` with a feature that Spark alone reads", expected="plain Parquet files", mend="build it anew")
    kept = [StructField(name, queries.schema[name].dataType) for name in keep]
    schema = StructType([*kept, StructField(_ITEMS, ArrayType(StringType())), StructField(_SCORES, ArrayType(DoubleType()))])
    columns = [F.col(quote(name)).alias(f"keep_{place}") for place, name in enumerate(keep)]
    features = [match.value(text_integers=False).alias(match.field.name) for match in matches]
    found = _Index(tuple(file.path for file in scan.files), spec.target.dimension)
    work = _recommending(model.published, found, tuple(schema.names), most or spec.target.top)
    return queries.select(*columns, *features).mapInArrow(work, schema)


def _spec(model: PublishedModel) -> ModelSpec:
    document = model.storage.read(model.name(artifact.DESCRIPTION)) if artifact.DESCRIPTION in dict(model.files) else b""
    spec = ModelSpec.from_json(document.decode()) if document else None
    if spec is None or spec.towers is None:
        raise ContractError("a model that is no retrieval", expected="one of kind two_tower", mend="train one with training.task=retrieval")
    return spec


def _matches(spec: ModelSpec, side: Side, frame: DataFrame) -> tuple[Match, ...]:
    tower = spec.tower(side)
    lengths = {column.name: len(column.mean) for column in tower.arrays}
    fields = [Field(name, kind, length=lengths.get(name)) for name, kind in tower.inputs]
    types = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    return match(types, fields, where=f"the frame of {'items' if side == 'item' else 'queries'}")


def _count(items: DataFrame, item: str) -> int:
    """Rows of the frame.

    Raises:
        ContractError: An item is null, or there twice.
    """
    if item not in items.columns:
        raise ContractError(f"a frame of items without `{item}`", expected=f"one of {items.columns[:20]}", mend="name the column of the items")
    column = F.col(quote(item)).cast("string")
    found = items.agg(F.count(F.lit(1)), F.count(column), F.count_distinct(column)).first()
    rows, known, distinct = found if found is not None else (0, 0, 0)
    if rows != known or known != distinct:
        raise ContractError(
            f"{rows - known} null and {known - distinct} repeated items in `{item}`", expected="each item once", mend="leave such rows out"
        )
    return int(rows)


def _refuse_another(tables: Tables, model: ScoringModel, index: Snapshot) -> None:
    found = tables.read(index.table, index.version).agg(F.min("model"), F.max("model")).first()
    if found is None or {found[0], found[1]} != {model.published.digest}:
        raise ContractError(
            f"index `{index.table}` of the model {found[0] if found else None}",
            expected=f"{model.published.digest}: vectors of two models do not compare",
            mend="build it anew with this model",
        )


def _indexing(model: PublishedModel) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors = _retriever(model).vectors("item", batch)
            if lost := int((~np.isfinite(vectors).all(axis=1)).sum()):
                raise ContractError(f"{lost} items with infinite numbers", expected="finite ones or null", mend="make them null")
            ends = pa.array(np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32))
            lists = pa.ListArray.from_arrays(ends, pa.array(vectors.reshape(-1)))
            columns = [batch.column("__item"), lists, pa.array([model.digest] * len(vectors), pa.string())]
            yield pa.RecordBatch.from_arrays(columns, ["item", "vector", "model"])

    return work


def _recommending(
    model: PublishedModel, index: _Index, names: Sequence[str], most: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from sparkml_ops.model.retriever import listed

        for batch in batches:
            items, catalogue = _held(model, index)
            lists = listed(items, *_retriever(model).nearest(batch, most, catalogue))
            yield pa.RecordBatch.from_arrays([*batch.columns[: len(names) - len(lists)], *lists], names=list(names))

    return work


@lru_cache(maxsize=_KEPT)
def _retriever(model: PublishedModel) -> Retriever:
    """The model of a worker, loaded once."""
    from sparkml_ops.model.retriever import Retriever

    found = artifact.load(model.local_folder())
    assert isinstance(found, Retriever)
    limit_threads()
    return found


@lru_cache(maxsize=1)
def _held(model: PublishedModel, index: _Index) -> tuple[pa.Array, Catalogue]:
    """The index of a worker, read once: names in their order, and vectors in the model's dtype."""
    import fsspec

    parts = []
    for path in index.files:
        with fsspec.open(path, "rb") as source:
            parts.append(pq.read_table(source, columns=["item", "vector"]))
    rows = pa.concat_tables(parts).sort_by("item").combine_chunks()
    vectors = rows.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, index.dimension)
    return rows.column("item").combine_chunks(), _retriever(model).catalogue_of(vectors)
