"""One preprocessing graph: decode, resize, scale as ResNet50 was trained; class names to indices."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from components.images.decoding import decode_image, read_header, reject_oversized
from components.images.formats import READABLE
from components.transform.preprocessing import from_uint8, index_labels, preprocess_images, preprocessing_fn, to_uint8

MAX_MEGAPIXELS = 1.0  # as in the transform graph of the tests
BGR_MEANS = np.array([103.939, 116.779, 123.68], np.float32)  # of ImageNet, as in Caffe's ResNet-50
KINDS = [
    "jpeg", "png", "gif", "bmp", "gray_jpeg", "gray_png", "cmyk_jpeg", "rgba_png", "palette_png", "animated_gif",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_readable_format_gives_three_channels(encode_image, kind):
    """uint8 [height, width, 3], equal to Pillow's decoding up to the rounding of JPEG's colours."""
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


@pytest.mark.parametrize(
    ("kind", "like"),
    [
        ("JPEG with EXIF orientation", "JPEG, baseline"),
        ("JPEG with an ICC profile", "JPEG, baseline"),
        ("JPEG, progressive", "JPEG, baseline"),
        ("PNG, transparent", "PNG, RGB"),
        ("PNG, 16-bit", "PNG, RGB"),
        ("PNG, interlaced", "PNG, RGB"),
        ("PNG, animated", "PNG, RGB"),
        ("BMP, 24-bit", "PNG, RGB"),
        ("BMP, 32-bit", "PNG, RGB"),
        ("BMP, 8-bit with a palette", "PNG, palette"),
        ("GIF", "PNG, palette"),
        ("GIF, animated", "GIF"),
        ("GIF, cut off in a later frame", "GIF"),
    ],
)
def test_what_is_documented_to_be_dropped_changes_no_pixel(make_file, kind, like):
    """Profile, alpha, lower bits and later frames do not change the pixels; the orientation not those decoded."""
    images = [decode_image(read_header(tf.constant(make_file(name))).encoded) for name in (kind, like)]
    np.testing.assert_array_equal(*images)


def test_transparent_pixels_keep_the_colour_below_them_in_a_png_and_are_black_in_a_gif():
    """A PNG loses its alpha channel; a transparent palette index of a GIF has no colour."""
    rgba = np.full((4, 4, 4), [200, 100, 50, 0], np.uint8)
    png, gif = io.BytesIO(), io.BytesIO()
    Image.fromarray(rgba).save(png, format="PNG")
    Image.new("P", (4, 4), 7).save(gif, format="GIF", transparency=7)
    assert (decode_image(tf.constant(png.getvalue())).numpy() == [200, 100, 50]).all()
    assert (decode_image(tf.constant(gif.getvalue())).numpy() == 0).all()


def test_of_16_bits_the_upper_8_are_kept():
    """Not rounded: 0x12FF is 0x12."""
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2), 0x12FF, np.uint16)).save(file, format="PNG")
    assert (decode_image(tf.constant(file.getvalue())).numpy() == 0x12).all()


@pytest.mark.parametrize("kind", ["JPEG, baseline", "PNG, RGB", "GIF", "GIF, animated", "BMP, 24-bit"])
def test_sizes_are_read_from_the_header(make_file, kind):
    """The order is width, height."""
    np.testing.assert_array_equal(read_header(tf.constant(make_file(kind))).size, [20, 12])


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("JPEG bomb", [65500, 65500]),
        ("PNG bomb", [60000, 40000]),
        ("GIF bomb", [65500, 65500]),
        ("GIF bomb, small by its header", [1200, 1000]),
        ("BMP bomb", [60000, 40000]),
    ],
)
def test_an_image_bomb_is_refused_before_it_is_decoded(make_file, kind, size):
    """By the size of the decoded image, alone or in a batch; the message has the limit."""
    bomb = make_file(kind)
    np.testing.assert_array_equal(read_header(tf.constant(bomb)).size, size)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 1 megapixels"):
        preprocess_images(tf.constant([make_file("PNG, RGB"), bomb]), 32, MAX_MEGAPIXELS)


def test_a_gif_is_cut_to_its_first_frame_and_other_files_are_not_touched(make_file):
    """For any number of frames; traced, too."""
    still, animated, jpeg = make_file("GIF"), make_file("GIF, animated"), make_file("JPEG, baseline")
    for cut in (reject_oversized, tf.function(reject_oversized)):
        kept = [cut(tf.constant(file), MAX_MEGAPIXELS).encoded.numpy() for file in (jpeg, animated, still)]
        assert [len(file) for file in kept] == [len(jpeg), len(still), len(still)]
        assert kept[0] == jpeg


def test_a_long_gif_is_cut_behind_all_blocks_of_its_first_frame():
    """A frame is stored in blocks of 255 bytes, and may have a palette of its own."""
    noise = [np.random.default_rng(seed).integers(0, 256, (60, 80), np.uint8) for seed in range(3)]
    frames = [Image.fromarray(n) for n in noise]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], loop=0, comment=b"x" * 300)
    cut = read_header(tf.constant(file.getvalue())).encoded.numpy()
    assert 4800 < len(cut) < len(file.getvalue()) / 2
    np.testing.assert_array_equal(decode_image(tf.constant(cut)).numpy()[..., 0], noise[0])


def test_uint8_pixels_are_without_loss(make_file):
    """float32 to uint8 and back gives the same bits."""
    pixels = preprocess_images(tf.constant([make_file("PNG, RGB"), make_file("JPEG, CMYK")]), 32, MAX_MEGAPIXELS)
    images = to_uint8(pixels)
    assert (images.dtype, images.shape) == (tf.uint8, pixels.shape)
    np.testing.assert_array_equal(from_uint8(images), pixels)


@pytest.mark.parametrize("kind", ["gray_jpeg", "gray_png"])
def test_grayscale_becomes_three_equal_channels(encode_image, kind):
    """Before preprocessing, which subtracts another mean from each."""
    image = decode_image(tf.constant(encode_image(kind))).numpy()
    assert image.std() > 0
    np.testing.assert_array_equal(image[..., 0], image[..., 1])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("encoded", [b"", b"hello", b"\xff\xd8\xff\xe0 not a JPEG"])
def test_bytes_that_are_no_image_raise(encoded):
    """TensorFlow raises its own error, which ingest turns into a reason."""
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(encoded))


def test_pixels_follow_the_formula_that_resnet50_was_trained_with(encode_image):
    """Bilinear to a square with antialiasing, rounded, RGB to BGR, minus the means of ImageNet (He et al. 2015)."""
    encoded = [encode_image("png", seed=1), encode_image("jpeg", seed=2)]
    pixels = preprocess_images(tf.constant(encoded), 32, MAX_MEGAPIXELS)
    resized = [np.round(tf.image.resize(tf.io.decode_image(e, channels=3), [32, 32], antialias=True)) for e in encoded]
    assert (pixels.dtype, pixels.shape) == (tf.float32, (2, 32, 32, 3))
    difference = np.abs(pixels - (np.stack(resized)[..., ::-1] - BGR_MEANS))
    assert np.median(difference) < 1e-4
    assert difference.max() < 1.01  # a sum in another order, rounded


def test_an_image_of_one_colour_has_the_pixels_worked_out_by_hand():
    """RGB (200, 100, 50) is BGR (50, 100, 200) minus the means, at any size."""
    file = io.BytesIO()
    Image.new("RGB", (7, 3), (200, 100, 50)).save(file, format="PNG")
    pixels = preprocess_images(tf.constant([file.getvalue()]), 8, MAX_MEGAPIXELS).numpy()
    np.testing.assert_allclose(pixels, np.broadcast_to([-53.939, -16.779, 76.32], (1, 8, 8, 3)), atol=1e-4)


def test_a_reduced_image_is_a_weighted_mean_of_all_its_pixels():
    """Four pixels wide to two: weights 3, 3 and 1 under the left triangle, and 1, 3 and 3 under the right one."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 40, 80, 200]] * 4, np.uint8)).save(file, format="PNG")
    blue = preprocess_images(tf.constant([file.getvalue()]), 2, MAX_MEGAPIXELS).numpy()[0, 0, :, 0] + BGR_MEANS[0]
    np.testing.assert_allclose(blue, [round(200 / 7), round(880 / 7)], atol=1e-4)


