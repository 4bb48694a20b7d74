"""Rows a second of a rank on a GPU, beside a bare loop of torch on the same GPU and beside the processor; prints Markdown for docs/benchmarks.md.

Batches lie in memory and are copied to the GPU in each step, in ours on a stream of its own. It needs one GPU; where there is none it says so and
ends with 2.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path

import torch
from rounds import heading, measure
from training import BATCH, ours, trained

from sparkml_ops.model.network import build
from sparkml_ops.training.loader import Batch
from sparkml_ops.training.loop import Trainer

MODELS = {"small (64, 32)": ((64, 32), 200), "1 M parameters (1000, 1000)": ((1000, 1000), 100), "67 M (8192, 8192)": ((8192, 8192), 50)}
TYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8 * BATCH, help="rows of a batch")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("found no GPU that torch sees: run this on a machine that has one", file=sys.stderr)
        return 2
    print(heading(f"python scripts/bench/gpu_training.py {' '.join(sys.argv[1:])}".strip()), end="\n\n")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batches of {arguments.batch} rows\n")
    print(
        "| model | type | ours, M rows/s | bare loop, M rows/s | overhead | processor, M rows/s | peak GPU MiB |\n|---|---|---:|---:|---:|---:|---:|"
    )
    for name, (hidden, steps) in MODELS.items():
        with tempfile.TemporaryDirectory(prefix="sparkml-ops-bench-") as folder:
            compare(name, Path(folder), hidden, steps, arguments.rounds, arguments.batch)
    return 0


def compare(name: str, folder: Path, hidden: tuple[int, ...], steps: int, rounds: int, size: int) -> None:
    """All in turns on batches that are in memory."""
    epochs = count()
    contestants: dict[str, Callable[[], object]] = {}
    for dtype, half in TYPES.items():
        trainer = trained(folder / dtype, hidden, steps, size, dtype=dtype, device="cuda")
        batches = list(trainer.loaders["train"].batches(0))
        contestants[f"ours {dtype}"] = partial(waited, lambda trainer=trainer, batches=batches: ours(trainer, batches, next(epochs)))
        contestants[f"bare {dtype}"] = partial(waited, partial(bare, trainer, batches, half))
    here = trained(folder / "cpu", hidden, few := max(1, steps // 10), size)
    contestants["processor"] = partial(ours, here, list(here.loaders["train"].batches(0)), 0)
    torch.cuda.reset_peak_memory_stats()
    costs = measure(contestants, rounds, alternate=True)
    peak, beside = torch.cuda.max_memory_allocated() / 2**20, few * size / costs["processor"].seconds / 1e6
    for dtype in TYPES:
        mine, theirs = (costs[f"{who} {dtype}"].seconds for who in ("ours", "bare"))
        rates = (steps * size / seconds / 1e6 for seconds in (mine, theirs))
        speeds = " | ".join(f"{rate:.2f}" for rate in rates)
        print(f"| {name} | {dtype} | {speeds} | {mine / theirs - 1:.1%} | {beside:.3f} | {peak:.0f} |", flush=True)


def waited(run: Callable[[], object]) -> None:
    """Run something and wait until the GPU has done it."""
    run()
    torch.cuda.synchronize()


def bare(trainer: Trainer, batches: list[Batch], half: torch.dtype | None) -> None:
    """The same sums as torch's own recipes write them."""
    settings = trainer._settings
    model = build(trainer._task.spec, settings.seed, torch.float32).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.optimizer.lr)
    scaler = torch.amp.GradScaler("cuda", enabled=half is torch.float16)
    for batch in batches:
        numeric, categories, label = (tensor.pin_memory().to("cuda", non_blocking=True) for tensor in (batch.numeric, batch.categories, batch.label))
        optimizer.zero_grad()
        with nullcontext() if half is None else torch.autocast("cuda", half):
            logits = model(numeric, categories)
        scaler.scale(torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), label)).backward()
        scaler.step(optimizer)
        scaler.update()


if __name__ == "__main__":
    raise SystemExit(main())
