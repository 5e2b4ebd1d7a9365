"""ResNet50 without its top, and a dense head."""

import random
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from global_seeds import seed_globally
from keras.src.legacy.saving import legacy_h5_format
from small_networks import fold

from components.network.resnet import (
    EMBEDDING_SIZE,
    assemble,
    assemble_tail,
    build_base,
    build_embedder,
    build_head,
    check_weights,
    compile_for_training,
    digest_weights,
    find_mismatch,
    find_split_layer,
    freeze,
    freeze_below,
    standardize,
)
from schema.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base():
    """Returns a base with random weights, at the smallest image size."""
    return build_base(32, "random")


@pytest.fixture(scope="module")
def other_base():
    """Returns the same network with other random weights."""
    return build_base(32, "random", seed=1)


@pytest.fixture
def embeddings():
    """Returns 20 embeddings whose features differ in scale and offset by an order of magnitude."""
    random = np.random.default_rng(0)
    scale = 10 ** random.uniform(-0.5, 0.5, EMBEDDING_SIZE)
    return (random.normal(3, 1, (20, EMBEDDING_SIZE)) * scale).astype(np.float32)


def find_trainable(base):
    return [layer.name for layer in base.layers if layer.trainable and layer.weights]


def test_the_base_is_resnet50_without_its_top(base):
    """175 layers and 23,587,712 weights, as Keras documents it; 32 pixels become one position of 2048 features."""
    assert len(base.layers) == 175
    assert base.count_params() == 23_587_712
    assert base.output_shape == (None, 1, 1, 2048)


def test_a_whole_stage_is_fine_tuned(base):
    """Every convolution of conv5, and nothing below."""
    freeze_below(base, "conv5")
    convolutions = {x.name for x in base.layers if isinstance(x, keras.layers.Conv2D) and x.name.startswith("conv5")}
    assert len(convolutions) == 10
    assert set(find_trainable(base)) == convolutions


def test_a_block_is_fine_tuned_with_all_above_it(base):
    """From conv4_block6 on: 3 convolutions of the block and the 10 of conv5; its number is no prefix."""
    freeze_below(base, "conv4_block6")
    trainable = find_trainable(base)
    assert len(trainable) == 13
    assert {name.rsplit("_", 2)[0] for name in trainable} == {
        "conv4_block6", "conv5_block1", "conv5_block2", "conv5_block3",
    }  # fmt: skip


def test_a_single_layer_can_be_named(base):
    """The last convolution alone."""
    freeze_below(base, "conv5_block3_3_conv")
    assert find_trainable(base) == ["conv5_block3_3_conv"]


def test_all_fine_tunes_every_convolution(base):
    """53 of them, from conv1 on; ResNet50 has 48 and a shortcut in each of 4 stages, and the first."""
    freeze_below(base, "all")
    assert len(find_trainable(base)) == 53
    assert find_trainable(base)[0] == "conv1_conv"


@pytest.mark.parametrize("fine_tune_from", ["all", "conv1", "conv3_block2", "conv5"])
def test_batch_norm_is_never_trainable(base, fine_tune_from):
    """Its statistics are ImageNet's."""
    freeze_below(base, fine_tune_from)
    norms = [layer for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 53
    assert not any(norm.trainable for norm in norms)
    assert all(not norm.trainable_weights for norm in norms)


def test_freezing_again_replaces_what_was_set_before(base):
    """From all to conv5: the lower layers are frozen again."""
    freeze_below(base, "all")
    freeze_below(base, "conv5")
    assert len(find_trainable(base)) == 10


def test_a_frozen_base_trains_nothing_until_a_block_is_named(base):
    """Phase 1 on augmented images needs a frozen base; phase 2 can then unfreeze a block."""
    freeze(base)
    assert not base.trainable_weights
    freeze_below(base, "conv5")
    assert len(find_trainable(base)) == 10


@pytest.mark.parametrize("name", ["conv6", "conv5_block", "Conv5", "conv", "", "none"])
def test_an_unknown_block_is_refused(base, name):
    """The message names the block and the valid names."""
    with pytest.raises(UsageError, match=rf"'{name}'.*'all', a stage \(conv1, conv2, conv3, conv4, conv5\)"):
        freeze_below(base, name)


def write_notop(model, path):
    """Writes weights in the format of Keras' own notop file: HDF5 by layer, as before Keras 3."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("notop.h5", write_notop),
        pytest.param("o[1]*?\\{a,b}.h5", write_notop, marks=pytest.mark.long),
        ("notop.weights.h5", lambda model, path: model.save_weights(path)),
    ],
)
def test_a_weights_file_is_really_loaded(base, other_base, tmp_path, name, write):
    """The weights are bit-equal to the written ones, BatchNorm's statistics included."""
    rng = np.random.default_rng(0)
    written = [w if w.ndim == 4 else rng.uniform(0.5, 1, w.shape).astype(np.float32) for w in base.get_weights()]
    before = base.get_weights()
    base.set_weights(written)
    write(base, tmp_path / name)
    base.set_weights(before)
    loaded = build_base(32, str(tmp_path / name)).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(loaded, written, strict=True))
    assert not np.array_equal(loaded[0], other_base.get_weights()[0])


