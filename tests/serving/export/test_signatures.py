"""Exported SavedModel: five signatures behind one preprocessing graph, in stock TensorFlow ops."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from image_files import draw, save
from PIL import Image
from small_networks import build_color_classifier, build_small_base, to_network
from tensorflow.core.protobuf import saved_model_pb2
from unfolding import restore_base

from components.example_gen.layout import ImageFile
from components.example_gen.reading import read_image
from components.images.decoding import decode_image
from components.network import resnet, served
from components.trainer.acceptance import score_embeddings
from components.trainer.class_distance import fit_distance
from components.transform.geometry import resize_image
from serving.export.calibration import Calibration, read_calibration
from serving.export.explanation import View
from serving.export.signatures import (
    EMBEDDED_EXAMPLES,
    EXAMPLES,
    EXPLAIN,
    PIXELS,
    SERVING,
    TRANSFORM_FEATURES,
    ServedModel,
    export_saved_model,
    read_last_weights,
)

KINDS = ["jpeg", "png", "gray_jpeg", "cmyk_jpeg"]


@pytest.fixture(scope="module")
def transform_output(transform_graph):
    return tft.TFTransformOutput(transform_graph)


@pytest.fixture(scope="module")
def base():
    """Returns a small base with random weights; of its BatchNorm, one scale is 0, one is tiny and one is negative."""
    base, random = build_small_base(32, "random"), np.random.default_rng(0)
    norm = base.get_layer("conv5_block3_3_bn")
    norm.set_weights([random.uniform(0.5, 2, weight.shape) for weight in norm.get_weights()])
    norm.gamma.assign(np.concatenate([[0, 1e-6, -1], np.ones(2045)]))
    return base


@pytest.fixture(scope="module")
def head(base):
    """Returns a small head for two classes."""
    pixels = np.random.default_rng(0).normal(0, 60, (8, 32, 32, 3)).astype(np.float32)
    return resnet.build_head(resnet.pool(base(pixels, training=False)).numpy(), [4, 4, 4], 2)


@pytest.fixture(scope="module")
def network(base, head):
    """Returns the base, not folded, with the head."""
    return resnet.assemble(keras.Model(base.inputs[0], resnet.pool(base.outputs[0])), head)


@pytest.fixture(scope="module")
def exported(base, head, transform_output, classes, tmp_path_factory):
    """Returns the folder of the network's SavedModel, which is folded."""
    folder = str(tmp_path_factory.mktemp("exported"))
    export_saved_model(served.make_network(base, head), transform_output, classes, folder)
    served.write_unscaled(folder, base)
    return folder


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(exported)


@pytest.fixture(scope="module")
def pixel_model(transform_output, tmp_path_factory):
    """Returns a SavedModel whose "probabilities" are the pixels, so that a client can read the pixels."""
    return export_pixel_model(transform_output, str(tmp_path_factory.mktemp("pixel_model")))


def export_pixel_model(transform_output, folder):
    inputs = keras.Input([32, 32, 3], name="pixels")
    network = keras.Model(inputs, keras.layers.Flatten()(inputs))
    export_saved_model(to_network(network), transform_output, [f"value {i}" for i in range(32 * 32 * 3)], folder)
    return tf.saved_model.load(folder)


def transform(transform_output, images, label="cat"):
    """Returns the pixels that Transform makes of encoded images."""
    columns = {"image": tf.constant(images)[:, None], "label": tf.fill([len(images), 1], label)}
    return transform_output.transform_features_layer()(columns)


def ask(loaded, signature, values):
    outputs = loaded.signatures[signature](tf.constant(values))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("kind", [*KINDS, "rgba_png", "palette_png", "gif", "animated_gif", "bmp"])
