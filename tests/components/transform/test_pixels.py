"""Images for training: read through the transform graph, kept on disk, augmented."""

import pathlib
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from absl import logging
from global_seeds import seed_globally

from components.example_files import name_file
from components.transform import pixels

COUNT = 10


@pytest.fixture(scope="module")
def examples(tmp_path_factory, make_images, serialize):
    """Writes two TFRecord files of 10 images in all, cats and dogs in turn; returns the pattern."""
    folder = tmp_path_factory.mktemp("examples")
    images = {label: make_images(folder / "images", label, COUNT // 2) for label in ("cat", "dog")}
    split = folder / "Split-train"
    split.mkdir()
    pairs = list(zip(*images.values(), strict=True))
    for shard, part in enumerate((pairs[:2], pairs[2:])):
        with tf.io.TFRecordWriter(str(split / name_file(shard, 2))) as writer:
            for cat, dog in part:
                writer.write(serialize(cat.read_bytes(), "cat"))
                writer.write(serialize(dog.read_bytes(), "dog"))
    return str(split / "*")


@pytest.fixture(scope="module")
def transform(transform_graph):
    return tft.TFTransformOutput(transform_graph).transform_features_layer()


@pytest.fixture
def counting(transform):
    """Returns the transform graph with a counter of the images that it transforms."""
    counted = types.SimpleNamespace(images=0)

    def count(images):
        counted.images += len(images)
        return images

    def apply(raw):
        image = tf.ensure_shape(tf.numpy_function(count, [raw["image"]], tf.string), [None, 1])
        return transform(raw | {"image": image})

    counted.transform = apply
    return counted


def read(dataset):
    """Returns the images and labels of a dataset, in order."""
    batches = list(dataset)
    return tuple(np.concatenate([batch[i].numpy() for batch in batches]) for i in (0, 1))


def test_pixels_are_those_of_the_transform_graph(examples, transform):
    """Every image of every file once, in the order on disk, bit-equal, with its label index."""
    dataset = pixels.read_uint8([examples], transform, 4)
    assert [len(labels) for _, labels in dataset] == [4, 4, 2]
    assert dataset.element_spec[0].dtype == tf.uint8
    images, labels = read(pixels.to_pixels(dataset))
    np.testing.assert_array_equal(labels, [0, 1] * 5)
    raw = [record.numpy() for record in tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(examples)))]
    encoded = tf.io.parse_example(raw, {"image": tf.io.FixedLenFeature([1], tf.string)})["image"]
    expected = transform({"image": encoded, "label": tf.constant([["cat"]] * COUNT)})["pixels"]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.long
def test_shuffled_images_are_the_same_in_another_order_each_epoch(examples, transform):
    """Labels stay with their images, and a seed repeats the orders."""

    def read_epochs(seed):
        dataset = pixels.read_uint8([examples], transform, 4, seed)
        return [[(image.tobytes(), label) for image, label in zip(*read(dataset), strict=True)] for _ in range(2)]

    first, second = read_epochs(3)
    assert first != second
    assert sorted(first) == sorted(second) == sorted(read_epochs(None)[0])
    assert read_epochs(3) == [first, second]


@pytest.mark.parametrize(("cached", "passes_that_decode"), [(True, 1), (False, 3)])
def test_an_image_is_decoded_once_with_a_cache_and_each_pass_without(
    examples, counting, tmp_path, cached, passes_that_decode
):
    """One pass in order and two shuffled ones; the images are the same."""
    cache = str(tmp_path / "train") if cached else None
    plain = read(pixels.read_uint8([examples], counting.transform, 4, cache=cache))
    shuffled = pixels.read_uint8([examples], counting.transform, 4, 3, cache)
    passes = [read(shuffled) for _ in range(2)]
    assert counting.images == passes_that_decode * COUNT
    for images, _ in passes:
        assert sorted(i.tobytes() for i in images) == sorted(i.tobytes() for i in plain[0])


def make_pixels(count=32):
    """Returns a dataset of random uint8 pixels with their indices as labels, 8 a batch."""
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return images, tf.data.Dataset.from_tensor_slices((images, np.arange(count))).batch(8)


def augment(changes, seed=0, epochs=1):
    """Augments the images of `make_pixels` for some epochs and converts them back to uint8."""
    dataset = pixels.to_pixels(make_pixels()[1], pixels.build_augmentation(pixels.Augmentation(**changes), seed))
    return [read(dataset)[0] + np.float32([103.939, 116.779, 123.68]) for _ in range(epochs)]


def test_augmentation_depends_on_its_seed_alone():
    """In each epoch, after any earlier random numbers; the global random state is unchanged."""
    seen = []
    for other in (11, 12):
        with seed_globally(other):
            seen.append(augment({"flip": "horizontal", "rotation": 0.1, "zoom": 0.2, "contrast": 0.3}, 3, epochs=2))
    np.testing.assert_array_equal(*seen)
    assert not np.array_equal(*seen[0])


