"""A heat map over a photograph: on what the network sees of the photograph, however a square was made of it."""

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.transform.geometry import resize_image
from pipeline.pictures.heat_colours import COLOURS
from pipeline.pictures.overlay import draw_overlay, spread
from serving.client.heat_maps import HeatMap
from serving.export.explanation import View


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(320, 160), (160, 320), (224, 224)])
def test_heat_spread_over_a_picture_and_resized_as_for_the_network_is_the_heat_again(resize, width, height):
    """By the preprocessing graph's own resizing; black where it pads. One cell in the middle, one at the edge."""
    cells = np.zeros((7, 7), np.float32)
    cells[3, 3] = cells[2, 6] = cells[6, 2] = 1
    heat, seen = spread(HeatMap(cells, View(resize)), (width, height))
    assert heat.shape == seen.shape == (height, width)
    assert seen.mean() == (pytest.approx(min(width, height) / max(width, height)) if resize == "crop" else 1)
    levels = np.repeat(np.round(heat * 255)[:, :, np.newaxis], 3, axis=2).astype(np.uint8)
    square = resize_image(tf.constant(levels), 224, resize).numpy()[:, :, 0] / 255
    expected = np.asarray(Image.fromarray(cells).resize((224, 224), Image.Resampling.BILINEAR))
    padded = resize_image(tf.fill([height, width, 3], tf.constant(255, tf.uint8)), 224, resize).numpy()[:, :, 0] == 0
    inside = slice(2, -2)  # at the edge of a crop, the resizing mixes in what is beyond
    np.testing.assert_allclose(square[inside, inside], np.where(padded, 0, expected)[inside, inside], atol=0.06)


def test_where_there_is_no_heat_the_photograph_stays():
    """And a map that is no number draws nothing."""
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    for value in (0, np.nan, -1):
        cells = np.full((2, 2), value, np.float32)
        np.testing.assert_array_equal(draw_overlay(photograph, HeatMap(cells, View())), photograph)
    half = draw_overlay(photograph, HeatMap(np.array([[0, 1]], np.float32), View()))
    np.testing.assert_array_equal(np.asarray(half)[:, :10], np.asarray(photograph)[:, :10])
    assert np.abs(np.asarray(half, float)[:, 30:] - np.asarray(photograph)[:, 30:]).mean() > 30


def test_what_the_network_does_not_see_is_dark():
    white = Image.new("RGB", (60, 20), "white")
    overlay = np.asarray(draw_overlay(white, HeatMap(np.zeros((1, 1), np.float32), View("crop"))))
    assert (overlay[:, :20] < 100).all()
    assert (overlay[:, 20:40] == 255).all()
    assert (overlay[:, 40:] < 100).all()


def test_a_photograph_of_a_line_is_drawn_on():
    """Also one a pixel high."""
    for size in ((500, 1), (1, 500)):
        for resize in ("stretch", "crop", "pad"):
            heat_map = HeatMap(np.ones((7, 7), np.float32), View(resize))
            assert draw_overlay(Image.new("RGB", size), heat_map).size == size


def test_the_colours_are_those_of_inferno():
    """Within 4 of 255."""
    inferno = matplotlib.colormaps["inferno"](np.linspace(0, 1, len(COLOURS)))
    assert np.abs(COLOURS - 255 * inferno[:, :3]).max() < 4