def test_training_and_both_ways_of_serving_see_the_same_pixels(
    pixel_model, transform_output, encode_image, serialize, kind
):
    """Bit-equal through Transform, `examples` and `serving_default`, for every format that is read."""
    images = [encode_image(kind, seed=seed) for seed in range(3)]
    trained = transform(transform_output, images)["pixels"].numpy().reshape(3, -1)
    assert trained.std() > 1
    served = ask(pixel_model, SERVING, images)["probabilities"]
    evaluated = ask(pixel_model, EXAMPLES, [serialize(image, "dog") for image in images])["probabilities"]
    np.testing.assert_array_equal(served, trained)
    np.testing.assert_array_equal(evaluated, trained)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_each_orientation_is_the_same_to_the_bit_in_training_and_in_both_ways_of_serving(
    pixel_model, transform_output, serialize, kind
):
    """The eight files of one upright picture have one look; each has the same bits through the three graphs."""
    images = [save(Image.fromarray(draw(1, 80, 50)), kind, orientation) for orientation in range(1, 9)]
    trained = transform(transform_output, images)["pixels"].numpy().reshape(8, -1)
    np.testing.assert_array_equal(ask(pixel_model, SERVING, images)["probabilities"], trained)
    examples = [serialize(image, "dog") for image in images]
    np.testing.assert_array_equal(ask(pixel_model, EXAMPLES, examples)["probabilities"], trained)
    assert np.abs(trained - trained[0]).max() <= (12 if kind == "JPEG" else 1)


@pytest.mark.long
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_photograph_of_12_megapixels_is_the_same_to_the_bit(make_transform_graph, tmp_path, serialize, resize):
    """Reduced while it is decoded, resized and turned; through Transform, `examples` and `serving_default`.

    "JPEG, large" of docs/images.md is a smaller one.
    """
    graph = tft.TFTransformOutput(make_transform_graph(max_megapixels=20.0, resize=resize))
    loaded = export_pixel_model(graph, str(tmp_path))
    upright = Image.fromarray(draw(1, 8, 6)).resize((4032, 3024), Image.Resampling.BICUBIC)
    images = [save(upright, "JPEG", orientation) for orientation in (1, 6)]
    trained = transform(graph, images)["pixels"].numpy().reshape(2, -1)
    np.testing.assert_array_equal(ask(loaded, SERVING, images)["probabilities"], trained)
    examples = [serialize(image, "dog") for image in images]
    np.testing.assert_array_equal(ask(loaded, EXAMPLES, examples)["probabilities"], trained)
    assert np.abs(trained[1] - trained[0]).max() <= 3


@pytest.fixture(scope="module")
def documented():
    """Returns the table of docs/images.md: "read" or "refused" by kind of file."""
    lines = (pathlib.Path(__file__).parents[3] / "docs/images.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    return {row[0]: row[1] for row in rows if row[1] in ("read", "refused")}


def test_what_ingest_accepts_is_served_and_what_it_refuses_is_not(
    pixel_model, transform_output, documented, kind_and_file, tmp_path
):
    """Each kind of file as docs/images.md says; served, it has the pixels that it is trained with."""
    kind, content = kind_and_file
    name = f"image{kind.partition(' named ')[2] or '.jpg'}"
    (tmp_path / name).write_bytes(content)
    record = read_image(ImageFile(name, "cat", "", "", len(content), 0), str(tmp_path), max_megapixels=1.0)
    assert ("refused" if record.broken else "read") == documented[kind], record.problem
    if record.broken:
        with pytest.raises(tf.errors.InvalidArgumentError) as refusal:
            ask(pixel_model, SERVING, [content])
        if "are read at most" in record.problem:
            assert record.problem.removeprefix("cannot be decoded: ") in str(refusal.value)
    else:
        served = ask(pixel_model, SERVING, [content])["probabilities"]
        np.testing.assert_array_equal(served, transform(transform_output, [content])["pixels"].numpy().reshape(1, -1))


def test_every_kind_that_is_documented_is_tried(documented, make_file):
    """A row of docs/images.md that no test makes a file of would be a promise."""
    assert len(documented) > 40
    assert all(isinstance(make_file(kind), bytes) for kind in documented)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_both_ways_of_serving_give_the_same_answer(
    network, loaded, transform_output, encode_image, serialize, classes, kind
):
    """The same label, and probabilities within 1e-5, whatever the size of the batch."""
    images = [encode_image(kind, seed=seed) for seed in range(3)]
    expected = network(transform(transform_output, images)["pixels"], training=False).numpy()
    labels = [classes[i].encode() for i in expected.argmax(axis=1)]
    served = ask(loaded, SERVING, images)
    evaluated = ask(loaded, EXAMPLES, [serialize(image, "dog") for image in images])
    alone = [ask(loaded, SERVING, [image])["probabilities"][0] for image in images]
    assert np.ptp(expected[:, 0]) > 1e-3  # the network tells the images apart
    for probabilities in (served["probabilities"], evaluated["probabilities"], alone):
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert served["label"].tolist() == evaluated["label"].tolist() == labels


@pytest.mark.parametrize(("signature", "argument"), [(SERVING, "image_bytes"), (EXAMPLES, "examples")])
def test_predictions_have_the_names_types_and_shapes_of_the_contract(loaded, signature, argument):
    """A client relies on them: string [N] in; probabilities, label, classes and accepted out."""
    function = loaded.signatures[signature]
    (spec,) = function.structured_input_signature[1].values()
    assert (list(function.structured_input_signature[1]), spec.dtype, spec.shape.rank) == ([argument], tf.string, 1)
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in function.structured_outputs.items()} == {
        "probabilities": (tf.float32, [None, 2]),
        "label": (tf.string, [None]),
        "classes": (tf.string, [None, 2]),
        "accepted": (tf.bool, [None]),
    }


