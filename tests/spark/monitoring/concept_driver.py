"""A driver that follows a stream of errors to its end, in a process of its own that attaches to a running JVM."""

from __future__ import annotations

import sys

from pyspark.sql.streaming.query import StreamingQuery
from running_session import attach

from feature_store.delta import Tables
from feature_store.delta.changes import row_stream
from feature_store.names import Warehouse
from sparkml_ops.monitoring.concept_stream import follow


def start(tables: Tables, checkpoint: str, **settings: float) -> StreamingQuery:
    """The errors of each origin, by DDM."""
    stream = row_stream(tables, "errors")
    return follow(tables, stream, "error", name="errors", order=["at"], by=["origin"], checkpoint=checkpoint, detector="ddm", **settings)


if __name__ == "__main__":
    start(Tables(attach(), Warehouse(root=sys.argv[1])), sys.argv[2]).awaitTermination()
