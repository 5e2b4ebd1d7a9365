"""Padded batches: a step on them is the step that Keras makes on their real rows, without the padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.network import resnet
from components.network.padded import PaddedNetwork, pad_batches

ROWS, BATCH, CLASSES = 10, 4, 3  # two whole batches, and one of two rows
LABELS = np.array([0, 1, 2, 0, 1, 0, 0, 2, 1, 2])
WEIGHTS = {0: 0.5, 1: 1.5, 2: 3.0}


def make_batches():
    inputs = np.random.default_rng(0).normal(0, 1, (ROWS, 5)).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((inputs, LABELS)).batch(BATCH)


def build_network():
    """A network of two dense layers, with the same weights at each call."""
    inputs = keras.Input([5])
    hidden = keras.layers.Dense(4, activation="tanh", kernel_initializer=keras.initializers.GlorotUniform(1))(inputs)
    output = keras.layers.Dense(CLASSES, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(2))
    return keras.Model(inputs, output(hidden), name="small")


def train(padded, smoothing, class_weights, jit_compile=False, optimizer=None):
    """Trains two epochs; returns the weights after them, and Keras' history."""
    network = build_network()
    batches = train_data = make_batches()
    if padded:
        network = PaddedNetwork.of(network)
        train_data, batches = pad_batches(batches, BATCH, class_weights), pad_batches(batches, BATCH)
    # Without momentum, whose division by the gradient's own size would hide a gradient of half the length.
    optimizer = optimizer or keras.optimizers.SGD(0.5)
    resnet.compile_for_training(network, optimizer, smoothing, jit_compile)
    history = network.fit(
        train_data,
        validation_data=batches,
        epochs=2,
        class_weight=None if padded else class_weights,
        verbose=0,
    ).history
    return network.get_weights(), history


def assert_equal(one, other, tolerance):
    for mine, its in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(mine, its, rtol=tolerance, atol=tolerance)
    assert one[1].keys() == other[1].keys()
    for name, values in one[1].items():
        np.testing.assert_allclose(values, other[1][name], rtol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("smoothing", "class_weights"), [(0.0, None), (0.3, WEIGHTS)], ids=["plain", "smoothed and weighted"]
)
def test_padded_training_is_that_of_the_real_rows(smoothing, class_weights):
    """Weights after six steps, of which two have padding; losses and accuracies on `train` and `val`."""
    padded, expected = (train(padded, smoothing, class_weights) for padded in (True, False))
    assert_equal(padded, expected, 1e-5)


def test_all_batches_have_one_shape():
    """Padding has weight 0, each other row the weight of its class."""
    *whole, last = pad_batches(make_batches(), BATCH, WEIGHTS)
    assert {tuple(tensor.shape for tensor in batch) for batch in [*whole, last]} == {((4, 5), (4,), (4,))}
    assert last[1].numpy().tolist() == [1, 2, 0, 0]
    assert last[2].numpy().tolist() == [1.5, 3.0, 0.0, 0.0]
    assert not last[0][2:].numpy().any()
    spec = pad_batches(make_batches(), BATCH).element_spec
    assert [tensor.shape.as_list() for tensor in spec] == [[4, 5], [4], [4]]


@pytest.mark.long
def test_xla_compiles_a_training_and_a_validation_step_once():
    """Whatever the size of the last batch; the model is that of a training without XLA, but for rounding."""
    compiled = train(True, 0.3, WEIGHTS, jit_compile=True)
    assert_equal(compiled, train(False, 0.3, WEIGHTS), 1e-4)
