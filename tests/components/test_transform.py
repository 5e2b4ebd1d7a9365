"""One preprocessing graph: decode, resize, scale as ResNet50 was trained; class names to indices."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.transform import READABLE, decode_image, index_labels, preprocess_images, preprocessing_fn

BGR_MEANS = np.array([103.939, 116.779, 123.68], np.float32)  # of ImageNet, as in Caffe's ResNet-50
KINDS = [
    "jpeg", "png", "gif", "bmp", "gray_jpeg", "gray_png", "cmyk_jpeg", "rgba_png", "palette_png", "animated_gif",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_readable_format_gives_three_channels(encode_image, kind):
    """uint8 [height, width, 3], and the picture that Pillow sees, up to the rounding of JPEG's colours."""
    encoded = encode_image(kind)
    image = decode_image(tf.constant(encoded))
    assert (image.dtype, image.shape) == (tf.uint8, (12, 20, 3))
    assert encoded.startswith(tuple(READABLE))
    if kind != "cmyk_jpeg":  # libjpeg and Pillow convert from CMYK by different formulas
        expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), int)
        assert np.abs(image.numpy().astype(int) - expected).max() <= (4 if "jpeg" in kind else 0)


def test_a_cmyk_jpeg_keeps_its_colours():
    """Red ink gives red, not its negative."""
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, format="JPEG")
    red, green, blue = decode_image(tf.constant(file.getvalue())).numpy().mean(axis=(0, 1))
    assert red > 200 > 60 > max(green, blue)


def test_of_an_animated_gif_the_first_frame_is_read(encode_image):
    """The same as of a GIF with that frame alone."""
    animated, still = (decode_image(tf.constant(encode_image(kind))) for kind in ("animated_gif", "gif"))
    np.testing.assert_array_equal(animated, still)


@pytest.mark.parametrize("kind", ["gray_jpeg", "gray_png"])
def test_grayscale_becomes_three_equal_channels(encode_image, kind):
    """Before preprocessing, which subtracts another mean from each."""
    image = decode_image(tf.constant(encode_image(kind))).numpy()
    assert image.std() > 0
    np.testing.assert_array_equal(image[..., 0], image[..., 1])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_the_exif_orientation_is_ignored(encode_image):
    """Serving cannot read it, so neither may training: the image stays as the sensor saw it."""
    exif = Image.Exif()
    exif[274] = 6
    turned, plain = encode_image("jpeg", exif=exif), encode_image("jpeg")
    assert turned != plain
    np.testing.assert_array_equal(decode_image(tf.constant(turned)), decode_image(tf.constant(plain)))


@pytest.mark.parametrize("encoded", [b"", b"hello", b"\xff\xd8\xff\xe0 not a JPEG"])
def test_bytes_that_are_no_image_raise(encoded):
    """TensorFlow's own error, which ingest turns into a reason."""
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(encoded))


def test_pixels_follow_the_formula_that_resnet50_was_trained_with(encode_image):
    """Bilinear to a square, RGB to BGR, minus the means of ImageNet, nothing divided (He et al. 2015, in Caffe)."""
    encoded = [encode_image("png", seed=1), encode_image("jpeg", seed=2)]
    pixels = preprocess_images(tf.constant(encoded), 32)
    resized = [tf.image.resize(tf.io.decode_image(e, channels=3), [32, 32]).numpy() for e in encoded]
    assert (pixels.dtype, pixels.shape) == (tf.float32, (2, 32, 32, 3))
    np.testing.assert_allclose(pixels, np.stack(resized)[..., ::-1] - BGR_MEANS, atol=1e-4)


def test_an_image_of_one_colour_has_the_pixels_worked_out_by_hand():
    """RGB (200, 100, 50) is BGR (50, 100, 200) minus the means, at any size."""
    file = io.BytesIO()
    Image.new("RGB", (7, 3), (200, 100, 50)).save(file, format="PNG")
    pixels = preprocess_images(tf.constant([file.getvalue()]), 8).numpy()
    np.testing.assert_allclose(pixels, np.broadcast_to([-53.939, -16.779, 76.32], (1, 8, 8, 3)), atol=1e-4)