def test_there_are_five_signatures(loaded):
    """The SavedModel has no other signature."""
    assert set(loaded.signatures) == {"serving_default", "examples", "transform_features", "pixels", "explain"}


def test_an_explanation_is_a_prediction_with_a_heat_map(calibrated, encode_image):
    """So that a client asks once; it says as well how the square was made, which the heat map lies on."""
    loaded = tf.saved_model.load(calibrated)
    function = loaded.signatures[EXPLAIN]
    assert list(function.structured_input_signature[1]) == ["image_bytes"]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in function.structured_outputs.items()} == {
        "probabilities": (tf.float32, [None, 3]),
        "label": (tf.string, [None]),
        "classes": (tf.string, [None, 3]),
        "accepted": (tf.bool, [None]),
        "heatmap": (tf.float32, [None, 32, 32]),
        "resize": (tf.string, [None]),
        "orientation": (tf.string, [None]),
    }
    pictures = [Image.fromarray(draw(seed, 80, 50)) for seed in range(4)]
    turned = [save(picture, "PNG", orientation) for picture in pictures for orientation in (1, 6)]
    images = [encode_image("png", seed=3), *turned]
    explained, expected = ask(loaded, EXPLAIN, images), ask(loaded, SERVING, images)
    for name, value in expected.items():
        np.testing.assert_array_equal(explained.pop(name), value)
    assert explained["resize"].tolist() == [b"pad"] * 9
    assert explained["orientation"].tolist() == [b"ignore"] * 9
    heat = explained["heatmap"]
    assert heat.min() >= 0 < heat.std()
    assert set(heat.max(axis=(1, 2))) <= {0, 1}
    np.testing.assert_allclose(heat[1::2], heat[2::2], atol=0.05)  # on the upright picture, as the network sees it


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_give_the_probabilities_of_the_image_that_they_are_of(loaded, encode_image, kind):
    """Within 1e-5: decoded and resized by the caller as the preprocessing graph does, red first, from 0 to 255."""
    images = [encode_image(kind, seed=seed) for seed in range(3)]
    decoded = np.stack([resize_image(decode_image(tf.constant(image)), 32) for image in images])
    expected = ask(loaded, SERVING, images)["probabilities"]
    assert np.ptp(expected[:, 0]) > 1e-3
    np.testing.assert_allclose(ask(loaded, PIXELS, decoded)["probabilities"], expected, atol=1e-5)


def test_the_signature_of_pixels_takes_no_string_and_needs_no_table(loaded):
    """So that other formats can hold it."""
    function = loaded.signatures[PIXELS]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in function.structured_outputs.items()} == {
        "probabilities": (tf.float32, [None, 2]),
        "accepted": (tf.bool, [None]),
    }
    (spec,) = function.structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.as_list()) == ("pixels", tf.float32, [None, 32, 32, 3])
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    assert not [node.name for node in nodes if "Table" in node.op or "String" in node.op]
    assert tf.string.as_datatype_enum not in {node.attr["T"].type for node in nodes}


def test_every_row_names_the_classes_in_the_order_of_the_probabilities(loaded, encode_image, classes):
    """A client needs no list of its own."""
    outputs = ask(loaded, SERVING, [encode_image(seed=s) for s in range(3)])
    assert outputs["classes"].tolist() == [[name.encode() for name in classes]] * 3
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-5)
    chosen = [row[i] for row, i in zip(outputs["classes"], outputs["probabilities"].argmax(axis=1), strict=True)]
    assert outputs["label"].tolist() == chosen


