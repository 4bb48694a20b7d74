"""Where a rank computes: its processor, or the one GPU that it sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from sparkml_ops.training.loader import Batch

__all__ = ["moved", "on_device"]


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch with the tensors that a step computes with on a device; positions stay, they are for messages only."""
    if device.type == "cpu":
        return batch
    # From pinned memory, or the copy would wait for the processor and the processor for the copy.
    there = {name: getattr(batch, name).pin_memory().to(device, non_blocking=True) for name in ("numeric", "categories", "label", "weight")}
    return replace(batch, **there)


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on a device, in the same order.

    For a GPU the next batch is copied on a stream of its own while the last one is computed with.
    """
    if device.type == "cpu":
        yield from batches
        return
    copies, waiting = torch.cuda.Stream(device), None  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(copies):
            following = moved(batch, device), copies.record_event()
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = following
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """A batch that the computing stream may use: it waits for the copy, and the memory stays until it is done."""
    computing = torch.cuda.current_stream()
    computing.wait_event(copied)
    for tensor in (batch.numeric, batch.categories, batch.label, batch.weight):
        tensor.record_stream(computing)
    return batch