def test_eager_and_tf_data_give_the_same_bits(encode_image):
    """Training reads through tf.data, a caller may run eagerly; of each format that is read."""
    encoded = tf.constant([[encode_image(kind, seed=s) for s in range(2)] for kind in KINDS])

    @tf.autograph.experimental.do_not_convert
    def preprocess(batch):
        return preprocess_images(batch, 32, MAX_MEGAPIXELS)

    for batch, inside in zip(encoded, tf.data.Dataset.from_tensor_slices(encoded).map(preprocess), strict=True):
        np.testing.assert_array_equal(inside, preprocess(batch))


def test_an_image_does_not_depend_on_its_batch(encode_image):
    """Alone or between others, the same bits."""
    encoded = [encode_image("jpeg", seed=s) for s in range(3)]
    together = preprocess_images(tf.constant(encoded), 32, MAX_MEGAPIXELS).numpy()
    np.testing.assert_array_equal(preprocess_images(tf.constant(encoded[1:2]), 32, MAX_MEGAPIXELS)[0], together[1])


def test_labels_become_positions_in_the_class_list():
    """The order is that of the list, not alphabetic or by frequency."""
    indices = index_labels(tf.constant(["dog", "cat", "dog", "猫"]), ["dog", "猫", "cat"])
    assert indices.dtype == tf.int64
    np.testing.assert_array_equal(indices, [0, 2, 0, 1])