def test_transform_features_gives_the_label_index(loaded, encode_image, serialize):
    """int64 [N, 1] for the Evaluator; -1 for a class that the model does not know."""
    function = loaded.signatures[TRANSFORM_FEATURES]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in function.structured_outputs.items()} == {
        "label_index": (tf.int64, [None, 1])
    }
    examples = [serialize(encode_image(), label) for label in ("dog", "cat", "wolf")]
    np.testing.assert_array_equal(ask(loaded, TRANSFORM_FEATURES, examples)["label_index"], [[1], [0], [-1]])


def test_examples_need_no_label_to_be_predicted(loaded, encode_image):
    """A client that asks has none."""
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encode_image()]))
    example = tf.train.Example(features=tf.train.Features(feature={"image": image})).SerializeToString()
    assert ask(loaded, EXAMPLES, [example])["probabilities"].shape == (1, 2)


def test_bytes_that_are_no_image_are_refused(loaded, encode_image):
    """With an error, not with a prediction."""
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(loaded, SERVING, [encode_image(), b"no image"])


def test_the_saved_model_holds_the_weights_and_no_optimizer(transform_output, classes, tmp_path):
    """Even of a network that was fitted: Adam's two slots would triple the file."""
    network = build_color_classifier()
    resnet.compile_for_training(network, keras.optimizers.Adam(1e-3))
    network.fit(np.zeros((4, 32, 32, 3)), np.zeros(4), verbose=0)
    assert len(network.optimizer.variables) > 2
    export_saved_model(to_network(network), transform_output, classes, str(tmp_path))
    variables = tf.train.list_variables(str(tmp_path / "variables/variables"))
    floats = [shape for name, shape in variables if not name.startswith(("_CHECKPOINTABLE", "save_counter"))]
    assert sorted(floats) == [[2], [3, 2]]
    assert not [name for name, _ in variables if "optimizer" in name]


def test_a_base_may_be_served_in_bfloat16_and_the_head_never(base, head, network):
    """Half the bytes; the probabilities differ by the rounding of bfloat16."""
    pixels = np.random.default_rng(1).normal(0, 60, (8, 32, 32, 3)).astype(np.float32)
    rounded = served.make_network(base, head, "bfloat16")
    assert {weight.dtype for weight in rounded.base_weights} == {tf.bfloat16}
    features = rounded.base(tf.constant(pixels))
    probabilities = rounded.head(rounded.pool(features)).numpy()
    assert (features.dtype, probabilities.dtype) == (tf.float32, np.float32)
    assert 0 < np.abs(probabilities - network(pixels, training=False).numpy()).max() < 2e-2


def test_the_served_base_is_folded(exported, base):
    """A kernel and a bias for each convolution; no op and no variable of a BatchNorm."""
    variables = [
        shape for name, shape in tf.train.list_variables(f"{exported}/variables/variables") if "weights" in name
    ]
    assert len(variables) == 2 * 2 + 8
    graph = saved_model_pb2.SavedModel.FromString(pathlib.Path(exported, "saved_model.pb").read_bytes()).meta_graphs[0]
    ops = {node.op for body in graph.graph_def.library.function for node in body.node_def}
    assert "Conv2D" in ops
    assert not [op for op in ops if "BatchNorm" in op]


@pytest.mark.parametrize("count", [1, 4, 8])
def test_the_last_weights_are_those_of_the_head_in_their_order(head, exported, count):
    """They are numbered: the tenth does not come before the second."""
    weights = read_last_weights(exported, count)
    assert len(weights) == count
    assert all(map(np.array_equal, weights, head.get_weights()[-count:]))


def test_a_served_base_is_unfolded_into_the_base_that_was_exported(exported, base, head):
    """With the BatchNorm of the base; filters with a scale of 0 are kept beside the model."""
    other = build_small_base(32, "random", seed=5)
    other.get_layer("conv5_block3_3_bn").set_weights(base.get_layer("conv5_block3_3_bn").get_weights())
    restore_base(exported, other, len(head.weights))
    for restored, original in zip(other.get_weights(), base.get_weights(), strict=True):
        np.testing.assert_allclose(restored, original, rtol=1e-5, atol=1e-5)
    os.remove(os.path.join(exported, served.UNSCALED))
    with pytest.raises(KeyError, match="conv5_block3_3_conv"):
        restore_base(exported, other, len(head.weights))