def test_augmentation_that_is_off_is_none():
    """Training without augmentation has no augmentation step."""
    assert pixels.build_augmentation(pixels.Augmentation(), 0) is None
    assert not pixels.Augmentation().is_on
    assert pixels.Augmentation(zoom=0.1).is_on


@pytest.mark.parametrize(("flip", "axes"), [("horizontal", [2]), ("vertical", [1])])
def test_a_flip_mirrors_some_images(flip, axes):
    """About half of them; the others stay the same, and labels stay with their images."""
    images, _ = make_pixels()
    (seen,) = augment({"flip": flip})
    mirrored = np.isclose(seen, np.flip(images, axes), atol=1e-3).all(axis=(1, 2, 3))
    same = np.isclose(seen, images, atol=1e-3).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 5 < mirrored.sum() < 27


@pytest.mark.parametrize("name", ["rotation", "zoom", "contrast"])
def test_each_augmentation_changes_the_images_within_their_range(name):
    """Nearly every image changes, within 0 to 255, in each epoch in another way."""
    images, _ = make_pixels()
    first, second = augment({name: 0.2}, epochs=2)
    for seen in (first, second):
        assert (np.abs(seen - images).max(axis=(1, 2, 3)) > 1).mean() > 0.8
        assert seen.min() > -0.01
        assert seen.max() < 255.01
    assert not np.allclose(first, second, atol=1)


def test_augmentation_repeats_with_its_seed():
    """Epoch by epoch; another seed gives other images."""
    changes = {"flip": "horizontal", "rotation": 0.1, "zoom": 0.1, "contrast": 0.1}
    once, again = augment(changes, seed=1, epochs=3), augment(changes, seed=1, epochs=3)
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once[0], augment(changes, seed=2)[0], atol=1)


@pytest.fixture
def large_examples(tmp_path):
    """Writes 20 records of 10 kB, three times the size of 32 x 32 uint8 pixels."""
    with tf.io.TFRecordWriter(str(tmp_path / "large")) as writer:
        for _ in range(20):
            writer.write(bytes(10_000))
    return [str(tmp_path / "large")]


@pytest.fixture
def log(caplog):
    """Captures the log."""
    caplog.set_level("INFO", logger=logging.get_absl_logger().name)
    return caplog


def set_free_disk(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free))


def test_pixels_of_large_files_are_kept_until_the_end(large_examples, tmp_path, monkeypatch, log):
    """The cache folder is removed in the end with its files; the log gives the sizes."""
    set_free_disk(monkeypatch, 5_000_000)
    with pixels.cache_folder(large_examples, 32, 4, str(tmp_path / "run")) as folder:
        assert pathlib.Path(folder).parent == tmp_path / "run"
        pathlib.Path(folder, "train.data").touch()
    assert list((tmp_path / "run").iterdir()) == []
    assert "are kept on disk: an example has 10 kB on average, resized 3 kB; some 20 of them need 0.1 MB" in log.text
    assert "5.0 MB are free; they are read 4 times" in log.text


def test_cached_pixels_are_removed_when_training_fails(large_examples, tmp_path):
    """The error of the training is raised."""
    with pytest.raises(RuntimeError, match="diverged"), pixels.cache_folder(large_examples, 32, 4, str(tmp_path / "r")):
        raise RuntimeError("diverged")
    assert list((tmp_path / "r").iterdir()) == []


@pytest.mark.parametrize(
    ("image_size", "passes", "free", "reason"),
    [
        (32, 1, 10**9, "they are read once"),
        (64, 4, 10**9, "an example has 10 kB on average, resized 12 kB"),
        (32, 4, 100_000, "some 20 of them need 0.1 MB, 0.1 MB are free, less than twice as much"),
    ],
    ids=["one pass", "small files", "full disk"],
)
def test_pixels_are_not_kept_without_a_benefit(
    large_examples, tmp_path, monkeypatch, log, image_size, passes, free, reason
):
    """Each pass decodes again, and the log gives the reason; the disk needs twice the space."""
    set_free_disk(monkeypatch, free)
    with pixels.cache_folder(large_examples, image_size, passes, str(tmp_path / "run")) as folder:
        assert folder is None
    assert f"are not kept on disk: {reason}" in log.text


def test_pixels_are_not_kept_on_another_machine(large_examples, log):
    """A remote folder has no known free space, and reading from it is not faster than decoding."""
    with pixels.cache_folder(large_examples, 32, 4, "gs://bucket/run") as folder:
        assert folder is None
    assert "gs://bucket/run is not on this machine" in log.text
