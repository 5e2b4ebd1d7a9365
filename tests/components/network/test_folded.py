"""Folded base: the same network with one kernel and one bias in the place of a convolution and its BatchNorm."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_networks import fold

from components.network.folded import FoldedLayer


def build_block(policy="float32"):
    """Builds a network with every kind of layer of ResNet50: a block with a shortcut, and a convolution alone."""
    layers = keras.layers
    convolve = {"dtype": policy}
    images = keras.Input([12, 12, 3], dtype=policy)
    x = layers.ZeroPadding2D(((1, 1), (2, 2)), **convolve)(images)
    x = layers.Conv2D(8, 3, strides=2, name="first_conv", **convolve)(x)
    x = layers.BatchNormalization(epsilon=1.001e-5, name="first_bn", **convolve)(x)
    x = layers.Activation("relu", **convolve)(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool", **convolve)(x)
    shortcut = layers.Conv2D(6, 1, name="shortcut_conv", **convolve)(x)
    shortcut = layers.BatchNormalization(name="shortcut_bn", **convolve)(shortcut)
    x = layers.Conv2D(6, 2, padding="same", use_bias=False, name="second_conv", **convolve)(x)
    x = layers.BatchNormalization(scale=False, center=False, name="second_bn", **convolve)(x)
    x = layers.Add(name="add", **convolve)([shortcut, x])
    x = layers.ReLU(name="end", **convolve)(x)
    return keras.Model(images, layers.Conv2D(5, 1, name="last_conv", **convolve)(x))


def draw_weights(network, seed, harder=False):
    """Sets random weights: kernels, biases and statistics as trained, or statistics that are hard to fold."""
    random = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([random.normal(0, 0.5, w.shape) for w in layer.get_weights()])
        elif isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            values = {"gamma": random.normal(0, 1, size), "beta": random.normal(0, 1, size)}
            values |= {"moving_mean": random.normal(0, 1, size), "moving_variance": random.uniform(0.1, 3, size)}
            if harder:
                values["gamma"][:3] = 0, -0.0, 1e-30
                values["moving_variance"][1:4] = 0, 1e-12, 1e6
                values["moving_mean"][4:] = random.choice([-1e4, 1e4], size[0] - 4)
            for name, value in values.items():
                if hasattr(layer, name) and getattr(layer, name) is not None:
                    getattr(layer, name).assign(value)


def run(base, weights, images):
    return base.run(tf.constant(images, tf.float32), weights).numpy()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(9).normal(0, 60, (4, 12, 12, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def networks():
    """Returns the same network in float32 and, as the oracle, in float64."""
    return build_block(), build_block("float64")


@pytest.mark.parametrize("harder", [False, True], ids=["as trained", "hard to fold"])
@pytest.mark.parametrize("seed", range(3))
def test_a_folded_base_computes_what_the_base_computes(networks, images, seed, harder):
    """To 1e-5 of the output's size: zero, negative and tiny scales, variances of 0 and 1e6, means of 10,000."""
    network, exact = networks
    draw_weights(network, seed, harder)
    exact.set_weights(network.get_weights())
    expected = np.asarray(exact(images, training=False))
    before = [np.copy(weights) for weights in network.get_weights()]
    assert np.abs(run(*fold(network), images) - expected).max() < 1e-5 * np.abs(expected).max()
    assert all(map(np.array_equal, before, network.get_weights()))


def test_a_folded_base_has_a_kernel_and_a_bias_for_each_convolution(networks):
    """And no other weight."""
    base, weights = fold(networks[0])
    folded = [step.name for step in base.steps if step.num_weights]
    assert folded == ["first_bn", "shortcut_bn", "second_bn", "last_conv"]
    assert [w.shape for w in weights[:2]] == [(3, 3, 3, 8), (8,)]
    assert {w.dtype for w in weights} == {np.dtype(np.float32)}
    assert base.num_weights == len(weights) == 8


def test_extractor_and_tail_compute_what_the_folded_base_computes(networks, images):
    """To the bit."""
    draw_weights(networks[0], 0)
    base, weights = fold(networks[0])
    extractor, tail = base.split("pool")
    extracted = run(extractor, weights[:2], images)
    np.testing.assert_array_equal(run(tail, weights[2:], extracted), run(base, weights, images))
    assert (extractor.num_weights, tail.num_weights) == (2, 6)