def test_the_last_weights_of_a_model_that_takes_embeddings_are_those_of_the_head(transform_output, classes, tmp_path):
    """Which it refers to twice, and holds once."""
    inputs = keras.Input([32, 32, 3], name="pixels")
    embedder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2048, 1)(inputs)))
    head = resnet.build_head(np.random.default_rng(0).normal(size=(4, 2048)).astype(np.float32), [4], 2)
    export_saved_model(attach(embedder, head), transform_output, classes, str(tmp_path), "{}")
    weights = read_last_weights(str(tmp_path), len(head.weights))
    assert len(weights) == 4
    assert all(map(np.array_equal, weights, head.get_weights()))


@pytest.fixture(scope="module")
def small_head():
    """Returns an embedder that is built in a moment, and a head of three classes with large logits."""
    inputs = keras.Input([32, 32, 3], name="pixels")
    keras.utils.set_random_seed(0)
    embedder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2048, 1)(inputs)))
    embeddings = embedder.predict_on_batch(np.random.default_rng(0).normal(0, 60, (8, 32, 32, 3)))
    return embedder, resnet.build_head(embeddings, [4], 3)


@pytest.fixture(scope="module")
def asked(small_head, transform_output, encode_image):
    """Returns 12 images, their embeddings, and a distance that is fitted to half of these."""
    images = [encode_image("png", seed=seed) for seed in range(12)]
    embeddings = small_head[0].predict_on_batch(transform(transform_output, images)["pixels"])
    distance, _ = fit_distance(embeddings[::2], np.arange(6) % 3, 3)
    return images, embeddings, distance


def attach(embedder, head):
    """Returns an embedder and a head as a network to export."""
    return dataclasses.replace(
        to_network(embedder),
        head=lambda embeddings: head(embeddings, training=False),
        head_weights=[weight.value for weight in head.weights],
        embedding_shape=head.input_shape[1:],
    )


@pytest.fixture(scope="module")
def calibrated(small_head, asked, transform_output, tmp_path_factory):
    """Returns the folder of a SavedModel with a temperature, and a threshold of the distance."""
    embedder, head = small_head
    logits, distance = resnet.build_logits(head), asked[2]
    threshold = float(np.median(score_embeddings(distance, asked[1])))
    calibration = Calibration(temperature=2.5, coverage=0.95, score="distance", threshold=threshold)
    network, folder = attach(embedder, logits), str(tmp_path_factory.mktemp("calibrated"))
    view = View("pad", "ignore")
    export_saved_model(network, transform_output, ["a", "b", "c"], folder, "{}", calibration, distance, view)
    return folder


def test_all_signatures_scale_the_probabilities_and_accept_alike(
    small_head, calibrated, asked, transform_output, serialize
):
    """Images, examples, embeddings and pixels; the label is that of the probabilities before."""
    head, loaded, (images, embeddings, distance) = small_head[1], tf.saved_model.load(calibrated), asked
    before = head.predict_on_batch(embeddings).astype(float)
    expected = np.exp(np.log(before) / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    scores, threshold = score_embeddings(distance, embeddings), read_calibration(calibrated).threshold
    accepted = (scores >= threshold).tolist()
    assert 0 < sum(accepted) < 12
    _, found = loaded.score_examples(tf.constant([serialize(image, "a") for image in images]))
    np.testing.assert_allclose(found, scores, rtol=1e-3, atol=1e-3 * np.std(scores))
    decoded = np.stack([resize_image(decode_image(tf.constant(image)), 32) for image in images])
    values = {
        SERVING: images,
        EXPLAIN: images,
        EXAMPLES: [serialize(image, "a") for image in images],
        EMBEDDED_EXAMPLES: [serialize_embedding(row) for row in embeddings],
        PIXELS: decoded,
    }
    for signature, given in values.items():
        answer = ask(loaded, signature, given)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
        assert answer["accepted"].tolist() == accepted
        if signature != PIXELS:
            assert answer["label"].tolist() == [b"abc"[i : i + 1] for i in before.argmax(axis=1)]


def serialize_embedding(row):
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=row))
    return tf.train.Example(features=tf.train.Features(feature={"embedding": feature})).SerializeToString()


