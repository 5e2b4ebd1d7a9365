"""Pictures of the page: limits, no EXIF, and a reason for a missing picture."""

import base64
import hashlib
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.transform.preprocessing import preprocess_images, to_uint8
from pipeline.report.thumbnails import Thumbnails, make_square


def make_noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def open_picture(thumbnail):
    return Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2])))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(
    ("width", "height", "size", "kind"),
    [
        (33, 200, 64, "PNG"),
        (803, 601, 64, "JPEG"),
        *(pytest.param(*more, "PNG", marks=pytest.mark.long) for more in [(90, 70, 32), (20, 10, 48), (64, 64, 64)]),
    ],
)
def test_the_network_view_is_that_of_the_preprocessing_graph(width, height, size, kind, resize):
    """Where it is padded, Pillow puts the picture on whole pixels; smooth pictures differ little by that."""
    noise = make_noise(4, 3) if resize == "pad" or kind == "JPEG" else make_noise(width, height)
    file = io.BytesIO()
    noise.resize((width, height), Image.Resampling.BICUBIC).save(file, kind, subsampling=0)
    image = Image.open(file)
    expected = to_uint8(preprocess_images(tf.constant([file.getvalue()]), size, 1.0, resize=resize))[0].numpy()[
        ..., ::-1
    ]
    difference = np.abs(np.asarray(make_square(image, size, resize), np.float32) - expected)
    assert difference.max() <= 1 if resize == "stretch" else np.median(difference) <= 2


def test_a_large_photograph_becomes_small_and_loses_its_exif(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 6  # maker, and turned to the right
    make_noise(1200, 600).save(tmp_path / "a.jpg", exif=exif)
    made = Thumbnails(str(tmp_path), 100).make("a.jpg")
    picture = open_picture(made)
    assert picture.size == (made.width, made.height) == (80, 160)  # turned, as in training
    assert not picture.getexif()
    assert open_picture(Thumbnails(str(tmp_path), 100, upright=False).make("a.jpg")).size == (160, 80)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_every_kind_of_png_has_a_picture(tmp_path, mode):
    Image.new(mode, (20, 10)).save(tmp_path / "a.png")
    assert open_picture(Thumbnails(str(tmp_path), 100).make("a.png")).mode == "RGB"


def test_what_is_not_there_any_more_has_a_reason(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    make_noise(300, 300).save(tmp_path / "large.png")
    thumbnails = Thumbnails(str(tmp_path), 0.05)
    digest = hashlib.sha256(b"other bytes").hexdigest()
    assert thumbnails.make("gone.jpg").problem == "the file is gone"
    assert thumbnails.make("large.png", digest).problem == "the file has changed since"
    assert thumbnails.make("large.png").problem == "the file cannot be shown"  # more pixels than allowed
    assert thumbnails.make("broken.jpg").problem == "the file cannot be shown"
    assert Thumbnails("gs://bucket/data", 100).make("a.jpg").problem == "the images are not on this machine"


def test_pictures_have_a_budget(tmp_path, monkeypatch):
    """The limit holds for all pictures of a page together."""
    monkeypatch.setattr("pipeline.report.thumbnails._BUDGET", 60_000)
    make_noise(160, 160).save(tmp_path / "a.png")
    thumbnails = Thumbnails(str(tmp_path), 100)
    made = [thumbnails.make("a.png") for _ in range(5)]
    assert sum(len(thumbnail.uri) for thumbnail in made) <= 60_000
    assert made[0].uri
    assert made[-1].problem == "left out, to keep the page small"
