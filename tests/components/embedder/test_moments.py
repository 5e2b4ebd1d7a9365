"""Mean and variance of embeddings, merged from parts."""

import uuid

import numpy as np
import pytest
import tensorflow as tf

from components.embedder.moments import Moments, measure_distance

KEY = '{"layer": "embedding"}'


def make(count, seed=0, mean=3.0):
    """Returns embeddings with features of large and of small variance."""
    scales = np.linspace(0.01, 10, 16)
    return np.random.default_rng(seed).normal(mean, scales, (count, 16)).astype(np.float32)


def check_equal(found, expected):
    assert (found.kind, found.count) == (expected.kind, expected.count)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.squares, expected.squares, rtol=1e-12, atol=1e-12)


def test_mean_and_variance_are_those_of_numpy():
    """In float64: the squares of a million float32 lose digits."""
    embeddings = make(100)
    moments = Moments.of(embeddings, KEY)
    assert (moments.kind, moments.count, moments.mean.dtype, moments.squares.dtype) == (
        KEY,
        100,
        np.float64,
        np.float64,
    )
    np.testing.assert_allclose(moments.mean, embeddings.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(moments.squares / 100, embeddings.var(axis=0, dtype=np.float64))


@pytest.mark.parametrize("cuts", [(1,), (50,), (10, 11, 70), (0, 30, 30, 100)])
def test_merged_parts_are_as_all_of_them_at_once(cuts):
    """For parts of any size, 1 and 0 included."""
    embeddings = make(100)
    first, *others = (Moments.of(part, KEY) for part in np.split(embeddings, cuts))
    for other in others:
        first = first.merge(other)
    check_equal(first, Moments.of(embeddings, KEY))


def test_the_order_of_the_parts_does_not_matter():
    """Beam merges parts and partial sums in any order."""
    a, b, c, d = (Moments.of(make(n, seed=n, mean=n), KEY) for n in (3, 7, 20, 1))
    expected = a.merge(b).merge(c).merge(d)
    check_equal(d.merge(c).merge(a).merge(b), expected)
    check_equal(a.merge(d).merge(c.merge(b)), expected)


def test_of_no_embeddings_there_are_zeros():
    """Not NaN; merging with them keeps the other moments and their key."""
    none, some = Moments.of(make(0), ""), Moments.of(make(5), KEY)
    assert (none.count, none.mean.tolist(), none.squares.tolist()) == (0, [0.0] * 16, [0.0] * 16)
    check_equal(none.merge(some), some)
    check_equal(some.merge(none), some)
    check_equal(none.merge(none), none)


@pytest.mark.parametrize("count", [0, 1, 30])
@pytest.mark.parametrize("place", ["disk", "ram"])
def test_what_was_written_is_read(tmp_path, place, count):
    """Bit-equal, on disk and in an object store, which allows no seeking."""
    folder = str(tmp_path) if place == "disk" else f"ram://moments-{uuid.uuid4().hex}"
    tf.io.gfile.makedirs(folder)
    assert Moments.read(folder) is None
    moments = Moments.of(make(count), KEY)
    moments.write(folder)
    read = Moments.read(folder)
    assert (read.kind, read.count) == (KEY, count)
    np.testing.assert_array_equal(read.mean, moments.mean)
    np.testing.assert_array_equal(read.squares, moments.squares)


def test_the_distance_is_in_standard_deviations_over_all_features():
    """1 for a shift by one deviation at any scale; 0 for the same images."""
    before = Moments.of(make(5000), KEY)
    moved = make(5000) + np.sqrt((np.linspace(0.01, 10, 16) ** 2).mean())
    assert measure_distance(before, before) == 0
    assert measure_distance(Moments.of(moved, KEY), before) == pytest.approx(1, rel=0.02)
    assert measure_distance(Moments.of(moved * 100, KEY), Moments.of(make(5000) * 100, KEY)) == pytest.approx(
        1, rel=0.02
    )


def test_a_feature_that_hardly_varies_makes_no_distance():
    """The feature moves by 50 of its own deviations, a small part of the total deviation."""
    moved = make(5000)
    moved[:, 0] += 0.5
    assert measure_distance(Moments.of(moved, KEY), Moments.of(make(5000), KEY)) < 0.05


def test_the_distance_from_images_that_are_all_alike_is_finite():
    """For example black frames: their deviation is 0."""
    before = Moments.of(np.zeros((3, 16), np.float32), KEY)
    assert measure_distance(before, before) == 0
    assert np.isfinite(measure_distance(Moments.of(make(5), KEY), before))
