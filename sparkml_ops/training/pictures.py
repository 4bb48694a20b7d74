"""Pictures of a training: its learning curve, what its decisions come to, what its probabilities mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparkml_ops.performance.decisions import Bin, Confusion
from sparkml_ops.training.checkpoint import Epoch

__all__ = ["draw", "draw_confusion", "draw_curve", "draw_reliability"]

_NATS = "log loss, nats a row"


def draw(folder: Path, history: Sequence[Epoch], kept: Epoch, evaluated: Mapping[str, Any], unit: str = _NATS) -> dict[str, Path]:
    """All pictures of a run; name to PNG file.

    Args:
        folder: Where they go.
        history: Finished epochs, in order.
        kept: The epoch whose weights became the model.
        evaluated: `confusion`, and `reliability` by model, as plain types; both of a binary model only.
        unit: Of the losses.
    """
    drawn = ["learning_curve", *(name for name in ("confusion", "reliability") if name in evaluated)]
    paths = {name: folder / f"{name}.png" for name in drawn}
    draw_curve(history, kept, paths["learning_curve"], unit)
    if "confusion" not in evaluated:
        return paths
    draw_confusion(Confusion(**evaluated["confusion"]), paths["confusion"])
    bins = {name: tuple(Bin(**part) for part in parts) for name, parts in evaluated["reliability"].items()}
    draw_reliability(bins, paths["reliability"])
    return paths


def draw_curve(history: Sequence[Epoch], kept: Epoch, path: Path, unit: str = _NATS) -> None:
    """Draw losses and validation AUC by epoch into a PNG file.

    Args:
        history: Finished epochs, in order.
        kept: The epoch whose weights became the model.
        path: The file.
        unit: Of the losses.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [epoch.epoch + 1 for epoch in history]
    axes.plot(epochs, [epoch.train_loss for epoch in history], marker="o", label="train loss (with dropout)")
    measured = {epoch.epoch + 1: epoch.validation_loss for epoch in history if epoch.validation_loss is not None}
    if measured:
        axes.plot([*measured], [*measured.values()], marker="o", label="validation loss")
    axes.axvline(kept.epoch + 1, color="grey", linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines, names = axes.get_legend_handles_labels()
    if ranked := {epoch.epoch + 1: epoch.validation_auc for epoch in history if epoch.validation_auc is not None}:
        right = axes.twinx()
        right.set_ylabel("AUC")
        lines += right.plot([*ranked], [*ranked.values()], color="tab:green", marker="s")
        names.append("validation AUC")
    axes.legend(lines, names)
    figure.savefig(path, dpi=100)


def draw_confusion(found: Confusion, path: Path) -> None:
    """Draw rows by label and decision into a PNG file; a field is as dark as its share of its label.

    Args:
        found: The rows.
        path: The file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    rows = ((found.true_negatives, found.false_positives), (found.false_negatives, found.true_positives))
    shares = [[count / max(sum(row), 1) for count in row] for row in rows]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for label, row in enumerate(rows):
        for decision, count in enumerate(row):
            share = shares[label][decision]
            axes.text(decision, label, f"{count:,}\n{share:.1%}", ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set(xlabel="decision at 0.5", ylabel="label", xticks=(0, 1), yticks=(0, 1))
    figure.savefig(path, dpi=100)


def draw_reliability(bins: Mapping[str, Sequence[Bin]], path: Path) -> None:
    """Draw the rate of label 1 over the score into a PNG file; on the diagonal a score is a probability.

    Args:
        bins: Model to its bins, rising.
        path: The file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    most = max(max(part.score, part.rate) for parts in bins.values() for part in parts)
    axes.plot((0, most), (0, most), color="grey", linestyle=":", label="score = rate")
    for name, parts in bins.items():
        axes.plot([part.score for part in parts], [part.rate for part in parts], marker="o", label=name)
    axes.set(xlabel="mean score of a bin", ylabel="share of label 1")
    axes.legend()
    figure.savefig(path, dpi=100)
