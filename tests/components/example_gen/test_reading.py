"""Brightness of an image that is read; it detects a covered or turned camera."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from components.example_gen import decode_trial
from components.example_gen.decode_cache import DecodedImages
from components.example_gen.layout import ImageFile
from components.example_gen.reading import read_images, try_to_decode
from serving.storage.threads import map_in_threads

BLACK, GREY, WHITE = 0, 100, 255


def encode(pixels, kind="PNG"):
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, kind)
    return file.getvalue()


def measure(content, max_megapixels=100.0):
    return try_to_decode(content, max_megapixels)[2]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
@pytest.mark.parametrize("level", [BLACK, GREY, WHITE])
def test_an_image_of_one_level_is_as_bright_as_that(kind, level):
    """The brightness is 0 for a black image and 255 for a white one, gray or in colour."""
    for shape in ((12, 20), (12, 20, 3)):
        assert measure(encode(np.full(shape, level), kind)) == pytest.approx(level, abs=1)


def test_the_brightness_is_the_mean_of_pixels_and_colours():
    """A third of the pixels are red, the others black."""
    pixels = np.zeros((30, 30, 3))
    pixels[:10, :, 0] = WHITE
    assert measure(encode(pixels)) == pytest.approx(WHITE / 9)


def test_the_brightness_is_exact_on_any_number_of_cores():
    """TensorFlow's mean of float32 has other last bits where more cores share the sum, in one of four photographs."""
    images = np.random.default_rng(0).integers(0, 256, (20, 300, 400, 3))
    for pixels in images:
        assert measure(encode(pixels, "BMP")) == np.float32(pixels.sum() / pixels.size)


def test_an_image_is_decoded_in_the_thread_that_asks():
    """A pool of TensorFlow's would be a second one beside the threads that read, and each hand-over costs time."""
    content = encode(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3)))
    measure(content)
    thread, process = time.thread_time(), time.process_time()
    measure(content)
    assert time.thread_time() - thread > (time.process_time() - process) / 2


def test_threads_that_begin_at_once_share_a_graph(monkeypatch):
    """Building it takes a second, under Python's lock: 16 threads would take 16."""
    built = []

    def build(*inputs):
        built.append(inputs)
        return decode(*inputs)

    decode = decode_trial._decode
    monkeypatch.setattr(decode_trial, "_decode", build)
    decode_trial._build_decoder.cache_clear()
    try:
        found = map_in_threads(measure, [encode(np.full((4, 4, 3), GREY))] * 8, 8)
    finally:
        decode_trial._build_decoder.cache_clear()
    assert (found, len(built)) == ([GREY] * 8, 1)


@pytest.mark.parametrize("shape", [(1700, 2000, 3), (3000, 40, 3), (1, 3000, 3)])
def test_the_brightness_of_a_large_image_is_taken_all_over_it(shape):
    """The mean is computed on a grid of pixels from edge to edge in each direction."""
    pixels = np.random.default_rng(0).integers(0, 256, shape)
    pixels[: shape[0] // 2] //= 4
    pixels[:, shape[1] // 2 :] //= 2
    assert measure(encode(pixels)) == pytest.approx(pixels.mean(), rel=0.1)


def test_an_image_that_is_too_large_has_no_brightness():
    """The image is not decoded."""
    content = encode(np.full((1000, 1001), WHITE))
    assert try_to_decode(content, 1.0) == (1001, 1000, 0.0, 1)
    assert try_to_decode(content, 1.1) == (1001, 1000, WHITE, 1)


def test_the_brightness_is_kept_with_what_decoding_told(tmp_path):
    """The value is the same to the bit, because the next run does not decode the image."""
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17, 3))
    (tmp_path / "a.png").write_bytes(encode(pixels))
    file = ImageFile("a.png", "cat", "", "", 0, 0)
    [first] = read_images([file], str(tmp_path), 1.0, 1, DecodedImages(str(tmp_path / "decoded"), "code"))
    kept = DecodedImages(str(tmp_path / "decoded"), "code")
    assert kept.find(first.digest) == (17, 31, first.brightness, 1)
    assert first.brightness == pytest.approx(pixels.mean(), rel=1e-5)
    assert read_images([file], str(tmp_path), 1.0, 1, kept) == [first]
