"""Draws the history of a training run."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_curves(history: list[dict[str, Any]]) -> bytes:
    """Draws accuracy and loss by epoch, training and validation, with the change of phase marked.

    Args:
        history: a row per epoch: `phase`, `loss`, `accuracy`, `val_loss`, `val_accuracy`.
    Returns:
        A PNG.
    """
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    epochs = range(1, len(history) + 1)
    phases = [row["phase"] for row in history]
    change = next((i + 0.5 for i in range(1, len(phases)) if phases[i] != phases[i - 1]), None)
    for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        axes.plot(epochs, [row[metric] for row in history], marker="o", label="train")
        axes.plot(epochs, [row[f"val_{metric}"] for row in history], marker="o", label="val")
        if change:
            axes.axvline(change, color="grey", linestyle="--", label="fine-tuning starts")
        axes.set(xlabel="epoch", ylabel=metric, title=metric.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
