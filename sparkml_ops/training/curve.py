"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparkml_ops.training.checkpoint import Epoch

__all__ = ["draw_curve"]


def draw_curve(history: Sequence[Epoch], kept: Epoch, path: Path) -> None:
    """Draw losses and validation AUC by epoch into a PNG file.

    Args:
        history: Finished epochs, in order.
        kept: The epoch whose weights became the model.
        path: The file.
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
    axes.set(xlabel="epoch", ylabel="log loss, nats a row")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines, names = axes.get_legend_handles_labels()
    if ranked := {epoch.epoch + 1: epoch.validation_auc for epoch in history if epoch.validation_auc is not None}:
        right = axes.twinx()
        right.set_ylabel("AUC")
        lines += right.plot([*ranked], [*ranked.values()], color="tab:green", marker="s")
        names.append("validation AUC")
    axes.legend(lines, names)
    figure.savefig(path, dpi=100)
