"""A driver that streams one refresh to its end, in a process of its own that attaches to a running JVM."""

from __future__ import annotations

import sys

from running_session import attach

import feature_store as fs
from feature_store.incremental import plan, update


def main(root: str, checkpoint: str) -> None:
    """Stream the table `totals`, which is too small to be worth it."""
    plan.SMALL, plan.FEED, update.MOST = 0, float("inf"), float("inf")
    fs.FeatureStore(attach(), root=root).stream("totals", checkpoint=checkpoint).awaitTermination()


if __name__ == "__main__":
    main(*sys.argv[1:])
