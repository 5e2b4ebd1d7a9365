"""The history of a training run as a picture."""

import io

import numpy as np
import pytest
from PIL import Image

from components.curves import draw_curves


def make_row(phase, loss):
    return {"phase": phase, "epoch": 1, "loss": loss, "accuracy": 0.5, "val_loss": loss + 0.1, "val_accuracy": 0.4}


HEAD_ROWS = [make_row("head", 1.0), make_row("head", 0.8)]


def read_png(encoded):
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    "history",
    [HEAD_ROWS, HEAD_ROWS[:1], [*HEAD_ROWS, make_row("fine-tune", 0.5)], [make_row("head", float("nan"))]],
    ids=["one phase", "one epoch", "two phases", "diverged"],
)
def test_curves_are_a_png(history):
    """Whatever the run was like: 1200 x 480 pixels, and something is drawn on it."""
    picture = read_png(draw_curves(history))
    assert picture.shape == (480, 1200, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_the_curves_show_the_numbers():
    """Another loss draws another curve in the right half, another accuracy in the left one."""
    before = read_png(draw_curves(HEAD_ROWS))
    loss = read_png(draw_curves([HEAD_ROWS[0], HEAD_ROWS[1] | {"loss": 0.6}]))
    accuracy = read_png(draw_curves([HEAD_ROWS[0], HEAD_ROWS[1] | {"accuracy": 0.6}]))
    assert (before != loss)[:, 600:].any()
    assert (before != accuracy)[:, :600].any()


def test_the_change_of_phase_is_marked():
    """A dashed line and its name in the legend, in both plots; without a second phase there is none."""
    one = read_png(draw_curves(HEAD_ROWS))
    two = read_png(draw_curves([HEAD_ROWS[0], HEAD_ROWS[1] | {"phase": "fine-tune"}]))
    changed = (one != two).any(axis=(0, 2))
    assert changed[:600].any()
    assert changed[600:].any()