def test_bfloat16_weights_make_a_base_in_bfloat16(networks, images):
    """It differs by the rounding of bfloat16, 8 bits, and is not the float32 base."""
    draw_weights(networks[0], 0)
    base, weights = fold(networks[0])
    expected = run(base, weights, images)
    rounded = base.run(tf.constant(images), [tf.cast(w, tf.bfloat16) for w in weights])
    assert rounded.dtype == tf.bfloat16
    assert 0 < np.abs(tf.cast(rounded, tf.float32) - expected).max() < 2e-2 * np.abs(expected).max()


def append(*layers):
    """Builds a network of an input and layers."""
    images = keras.Input([8, 8, 3])
    outputs = images
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(images, outputs)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (lambda: append(keras.layers.BatchNormalization(name="norm")), "in front of norm"),
        (lambda: append(keras.layers.DepthwiseConv2D(3, name="depth")), r"depth \(DepthwiseConv2D\)"),
        (lambda: append(keras.layers.Activation("tanh", name="tanh")), "tanh"),
        (lambda: append(keras.layers.ReLU(6.0, name="relu6")), "relu6"),
        (lambda: append(keras.layers.Conv2D(2, 3, activation="relu", name="conv")), "conv"),
        (lambda: append(keras.layers.Conv2D(3, 3, groups=3, name="conv")), "conv"),
    ],
)
def test_a_layer_that_cannot_be_folded_is_an_error(network, problem):
    """It would be left out in silence otherwise."""
    with pytest.raises(ValueError, match=problem):
        fold(network())


def test_a_convolution_whose_output_is_used_twice_is_not_folded():
    """The other layer needs the output without BatchNorm."""
    images = keras.Input([8, 8, 3])
    convolved = keras.layers.Conv2D(3, 3, name="conv")(images)
    normalized = keras.layers.BatchNormalization(name="norm")(convolved)
    with pytest.raises(ValueError, match="in front of norm"):
        fold(keras.Model(images, keras.layers.Add()([convolved, normalized])))


def compute_gradients(network, layer, images):
    """Returns the outputs, and the gradients of their sum of squares by the weights of the convolutions."""
    convolutions = [x for x in network.layers if isinstance(x, keras.layers.Conv2D)]
    weights = [weight.value for x in convolutions for weight in x.weights]
    with tf.GradientTape() as tape:
        outputs = layer(images)
        loss = tf.reduce_sum(outputs**2)
    return outputs.numpy(), [g.numpy() for g in tape.gradient(loss, weights)]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 5e-2)])
def test_a_folded_layer_has_the_gradients_of_the_base(networks, images, precision, tolerance):
    """With BatchNorm in inference mode; in bfloat16 with its rounding."""
    network = networks[0]
    draw_weights(network, 1)
    network.trainable = True
    layer = FoldedLayer(network, precision=precision)
    found = compute_gradients(network, layer, images)
    expected = compute_gradients(network, lambda batch: network(batch, training=False), images)
    assert found[0].dtype == np.float32
    for a, b in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        assert np.abs(a - b).max() < tolerance * np.abs(b).max()


def test_a_folded_layer_trains_what_is_trainable_in_the_base(networks, images):
    """Its weights are those of the base, and of the tail alone where the base is split."""
    network = networks[0]
    for layer in network.layers:
        layer.trainable = layer.name == "last_conv"
    whole, tail = FoldedLayer(network), FoldedLayer(network, "pool")
    assert {id(w) for w in whole.weights} == {id(w) for w in network.weights}
    assert len(tail.weights) == len(network.weights) - 6
    for layer in (whole, tail):
        assert [w is v for w, v in zip(layer.trainable_weights, network.layers[-1].weights, strict=True)] == [True] * 2
    extractor, _ = fold(network)[0].split("pool")
    below = run(extractor, fold(network)[1][:2], images)
    np.testing.assert_allclose(tail(tf.cast(below, tf.float32)), whole(images), rtol=1e-5, atol=1e-4)