def write_shapes(path, shapes):
    """Writes a weights file of zeros in the format of `write_notop`; `shapes` by layer."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in shapes]
        for name, weights in shapes.items():
            names = [f"{name}/weight_{index}:0" for index in range(len(weights))]
            file.create_group(name).attrs["weight_names"] = [weight.encode() for weight in names]
            for weight, shape in zip(names, weights, strict=True):
                file[name].create_dataset(weight, shape)


@pytest.fixture
def shapes(base):
    """Returns the shapes of the weights of the base by layer name."""
    return {layer.name: [w.shape for w in layer.weights] for layer in base.layers}


def test_a_file_with_the_layers_of_the_network_matches(base, shapes, tmp_path):
    """In any order; layers without weights do not count."""
    write_shapes(tmp_path / "notop.h5", dict(reversed(shapes.items())) | {"flatten": []})
    assert find_mismatch(str(tmp_path / "notop.h5"), base) == ""


def rename_layer(shapes):
    shapes["res2a_branch1"] = shapes.pop("conv2_block1_0_conv")


def change_shape(shapes):
    shapes["conv2_block1_1_conv"] = [(3, 3, 64, 64), (64,)]


def drop_bias(shapes):
    shapes["conv2_block1_1_conv"] = [(1, 1, 64, 64)]


def add_top(shapes):
    shapes["predictions"] = [(2048, 1000), (1000,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_layer, "the file has no layer 'conv2_block1_0_conv'"),
        (change_shape, "layer conv2_block1_1_conv: expected (1, 1, 64, 64), the file has (3, 3, 64, 64)"),
        (drop_bias, "layer conv2_block1_1_conv: expected (64,), the file has nothing"),
        (add_top, "the file has the layer 'predictions', which ResNet50 without top has not"),
    ],
)
def test_the_first_layer_that_differs_is_named(base, shapes, tmp_path, change, message):
    """Other names in the right order and shapes, which Keras would load, are refused as well."""
    change(shapes)
    write_shapes(tmp_path / "notop.h5", shapes)
    assert find_mismatch(str(tmp_path / "notop.h5"), base) == message


def test_weights_can_be_checked_before_a_run(shapes, tmp_path):
    """The right file passes; a wrong one is refused with its name, what differs and what is expected."""
    write_shapes(tmp_path / "notop.h5", shapes)
    check_weights(str(tmp_path / "notop.h5"), 32)
    add_top(shapes)
    write_shapes(tmp_path / "top.h5", shapes)
    with pytest.raises(UsageError, match=r"top\.h5: .* the layer 'predictions'.* Expected the file resnet50_weights"):
        check_weights(str(tmp_path / "top.h5"), 32)


def test_layers_of_other_names_are_loaded_by_their_order(base, tmp_path):
    """Keras loads by order as well; older files have other names."""
    file = tmp_path / "notop.h5"
    write_notop(base, file)
    with h5py.File(file, "r+") as weights:
        weights.move("conv1_conv", "conv1")
        names = np.array(weights.attrs["layer_names"], "S32")
        weights.attrs["layer_names"] = np.where(names == b"conv1_conv", b"conv1", names)
    loaded = build_base(32, str(file))
    assert all(map(np.array_equal, loaded.get_weights(), base.get_weights()))


def write_text(path):
    path.write_text("<html>404 Not Found</html>")


def write_truncated(path):
    small = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    write_notop(small, path)
    path.write_bytes(path.read_bytes()[:512])


def write_other_network(path):
    write_notop(keras.Sequential([keras.Input([4]), keras.layers.Dense(3)]), path)


def write_other_network_as_keras_3(path):
    keras.Sequential([keras.Input([4]), keras.layers.Dense(3)]).save_weights(path)


def write_plain_hdf5(path):
    with h5py.File(path, "w") as file:
        file["pixels"] = np.zeros(3)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("weights.h5", write_text),
        ("weights.txt", write_text),
        ("weights.h5", write_truncated),
        ("weights.h5", write_other_network),
        ("other.weights.h5", write_other_network_as_keras_3),
        ("weights.h5", write_plain_hdf5),
        ("missing.h5", lambda path: None),
    ],
)
def test_a_wrong_weights_file_is_refused(tmp_path, name, write):
    """UsageError names the file and the one that was expected, in a message that fits on a screen."""
    write(tmp_path / name)
    with pytest.raises(UsageError, match=r"(?s)resnet50_weights_tf_dim_ordering_tf_kernels_notop\.h5") as error:
        build_base(32, str(tmp_path / name))
    assert str(error.value).startswith(str(tmp_path / name))
    assert len(str(error.value)) < 1000


def test_an_embedding_is_the_average_over_all_positions(base):
    """[batch, 2048] from [batch, height, width, 2048]."""
    images = np.random.default_rng(0).normal(0, 50, (2, 32, 32, 3)).astype(np.float32)
    embeddings = build_embedder(base).predict_on_batch(images)
    assert embeddings.shape == (2, EMBEDDING_SIZE)
    np.testing.assert_allclose(embeddings, base(images, training=False).numpy().mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_batch_norm_runs_in_inference_mode_while_training(base):
    """The embedder gives the same in training, and its statistics stay."""
    embedder = build_embedder(base)
    images = np.random.default_rng(0).normal(0, 50, (4, 32, 32, 3)).astype(np.float32)
    before = [np.copy(w) for w in base.get_weights()]
    training, inference = embedder(images, training=True).numpy(), embedder(images, training=False).numpy()
    np.testing.assert_array_equal(training, inference)
    assert all(np.array_equal(a, b) for a, b in zip(before, base.get_weights(), strict=True))


def test_standardized_embeddings_have_zero_mean_and_unit_variance(embeddings):
    """Each feature, whatever its scale was."""
    scaled = np.asarray(standardize(embeddings)(embeddings))
    assert scaled.shape == embeddings.shape
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.var(axis=0), 1, atol=1e-3)


def test_other_embeddings_are_scaled_by_the_mean_and_variance_of_the_first(embeddings):
    """They are fixed: a single image is not scaled to zero."""
    other = embeddings[:1] * 2
    expected = (other - embeddings.mean(axis=0)) / embeddings.std(axis=0)
    np.testing.assert_allclose(np.asarray(standardize(embeddings)(other)), expected, rtol=1e-3, atol=1e-3)


def test_a_feature_that_never_changes_stays_finite(embeddings):
    """A dead ReLU has no variance to divide by; a single row has none at all."""
    embeddings[:, 7] = 0
    for rows in (embeddings, embeddings[:1]):
        scaled = np.asarray(standardize(rows)(rows))
        assert np.isfinite(scaled).all()
        assert (scaled[:, 7] == 0).all()


def test_a_feature_that_fine_tuning_wakes_does_not_explode(embeddings):
    """Constant in training and then as large as the others: it stays within 100 standard deviations of them."""
    embeddings[:, 7] = 0
    layer = standardize(embeddings)
    embeddings[:, 7] = embeddings.std()
    assert 1 < np.abs(np.asarray(layer(embeddings))[:, 7]).max() < 100


def test_standardize_refuses_no_rows():
    """Without rows there is no mean."""
    with pytest.raises(ValueError, match="at least one embedding"):
        standardize(np.zeros((0, EMBEDDING_SIZE), np.float32))


def test_the_head_has_the_layers_asked_for(embeddings):
    """A hidden layer with ReLU per width, and one output per class."""
    head = build_head(embeddings, [16, 8], 3)
    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    assert [(d.units, d.activation.__name__) for d in dense] == [(16, "relu"), (8, "relu"), (3, "softmax")]
    assert head.input_shape == (None, EMBEDDING_SIZE)
    assert head.output_shape == (None, 3)


def test_a_head_without_hidden_layers_is_a_linear_probe(embeddings):
    """Only the output layer is left."""
    head = build_head(embeddings, [], 3)
    assert sum(isinstance(layer, keras.layers.Dense) for layer in head.layers) == 1
    assert head.output_shape == (None, 3)


def test_dropout_follows_each_hidden_layer_and_acts_in_training_alone(embeddings):
    """The share asked for; what the model predicts does not depend on chance."""
    head = build_head(embeddings, [16, 8], 3, dropout=0.4)
    kinds = [type(layer).__name__ for layer in head.layers if not layer.name.startswith(("embedding", "standardize"))]
    assert kinds == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [layer.rate for layer in head.layers if isinstance(layer, keras.layers.Dropout)] == [0.4, 0.4]
    assert not np.array_equal(head(embeddings, training=True), head(embeddings, training=True))
    np.testing.assert_array_equal(head(embeddings, training=False), head(embeddings, training=False))


def test_probabilities_sum_to_one(embeddings):
    """For every image, and none is negative."""
    probabilities = np.asarray(build_head(embeddings, [8], 3)(embeddings))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities >= 0).all()


def test_the_network_is_the_head_on_the_embedder(base, embeddings):
    """The network shares the weights of both: training one trains the other."""
    embedder, head = build_embedder(base), build_head(embeddings, [8], 3)
    network = assemble(embedder, head)
    images = np.random.default_rng(0).normal(0, 50, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(network([images]), head(embedder(images)), atol=1e-5)
    assert network.get_layer("head") is head
    assert {id(w) for w in network.weights} == {id(w) for w in (*base.weights, *head.weights)}


def test_training_takes_class_indices_and_the_learning_rate(embeddings):
    """The loss is the cross-entropy of a class index: -log of its probability."""
    head = build_head(embeddings, [], 3)
    compile_for_training(head, keras.optimizers.Adam(0.25))
    probabilities = np.asarray(head(embeddings[:2]))
    measured = head.evaluate(embeddings[:2], np.array([0, 2]), verbose=0, return_dict=True)
    expected = -np.log([probabilities[0, 0], probabilities[1, 2]]).mean()
    assert measured["loss"] == pytest.approx(expected, rel=1e-4)
    assert measured["accuracy"] == np.mean(probabilities.argmax(axis=1) == [0, 2])
    assert float(head.optimizer.learning_rate) == 0.25


def test_smoothing_spreads_a_share_of_the_target_over_all_classes(embeddings):
    """The loss is 0.8 of the cross-entropy of the label and 0.2 of the mean over the classes (Szegedy et al. 2016)."""
    head = build_head(embeddings, [], 3)
    compile_for_training(head, keras.optimizers.Adam(0.25), label_smoothing=0.2)
    logs = np.log(np.asarray(head(embeddings[:2])))
    measured = head.evaluate(embeddings[:2], np.array([0, 2]), verbose=0, return_dict=True)
    expected = -0.8 * np.mean([logs[0, 0], logs[1, 2]]) - 0.2 * logs.mean()
    assert measured["loss"] == pytest.approx(expected, rel=1e-4)
    assert measured["accuracy"] == np.mean(logs.argmax(axis=1) == [0, 2])


def test_random_weights_are_those_of_their_seed(base, other_base):
    """Equal in every release and with every version of Keras (0.2.0 had the same): stored embeddings depend on them."""
    expected = [
        "2aaf5cd493fb94580c85593c22801edd74d699d4e1e1e39951dc6c13cb03f86b",
        "12399dd3ff69cb0c758960e66d4d21b07a4d3d4b436469a5da345d4304618285",
    ]
    assert [digest_weights(base), digest_weights(other_base)] == expected


def test_random_weights_depend_on_no_other_thread(base):
    """Beam's threads draw random numbers, too."""
    ended = threading.Event()

    def draw():
        while not ended.is_set():
            random.randint(1, 1)

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        again = build_base(32, "random")
    finally:
        ended.set()
        drawing.join()
    assert digest_weights(again) == digest_weights(base)