def test_an_unknown_label_is_minus_1():
    """No error and not the first class; prefixes and other cases do not match."""
    np.testing.assert_array_equal(index_labels(tf.constant(["bird", "ca", "Cat", ""]), ["cat", "dog"]), [-1] * 4)


def test_no_labels_give_no_indices():
    """An empty batch stays empty."""
    assert index_labels(tf.constant([], tf.string), ["cat", "dog"]).shape == (0,)


def test_preprocessing_fn_names_and_shapes_its_outputs(encode_image):
    """`pixels` [batch, size, size, 3] and `label_index` [batch, 1], from columns [batch, 1]."""
    encoded = [encode_image("png"), encode_image("jpeg")]
    inputs = {"image": tf.constant(encoded)[:, None], "label": tf.constant([["dog"], ["bird"]])}
    config = {"image_size": 16, "max_megapixels": MAX_MEGAPIXELS, "classes": ["cat", "dog"]}
    outputs = preprocessing_fn(inputs, config | {"orientation": "exif", "resize": "stretch"})
    assert set(outputs) == {"pixels", "label_index"}
    np.testing.assert_array_equal(outputs["pixels"], preprocess_images(tf.constant(encoded), 16, MAX_MEGAPIXELS))
    np.testing.assert_array_equal(outputs["label_index"], [[1], [-1]])


def test_the_traced_graph_gives_the_pixels_of_the_function(transform_graph, encode_image, image_size):
    """The graph traced by TFX's Transform and the Python function are bit-equal, label included."""
    import tensorflow_transform as tft

    layer = tft.TFTransformOutput(transform_graph).transform_features_layer()
    encoded = [encode_image(kind) for kind in ("jpeg", "png", "gray_jpeg", "cmyk_jpeg", "gif")]
    labels = ["dog", "cat", "dog", "cat", "bird"]
    outputs = layer({"image": tf.constant(encoded)[:, None], "label": tf.constant(labels)[:, None]})
    np.testing.assert_array_equal(
        outputs["pixels"], preprocess_images(tf.constant(encoded), image_size, MAX_MEGAPIXELS)
    )
    np.testing.assert_array_equal(outputs["label_index"], [[1], [0], [1], [0], [-1]])


def test_images_are_decoded_and_resized_on_the_processor(transform_graph):
    """On a card, one image after the other would take longer; the written graph says so, for serving as well."""
    file = next(pathlib.Path(transform_graph).rglob("transform_fn/saved_model.pb"))
    graph = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    devices = {node.op: node.device for node in nodes if node.op in ("SparseTensorDenseMatMul", "DecodeJpeg")}
    assert devices.keys() == {"SparseTensorDenseMatMul", "DecodeJpeg"}
    assert set(devices.values()) == {"/device:CPU:0"}
