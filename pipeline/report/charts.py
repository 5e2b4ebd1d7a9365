"""Draws the charts of the page as SVG in the colours of the page, light or dark.

The SVG elements stand in the page itself, because an image in an `img` element cannot use the page's style sheet.
"""

import io
import re
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.evaluator.calibration import BINS
from components.records.history import TrainingHistory

# Placeholders for the colours of the page's style sheet; no chart uses them otherwise.
_INK, _MUTED, _GRID = "#010203", "#010204", "#010205"
_FIRST, _SECOND = "#010206", "#010207"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _GRID: "--line", _FIRST: "--accent", _SECOND: "--second"}
_BY_PROBABILITY = "by the probability of the predicted class, in ten bins; the table has the numbers."
_SIZE = (4.6, 3.2)  # inches of 72 points; a text of 10 points is readable on a phone at this size
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


def draw_curves(history: TrainingHistory, metric: str) -> Markup:
    """Draws accuracy or loss by epoch, with a line where fine-tuning begins and a star at the kept epoch.

    Args:
        history: history with one epoch or more.
        metric: "accuracy" or "loss".
    """

    def plot(axes: Axes) -> None:
        epochs = history.epochs
        phases = [row.phase for row in epochs]
        heads = phases.count(phases[0])
        for key, label, color, dash in ((metric, "train", _FIRST, "--"), (f"val_{metric}", "val", _SECOND, "-")):
            values = [getattr(row, key) for row in epochs]
            axes.plot(range(1, heads + 1), values[:heads], dash, marker="o", markersize=4, color=color, label=label)
            axes.plot(range(heads + 1, len(values) + 1), values[heads:], dash, marker="o", markersize=4, color=color)
        if heads < len(epochs):
            axes.axvline(heads + 0.5, color=_MUTED, linestyle=":", label="fine-tuning begins")
        for number, row in enumerate(epochs, 1):
            if row.best and row.phase == history.kept:
                value = getattr(row, f"val_{metric}")
                axes.plot([number], [value], marker="*", markersize=14, color=_INK, linestyle="none", label="kept")
        axes.set(xlabel="epoch, both phases", title=metric.capitalize(), xlim=(0.5, len(epochs) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        _add_legend(axes)

    first, last = history.epochs[0], history.epochs[-1]
    told = (
        f"{metric.capitalize()} by epoch, {len(history.epochs)} epochs. On val {getattr(first, f'val_{metric}'):.3f} "
        f"in the first and {getattr(last, f'val_{metric}'):.3f} in the last."
    )
    return _draw(plot, told)


def draw_reliability(counts: np.ndarray, mean: np.ndarray, share: np.ndarray) -> Markup:
    """Draws the share of right predictions by their probability; see `figures.measure_reliability`."""

    def plot(axes: Axes) -> None:
        filled = counts > 0
        edges = np.arange(BINS) / BINS
        axes.bar(
            edges[filled], share[filled], 1 / BINS, align="edge", color=_FIRST, alpha=0.45, label="right predictions"
        )
        axes.plot([0, 1], [0, 1], color=_MUTED, linestyle="--", label="probability = share")
        axes.plot(mean[filled], share[filled], "o", color=_SECOND, label="mean of the bin")
        axes.set(
            xlabel="probability of the predicted class",
            ylabel="share of right predictions",
            title="How often a probability is right",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        _add_legend(axes)

    return _draw(plot, f"Share of right predictions {_BY_PROBABILITY}")


def draw_confidence(counts: np.ndarray) -> Markup:
    """Draws the number of images by the probability of their predicted class."""

    def plot(axes: Axes) -> None:
        axes.bar(np.arange(BINS) / BINS, counts, 1 / BINS, align="edge", color=_FIRST, alpha=0.7)
        axes.set(
            xlabel="probability of the predicted class",
            ylabel="test images",
            title="How many images have each probability",
            xlim=(0, 1),
        )
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))

    return _draw(plot, f"Number of test images {_BY_PROBABILITY}")


def draw_matrix(matrix: Sequence[Sequence[int]]) -> Markup:
    """Draws a confusion matrix of many classes: each row as shares of its true class, brighter for more."""

    def plot(axes: Axes) -> None:
        counts = np.array(matrix, float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="predicted class (position)", ylabel="true class (position)")

    told = f"Confusion matrix of {len(matrix)} classes; the table lists the most frequent mistakes."
    return _draw(plot, told, (5, 4.6))


def draw_histograms(edges: Sequence[float], run: Sequence[float], live: Sequence[float], about: str) -> Markup:
    """Draws the shares of images by a value, for this run and, if known, for the live version.

    Args:
        edges: edges of the bins; one edge more than bins.
        run: share of this run's images in each bin.
        live: share of the live version's images in each bin; empty if unknown.
        about: name of the value, with its unit.
    """

    def plot(axes: Axes) -> None:
        axes.stairs(run, edges, fill=True, color=_FIRST, alpha=0.45, label="this run")
        if len(live):
            axes.stairs(live, edges, color=_SECOND, linewidth=1.8, label="live version")
            _add_legend(axes)
        axes.set(xlabel=about, ylabel="share of images")

    beside = " beside that of the live version's" if len(live) else ""
    return _draw(plot, f"Distribution of the images by {about}{beside}.")


def _add_legend(axes: Axes) -> None:
    """Puts the legend below the axes, where it covers no line."""
    axes.figure.legend(loc="outside lower center", ncols=2, fontsize=9)


def _draw(plot: Callable[[Axes], None], told: str, size: tuple[float, float] = _SIZE) -> Markup:
    """Returns an SVG element with a text for screen readers."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": told}):  # gives the charts of a page different ids
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.grid(True)
        axes.set_axisbelow(True)
        plot(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(file.getvalue(), told)


def _inline(document: str, told: str) -> Markup:
    """Turns an SVG document into an element without ids of groups and fixed size, in the colours of the page."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z0-9A-Z.]+_\d+"', "", svg)
    svg = re.sub(r"\s+", " ", svg)
    svg = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"(<svg[^>]*?) (?:width|height)=\"[^\"]*pt\"", r"\1", svg)
    svg = re.sub(r"(<svg[^>]*?) (?:width|height)=\"[^\"]*pt\"", r"\1", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    label = Markup(' role="img" aria-label="{}"').format(told)
    return Markup(f"<svg{label}{svg.removeprefix('<svg')}")  # Matplotlib escapes texts