def test_the_label_is_that_of_the_logits_where_scaling_makes_all_classes_equal(small_head, transform_output):
    """A rounding must not name another class. Without a threshold, all images are accepted.

    With one of the probability, NaN is not accepted.
    """
    served = ServedModel(attach(*small_head), transform_output, ["a", "b", "c"], Calibration(temperature=1e12))
    answer = {name: value.numpy() for name, value in served.describe(tf.constant([[0.0, 0.1, 0.2], [1, 2, 0]])).items()}
    assert (answer["probabilities"] == answer["probabilities"][:, :1]).all()
    assert answer["label"].tolist() == [b"c", b"b"]
    assert answer["accepted"].all()
    served.calibration = Calibration(threshold=0.6)
    logits = tf.constant([[0.0, 0.1, 0.2], [1, 2, 0], [0, 0, float("nan")]])
    assert served.describe(logits)["accepted"].numpy().tolist() == [False, True, False]


def test_the_head_that_a_warm_start_reads_has_no_temperature(small_head, calibrated):
    """Its weights are those of the trained head, to the bit."""
    weights = small_head[1].get_weights()
    assert all(map(np.array_equal, read_last_weights(calibrated, len(weights)), weights))


def test_the_calibration_is_read_from_the_file_beside_the_model(calibrated, exported, tmp_path):
    """A model without one, and a damaged one, have temperature 1 and accept all images."""
    found = read_calibration(calibrated)
    assert (found.temperature, found.coverage, found.score) == (2.5, 0.95, "distance")
    assert read_calibration(exported) == Calibration()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/calibration.json").write_text('{"format": 1, "temperature": "hot"}')
    assert read_calibration(str(tmp_path)) == Calibration()


def test_a_network_that_has_fewer_weights_gives_all_of_them(transform_output, classes, tmp_path):
    """A model of somebody else may have none that are called so: none is no error."""
    network = build_color_classifier()
    export_saved_model(to_network(network), transform_output, classes, str(tmp_path / "small"))
    assert [w.shape for w in read_last_weights(str(tmp_path / "small"), 9)] == [(3, 2), (2,)]
    foreign = tf.Module()
    foreign.kernel = tf.Variable([1.0])
    tf.saved_model.save(foreign, str(tmp_path / "foreign"))
    assert read_last_weights(str(tmp_path / "foreign"), 9) == []


def test_exporting_leaves_the_network_as_it_was(transform_output, classes, tmp_path):
    """It can be trained on: weights and optimizer are still there."""
    network = build_color_classifier()
    resnet.compile_for_training(network, keras.optimizers.Adam(1e-3))
    before = network.get_weights()
    export_saved_model(to_network(network), transform_output, classes, str(tmp_path))
    assert all(map(np.array_equal, before, network.get_weights()))
    network.fit(np.ones((4, 32, 32, 3)), np.zeros(4), verbose=0)
    assert not all(map(np.array_equal, before, network.get_weights()))


@pytest.mark.long
def test_the_model_answers_where_there_is_nothing_but_tensorflow(exported, loaded, encode_image, tmp_path):
    """In a process that cannot import Keras, TFX or TensorFlow Transform; TensorFlow's own look at keras aside."""
    (tmp_path / "image.jpg").write_bytes(encode_image(seed=4))
    script = """
        import pathlib, sys

        import tensorflow as tf

        FORBIDDEN = ("keras", "tf_keras", "tfx", "tfx_bsl", "tensorflow_transform", "tensorflow_metadata")

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in FORBIDDEN:
                    raise ImportError(f"{name} is not here")

        for name in [name for name in sys.modules if name.partition(".")[0] in FORBIDDEN]:
            del sys.modules[name]
        sys.meta_path.insert(0, Refuse())
        signatures = tf.saved_model.load(sys.argv[1]).signatures
        image = tf.constant([pathlib.Path(sys.argv[2]).read_bytes()])
        outputs = signatures["serving_default"](image_bytes=image)
        heat = signatures["explain"](image_bytes=image)["heatmap"].numpy()
        assert heat.shape == (1, 1, 1) and 0 <= heat[0, 0, 0] <= 1, heat
        assert not [name for name in sys.modules if name.partition(".")[0] in FORBIDDEN]
        print(outputs["label"].numpy()[0].decode(), *outputs["probabilities"].numpy()[0])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), exported, str(tmp_path / "image.jpg")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, *probabilities = done.stdout.split()
    expected = ask(loaded, SERVING, [encode_image(seed=4)])
    assert label == expected["label"][0].decode()
    np.testing.assert_allclose([float(p) for p in probabilities], expected["probabilities"][0], atol=1e-5)