def test_building_neither_draws_from_nor_sets_what_all_code_shares(base):
    """Python's `random`, that is."""
    with seed_globally(7):
        again = build_base(32, "random")
    assert digest_weights(again) == digest_weights(base)


def test_a_head_and_its_dropout_are_those_of_their_seed(embeddings):
    """The same weights, and the same units dropped, whatever was drawn before; those of a global seed as in 0.2.0."""
    heads = []
    for other in (11, 12):
        with seed_globally(other):
            head = build_head(embeddings, [8], 2, dropout=0.5, seed=3)
            heads.append([*head.get_weights(), *(head(embeddings, training=True).numpy() for _ in range(2))])
    assert all(map(np.array_equal, *heads))
    assert not np.array_equal(heads[0][-1], heads[0][-2])
    keras.utils.set_random_seed(3)
    plain = keras.Sequential([keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    plain.build([None, EMBEDDING_SIZE])
    kernels = [w for w in heads[0] if w.ndim == 2 and w.shape[0] in (8, EMBEDDING_SIZE)]
    assert all(map(np.array_equal, kernels, plain.get_weights()[::2]))
    assert not np.array_equal(build_head(embeddings, [8], 2, seed=4).get_weights()[3], kernels[0])


@pytest.mark.parametrize(
    ("fine_tune_from", "split_layer"),
    [
        ("conv5_block1", "conv4_block6_out"),
        ("conv5", "conv4_block6_out"),
        ("conv5_block3", "conv5_block2_out"),
        ("conv5_block3_2_conv", "conv5_block2_out"),
        ("conv5_block1_out", "conv4_block6_out"),
        ("conv2_block1", "pool1_pool"),
        ("conv1", None),
        ("all", None),
    ],
)
def test_the_base_is_split_at_the_end_of_the_last_frozen_block(base, fine_tune_from, split_layer):
    """All that phase 2 trains lies above, and one tensor goes through the split layer, shortcuts included."""
    assert find_split_layer(base, fine_tune_from) == split_layer


def test_an_unknown_layer_to_split_at_is_an_error(base):
    """The message names the layer and the valid names."""
    with pytest.raises(UsageError, match="no layer of ResNet50 is called 'conv9'"):
        find_split_layer(base, "conv9")


@pytest.fixture(scope="module")
def trained_base(base):
    """Puts statistics as of a trained network into the base, and the old ones back at the end."""
    before, random = base.get_weights(), np.random.default_rng(0)
    base.set_weights([w if w.ndim == 4 else random.uniform(0.5, 1.5, w.shape) for w in before])
    yield base
    base.set_weights(before)


@pytest.fixture(scope="module")
def images():
    """Returns two images of noise."""
    return np.random.default_rng(0).normal(0, 50, (2, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(trained_base, images):
    """Returns the output of the base for these images, computed by Keras."""
    return np.asarray(trained_base(images, training=False))


@pytest.mark.parametrize("split_layer", ["conv4_block6_out", "conv5_block2_out", "pool1_pool"])
def test_both_parts_of_a_split_base_are_the_whole(trained_base, images, whole, split_layer):
    """One after the other they compute the output of ResNet50, to 1e-5 of its size."""
    steps, weights = fold(trained_base)
    extractor, tail = steps.split(split_layer)
    assert len(weights) == 106
    features = extractor.run(tf.constant(images), weights[: extractor.num_weights])
    folded = tail.run(features, weights[extractor.num_weights :]).numpy()
    assert np.abs(folded - whole).max() < 1e-5 * np.abs(whole).max()


def test_the_tail_shares_the_weights_of_the_base(base, embeddings):
    """Training the tail and the head trains the base."""
    head = build_head(embeddings, [8], 3)
    tail = assemble_tail(base, "conv5_block2_out", head)
    assert tail.input_shape == (None, 1, 1, 2048)
    trained = {id(w) for layer in base.layers if layer.name.startswith("conv5_block3") for w in layer.weights}
    assert {id(w) for w in tail.weights} == trained | {id(w) for w in head.weights}
