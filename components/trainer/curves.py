"""Training curves: accuracy and loss by epoch as a PNG."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from components.records.history import Epoch

_MOST_TICKS = 12


def draw_curves(history: Sequence[Epoch], kept: str) -> bytes:
    """Renders `plot_history` as a PNG of 1200 x 480 pixels."""
    png = io.BytesIO()
    plot_history(history, kept).savefig(png, format="png")
    return png.getvalue()


def plot_history(history: Sequence[Epoch], kept: str) -> Figure:
    """Plots accuracy and loss by epoch, on training and validation images.

    Epochs are numbered through both phases. The curve of phase 2 starts from the best epoch of phase 1, as its training
    does. A star marks the epoch that was exported.

    Args:
        history: epochs of both phases.
        kept: phase that was exported.
    """
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for key, label, color in ((metric, "train", "C0"), (f"val_{metric}", "val", "C1")):
            _draw_phases(axes, history, key, label, color)
        _mark_kept(axes, history, kept, f"val_{metric}")
        axes.set(xlabel="epoch", ylabel=metric, title=metric.capitalize(), xlim=(0.5, len(history) + 0.5))
        axes.xaxis.set_major_locator(MultipleLocator(max(1, round(len(history) / _MOST_TICKS))))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _draw_phases(axes: Axes, history: Sequence[Epoch], key: str, label: str, color: str) -> None:
    """Draws a line for each phase; the line of phase 2 begins with the best value of phase 1 at its last epoch."""
    first = [getattr(row, key) for row in history if row.phase == history[0].phase]
    axes.plot(range(1, len(first) + 1), first, marker="o", color=color, label=label)
    second = [getattr(row, key) for row in history[len(first) :]]
    if second:
        start = next(getattr(row, key) for row in history if row.best)
        epochs = range(len(first), len(history) + 1)
        axes.plot(epochs, [start, *second], marker="o", markevery=slice(1, None), color=color, linestyle="--")


def _mark_kept(axes: Axes, history: Sequence[Epoch], kept: str, key: str) -> None:
    if history[0].phase != history[-1].phase:
        heads = sum(row.phase == history[0].phase for row in history)
        axes.axvline(heads + 0.5, color="grey", linestyle=":", label="fine-tuning starts")
    for epoch, row in enumerate(history, 1):
        if row.best and row.phase == kept:
            axes.plot(
                [epoch], [getattr(row, key)], marker="*", markersize=16, color="black", linestyle="none", label="kept"
            )
