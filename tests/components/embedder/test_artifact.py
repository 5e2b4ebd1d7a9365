"""Artifact of embeddings: its examples are those that TensorFlow's own classes make."""

import numpy as np
import pytest
import tensorflow as tf

from components.embedder.artifact import _pack


@pytest.mark.parametrize("count", [0, 1, 31, 32, 4095, 4096, 600_000])
def test_packed_values_are_those_that_were_given(count):
    """The length takes one to four bytes. NaN, infinity and denormal numbers stay."""
    values = np.random.default_rng(0).normal(size=count).astype(np.float32)
    values[:3] = [np.inf, -0.0, 1e-42][:count]
    found = tf.train.FloatList.FromString(_pack(values))
    assert found.SerializeToString() == tf.train.FloatList(value=values.tolist()).SerializeToString()