def test_a_resized_image_is_bilinear_and_not_smoothed():
    """Four pixels wide to two: the halfway value of the two in the middle of each half (no antialiasing)."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 40, 80, 200]] * 4, np.uint8)).save(file, format="PNG")
    blue = preprocess_images(tf.constant([file.getvalue()]), 2).numpy()[0, 0, :, 0] + BGR_MEANS[0]
    np.testing.assert_allclose(blue, [20, 140], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_eager_and_tf_data_give_the_same_bits(encode_image, kind):
    """Training reads through tf.data, and must see what a caller sees."""
    encoded = tf.constant([encode_image(kind, seed=s) for s in range(3)])
    inside = next(iter(tf.data.Dataset.from_tensors(encoded).map(lambda e: preprocess_images(e, 32))))
    np.testing.assert_array_equal(inside, preprocess_images(encoded, 32))


def test_an_image_does_not_depend_on_its_batch(encode_image):
    """Alone or between others, the same bits."""
    encoded = [encode_image("jpeg", seed=s) for s in range(3)]
    together = preprocess_images(tf.constant(encoded), 32).numpy()
    np.testing.assert_array_equal(preprocess_images(tf.constant(encoded[1:2]), 32)[0], together[1])


def test_labels_become_positions_in_the_class_list():
    """The list is in the order given, not in that of the alphabet or of frequency."""
    indices = index_labels(tf.constant(["dog", "cat", "dog", "猫"]), ["dog", "猫", "cat"])
    assert indices.dtype == tf.int64
    np.testing.assert_array_equal(indices, [0, 2, 0, 1])


def test_an_unknown_label_is_minus_1():
    """Neither the first class nor an error; nor does a part of a name or another case match."""
    np.testing.assert_array_equal(index_labels(tf.constant(["bird", "ca", "Cat", ""]), ["cat", "dog"]), [-1] * 4)


def test_no_labels_give_no_indices():
    """An empty batch stays empty."""
    assert index_labels(tf.constant([], tf.string), ["cat", "dog"]).shape == (0,)


def test_preprocessing_fn_names_and_shapes_its_outputs(encode_image):
    """`pixels` [batch, size, size, 3] and `label_index` [batch, 1], from columns [batch, 1]."""
    encoded = [encode_image("png"), encode_image("jpeg")]
    inputs = {"image": tf.constant(encoded)[:, None], "label": tf.constant([["dog"], ["bird"]])}
    outputs = preprocessing_fn(inputs, {"image_size": 16, "classes": ["cat", "dog"]})
    assert set(outputs) == {"pixels", "label_index"}
    np.testing.assert_array_equal(outputs["pixels"], preprocess_images(tf.constant(encoded), 16))
    np.testing.assert_array_equal(outputs["label_index"], [[1], [-1]])


def test_the_traced_graph_gives_the_pixels_of_the_function(transform_graph, encode_image, image_size):
    """What TFX's Transform traces is what was written: bit-equal, label included."""
    import tensorflow_transform as tft

    layer = tft.TFTransformOutput(transform_graph).transform_features_layer()
    encoded = [encode_image(kind) for kind in ("jpeg", "png", "gray_jpeg", "cmyk_jpeg", "gif")]
    labels = ["dog", "cat", "dog", "cat", "bird"]
    outputs = layer({"image": tf.constant(encoded)[:, None], "label": tf.constant(labels)[:, None]})
    np.testing.assert_array_equal(outputs["pixels"], preprocess_images(tf.constant(encoded), image_size))
    np.testing.assert_array_equal(outputs["label_index"], [[1], [0], [1], [0], [-1]])
