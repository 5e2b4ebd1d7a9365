"""The history of a training run as a picture."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from components.records.history import Epoch
from components.trainer.curves import draw_curves, plot_history


def make_row(phase, loss, best=False):
    return Epoch(phase=phase, epoch=1, best=best, loss=loss, accuracy=0.5, val_loss=loss + 0.1, val_accuracy=0.4)


def change(row, **figures):
    return row.model_copy(update=figures)


COLORS = {"train": (31, 119, 180), "val": (255, 127, 14)}
HEAD_ROWS = [make_row("head", 1.0), make_row("head", 0.8, best=True)]
BOTH = [make_row("head", 0.8, best=True), make_row("head", 0.9), make_row("fine-tune", 0.5, best=True)]


def read_png(encoded):
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def count_pixels(history):
    """Counts the pixels in the colours of `train` and `val`: int [2, 2], by plot and colour."""
    picture = read_png(draw_curves(history, "head"))
    assert picture.shape == (480, 1200, 3)
    plots = picture[:, :600], picture[:, 600:]
    return np.array([[(plot == color).all(axis=-1).sum() for color in COLORS.values()] for plot in plots])


@pytest.fixture(scope="module")
def legend():
    """The pixels of a picture with no curves on it, for the legends have these colours as well."""
    return count_pixels(
        [change(HEAD_ROWS[0], **dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), math.nan))]
    )


@pytest.mark.parametrize(
    "history",
    [HEAD_ROWS, HEAD_ROWS[:1], BOTH],
    ids=["one phase", "one epoch", "two phases"],
)
def test_training_and_validation_are_drawn_in_both_plots(history, legend):
    """A picture of 1200 x 480 pixels; a single epoch is a dot."""
    assert (count_pixels(history) > legend).all()


def test_a_loss_that_diverged_leaves_its_plot_empty(legend):
    """The picture still has the accuracy."""
    drawn = count_pixels([make_row("head", float("nan"))]) > legend
    assert drawn.tolist() == [[True, True], [False, False]]


def test_the_curves_show_the_numbers():
    """Another loss draws another curve in the right half, another accuracy in the left one."""
    before = read_png(draw_curves(HEAD_ROWS, "head"))
    loss = read_png(draw_curves([HEAD_ROWS[0], change(HEAD_ROWS[1], loss=0.6)], "head"))
    accuracy = read_png(draw_curves([HEAD_ROWS[0], change(HEAD_ROWS[1], accuracy=0.6)], "head"))
    assert (before != loss)[:, 600:].any()
    assert (before != accuracy)[:, :600].any()


def test_the_change_of_phase_is_marked():
    """A dashed line and its name in the legend, in both plots; without a second phase there is none."""
    one = read_png(draw_curves(HEAD_ROWS, "head"))
    two = read_png(draw_curves([HEAD_ROWS[0], change(HEAD_ROWS[1], phase="fine-tune")], "head"))
    changed = (one != two).any(axis=(0, 2))
    assert changed[:600].any()
    assert changed[600:].any()


def test_an_epoch_is_a_whole_number():
    """A single epoch is drawn in the middle, at 1."""
    for count in (1, 2, 5, 40):
        figure = plot_history([make_row("head", 1.0, best=True)] * count, "head")
        for axes in figure.axes:
            low, high = axes.get_xlim()
            ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert ticks
            assert all(tick == int(tick) for tick in ticks)


def test_fine_tuning_starts_from_the_best_epoch_of_the_head():
    """Its curve begins at the last epoch of the head, with the figures of the best one."""
    loss = plot_history(BOTH, "head").axes[1]
    train = [line for line in loss.lines if line.get_color() == "C0"]
    assert [line.get_xydata().tolist() for line in train] == [[[1, 0.8], [2, 0.9]], [[2, 0.8], [3, 0.5]]]


@pytest.mark.parametrize(("kept", "point"), [("head", [1, 0.9]), ("fine-tune", [3, 0.6])])
def test_a_star_marks_the_epoch_that_was_exported(kept, point):
    """The star is the best epoch of the exported phase, on the validation curve."""
    loss = plot_history(BOTH, kept).axes[1]
    [star] = [line for line in loss.lines if line.get_label() == "kept"]
    assert star.get_xydata().tolist() == [pytest.approx(point)]
