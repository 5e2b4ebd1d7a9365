"""Heat maps: those of Zhou et al. and of Selvaraju et al., finite, and on what the class is told by."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image
from small_networks import build_small_base

from components.network import resnet, served
from serving.export import explanation
from serving.export.signatures import EXPLAIN, export_saved_model

PIXELS = np.random.default_rng(1).normal(0, 60, (5, 96, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def base():
    """Returns a base with random weights, whose feature maps have 3 x 3 positions."""
    return build_small_base(96, "random")


@pytest.fixture(scope="module")
def embedder(base):
    return resnet.build_embedder(base)


def explain(base, head, pixels=PIXELS):
    network = served.make_network(base, head)
    return [tensor.numpy() for tensor in explanation.explain(network, network.base(tf.constant(pixels)))]


def build_logits(embedder, units, seed=0):
    return resnet.build_logits(resnet.build_head(embedder.predict_on_batch(PIXELS), units, 3, seed=seed))


def normalize(maps):
    positive = np.maximum(maps, 0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    return np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)


def test_with_a_linear_head_it_is_the_class_activation_map(base, embedder):
    """In numpy, by equation 2 of Zhou et al.: the standardized feature maps, weighted with the weights of the class.

    Its mean is the logit without the bias.
    """
    head = build_logits(embedder, [])
    kernel, bias = head.get_weights()
    standardize = head.get_layer("standardize")
    mean, deviation = (np.asarray(x, np.float64).ravel() for x in (standardize.mean, np.sqrt(standardize.variance)))
    maps = base.predict_on_batch(PIXELS).astype(np.float64)
    logits = (maps.mean(axis=(1, 2)) - mean) / deviation @ kernel + bias
    classes = logits.argmax(axis=1)
    activations = np.einsum("nhwc,nc->nhw", (maps - mean) / deviation, kernel.T[classes])
    np.testing.assert_allclose(activations.mean(axis=(1, 2)) + bias[classes], logits.max(axis=1), atol=1e-6)
    outputs, _, heat = explain(base, head)
    np.testing.assert_allclose(outputs, logits, atol=1e-4)
    assert heat.shape == (5, 3, 3)
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat, normalize(activations), atol=1e-4)
    assert (heat.max(axis=(1, 2)) == 1).all()


def test_with_hidden_layers_it_is_grad_cam(base, embedder):
    """By equations 1 and 2 of Selvaraju et al., with the gradient of the standardized feature maps themselves."""
    head = build_logits(embedder, [8, 8])
    standardize, *layers = head.layers[1:]
    maps = standardize(tf.reshape(base.predict_on_batch(PIXELS), [-1, 2048]))
    maps = tf.reshape(maps, [5, 3, 3, 2048])
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logits = tf.reduce_mean(maps, axis=[1, 2])
        for layer in layers:
            logits = layer(logits)
        highest = tf.reduce_max(logits, axis=1)
    channels = tf.reduce_mean(tape.gradient(highest, maps), axis=[1, 2])
    expected = normalize(tf.einsum("nhwc,nc->nhw", maps, channels).numpy())
    outputs, _, heat = explain(base, head)
    assert len(set(outputs.argmax(axis=1))) > 1
    np.testing.assert_allclose(heat, expected, atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_where_nothing_speaks_for_the_class_the_map_is_zero(base, weight):
    """Not NaN: no channel has a weight above 0."""
    inputs = keras.Input([2048])
    head = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(weight))(inputs))
    *_, heat = explain(base, head)
    np.testing.assert_array_equal(heat, np.zeros((5, 3, 3), np.float32))


def place(digit, quarter, side=64):
    """Returns a PNG with a digit of scikit-learn in a quarter, on black."""
    picture = Image.new("L", (side, side))
    enlarged = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((side // 2, side // 2), Image.Resampling.BICUBIC)
    picture.paste(enlarged, (quarter % 2 * side // 2, quarter // 2 * side // 2))
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return file.getvalue()


def build_digit_base():
    """Returns a base in the form of ResNet50's, with 8 x 8 positions for 64 x 64 pixels."""
    layers = keras.layers
    inputs = outputs = keras.Input([64, 64, 3])
    for width in (16, 32, 64):
        outputs = layers.ReLU()(layers.Conv2D(width, 3, strides=2, padding="same")(outputs))
    return keras.Model(inputs, layers.ReLU()(layers.Conv2D(2048, 1)(outputs)))


@pytest.mark.long
def test_the_heat_lies_where_the_digit_is(make_transform_graph, tmp_path):
    """60 % of the heat in the quarter with the digit, in 9 of 10 pictures, through an exported model."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    keras.utils.set_random_seed(0)
    quarters = np.random.default_rng(0).integers(0, 4, len(digits.images))
    files = [place(digit, quarter) for digit, quarter in zip(digits.images, quarters, strict=True)]
    graph = tft.TFTransformOutput(make_transform_graph(image_size=64))
    columns = {"image": tf.constant(files)[:, None], "label": tf.fill([len(files), 1], "cat")}
    pixels = graph.transform_features_layer()(columns)["pixels"].numpy()
    train, test = slice(0, 1500), slice(1500, None)
    base = build_digit_base()
    embedder = resnet.build_embedder(base)
    learner = keras.Model(embedder.inputs[0], keras.layers.Dense(10)(embedder.outputs[0] / 50))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(1e-3), loss)
    learner.fit(pixels[train], digits.target[train], epochs=12, verbose=0)
    embeddings = embedder.predict(pixels, verbose=0)
    head = resnet.build_head(embeddings[train], [], 10)
    resnet.compile_for_training(head, keras.optimizers.Adam(1e-3))
    head.fit(embeddings[train], digits.target[train], epochs=20, verbose=0)
    network = served.make_network(base, resnet.build_logits(head))
    export_saved_model(network, graph, [str(i) for i in range(10)], str(tmp_path))
    answer = tf.saved_model.load(str(tmp_path)).signatures[EXPLAIN](image_bytes=tf.constant(files[test]))
    accuracy = (answer["label"].numpy().astype(int) == digits.target[test]).mean()
    heat = answer["heatmap"].numpy()
    parts = heat.reshape(-1, 2, 4, 2, 4).sum(axis=(2, 4)).reshape(-1, 4)
    share = parts[np.arange(len(parts)), quarters[test]] / parts.sum(axis=1)
    print(f"accuracy {accuracy:.3f}; share of the heat, quantiles: {np.quantile(share, [0.02, 0.1, 0.5]).round(3)}")
    assert accuracy > 0.8
    assert (share >= 0.6).mean() >= 0.9
