"""Tiny images and a tiny transform graph; everything is made here, with fixed seeds."""

import hashlib
import io
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

# As `./graft` sets them: serving.gfile.set_defaults. Before any test module imports TensorFlow.
os.environ |= {"GCS_READ_CACHE_BLOCK_SIZE_MB": "8", "GCS_STAT_CACHE_MAX_AGE": "0"}

CLASSES = ["cat", "dog"]
IMAGE_SIZE = 32
MAX_MEGAPIXELS = 1.0


def draw(seed, width=20, height=12):
    """A noisy image, uint8 [height, width, 3]; seeds that begin with the same number have a colour in common."""
    colour = np.random.default_rng(np.atleast_1d(seed)[0]).integers(40, 216, 3)
    noise = np.random.default_rng(seed).integers(-40, 40, (height, width, 3))
    return (colour + noise).astype(np.uint8)


def encode(kind="jpeg", seed=0, **options):
    """The bytes of an image file; `kind` is a key below, `options` go to Pillow's `save`."""
    image = Image.fromarray(draw(seed))
    mode, file_format = {
        "jpeg": ("RGB", "JPEG"),
        "png": ("RGB", "PNG"),
        "gif": ("P", "GIF"),
        "bmp": ("RGB", "BMP"),
        "gray_jpeg": ("L", "JPEG"),
        "gray_png": ("L", "PNG"),
        "cmyk_jpeg": ("CMYK", "JPEG"),
        "rgba_png": ("RGBA", "PNG"),
        "palette_png": ("P", "PNG"),
        "rgba_bmp": ("RGBA", "BMP"),
        "palette_bmp": ("P", "BMP"),
        "black_and_white_bmp": ("1", "BMP"),
        "animated_gif": ("P", "GIF"),
        "webp": ("RGB", "WEBP"),
        "tiff": ("RGB", "TIFF"),
        "jpeg2000": ("RGB", "JPEG2000"),
    }[kind]
    if kind == "animated_gif":
        frames = [Image.fromarray(draw([seed, frame])).convert("P") for frame in (1, 2)]
        options |= {"save_all": True, "append_images": frames}
    file = io.BytesIO()
    image.convert(mode).save(file, format=file_format, **options)
    return file.getvalue()


def fill(width, height, file_format):
    """The bytes of a black image of any size, in two colours."""
    file = io.BytesIO()
    Image.new("P", (width, height)).save(file, format=file_format)
    return file.getvalue()


def build_png(width, height, depth, rows, interlaced=False):
    """A PNG of raw RGB rows, for what Pillow cannot write; `depth` in bits."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    checked = (struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(checked)


def build_rows(image):
    """The rows of a PNG, each behind a filter of 0."""
    return b"".join(b"\0" + row.tobytes() for row in image)


def interlace(image):
    """The rows of an interlaced PNG: the seven passes of Adam7 (PNG specification, section 8.2)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = (image[top::down, left::right] for top, left, down, right in passes)
    return b"".join(build_rows(part) for part in parts if part.size)


def patch(content, position, layout, *values):
    """The same bytes with numbers written over some of them."""
    patched = bytearray(content)
    struct.pack_into(layout, patched, position, *values)
    return bytes(patched)


def claim_gigapixels(jpeg):
    """A JPEG whose frame header, SOF0, says 65500 x 65500."""
    return patch(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 65500, 65500)


def claim_gigapixels_in_frame(gif):
    """A GIF whose first frame says 65500 x 65500; its header tells the truth."""
    return patch(gif, gif.index(b",\0\0\0\0" + gif[6:10]) + 5, "<HH", 65500, 65500)


def turn():
    """EXIF that says the camera was turned."""
    exif = Image.Exif()
    exif[274] = 6
    return exif


def encode_larger(kind):
    """A larger image, so that half of its file holds some of its rows."""
    file = io.BytesIO()
    Image.fromarray(draw(5, 200, 160)).convert("P" if kind == "GIF" else "RGB").save(file, format=kind)
    return file.getvalue()


def halve(content):
    return content[: len(content) // 2]


# The kinds of files in docs/images.md, and how one is made.
FILES = {
    "JPEG, baseline": lambda: encode("jpeg"),
    "JPEG, progressive": lambda: encode("jpeg", progressive=True),
    "JPEG, gray": lambda: encode("gray_jpeg"),
    "JPEG, CMYK": lambda: encode("cmyk_jpeg"),
    "JPEG named .gif": lambda: encode("jpeg"),
    "JPEG with EXIF orientation": lambda: encode("jpeg", exif=turn()),
    "JPEG with an ICC profile": lambda: encode("jpeg", icc_profile=bytes(200)),
    "JPEG, damaged inside": lambda: patch(encode_larger("JPEG"), 2000, "100x"),
    "JPEG, cut off": lambda: halve(encode_larger("JPEG")),
    "JPEG without its last two bytes": lambda: encode_larger("JPEG")[:-2],
    "JPEG bomb": lambda: claim_gigapixels(encode("jpeg")),
    "PNG, RGB": lambda: encode("png"),
    "PNG, gray": lambda: encode("gray_png"),
    "PNG, palette": lambda: encode("palette_png"),
    "PNG, transparent": lambda: encode("rgba_png"),
    "PNG, 16-bit": lambda: build_png(20, 12, 16, build_rows((draw(0) * np.uint16(256) + 255).astype(">u2"))),
    "PNG, interlaced": lambda: build_png(20, 12, 8, interlace(draw(0)), interlaced=True),
    "PNG, animated": lambda: encode("png", save_all=True, append_images=[Image.fromarray(draw(1))]),
    "PNG, cut off": lambda: halve(encode_larger("PNG")),
    "PNG bomb": lambda: patch(encode("png"), 16, ">II", 60000, 40000),
    "GIF": lambda: encode("gif"),
    "GIF, animated": lambda: encode("animated_gif"),
    "GIF, transparent": lambda: encode("gif", transparency=0),
    "GIF, cut off in a later frame": lambda: encode("animated_gif")[:-100],
    "GIF, cut off": lambda: halve(encode_larger("GIF")),
    "GIF bomb": lambda: claim_gigapixels_in_frame(encode("gif")),
    "GIF bomb, small by its header": lambda: patch(fill(1200, 1000, "GIF"), 6, "<HH", 1, 1),
    "BMP, 24-bit": lambda: encode("bmp"),
    "BMP, 32-bit": lambda: encode("rgba_bmp"),
    "BMP, 8-bit with a palette": lambda: encode("palette_bmp"),
    "BMP, 1-bit": lambda: encode("black_and_white_bmp"),
    "BMP, cut off": lambda: halve(encode_larger("BMP")),
    "BMP bomb": lambda: patch(encode("bmp"), 18, "<ii", 60000, -40000),
    "One pixel": lambda: fill(1, 1, "PNG"),
    "As large as max_megapixels": lambda: fill(1000, 1000, "PNG"),
    "A row more than max_megapixels": lambda: fill(1000, 1001, "PNG"),
    "Empty": lambda: b"",
    "WebP": lambda: encode("webp"),
    "TIFF": lambda: encode("tiff"),
    "JPEG 2000": lambda: encode("jpeg2000"),
    "JPEG XL": lambda: b"\xff\x0a\xf8\x01",
    "HEIC": lambda: b"\0\0\0\x18ftypheic\0\0\0\0",
    "AVIF": lambda: b"\0\0\0\x18ftypavif\0\0\0\0",
    "Video": lambda: b"\0\0\0\x18ftypmp42\0\0\0\0",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "Text named .jpg": lambda: b"This is not an image.",
}


def write_images(folder, label, count, kind="jpeg", first=0):
    """Writes `count` different images into folder/label, in a colour of the label; returns their paths."""
    target = pathlib.Path(folder) / label
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / f"{index:03d}.{kind.rpartition('_')[2]}" for index in range(first, first + count)]
    for index, path in enumerate(paths, first):
        path.write_bytes(encode(kind, seed=[zlib.crc32(label.encode()), index]))
    return paths


@pytest.fixture(scope="session")
def classes():
    """The class list of the transform graph."""
    return list(CLASSES)


@pytest.fixture(scope="session")
def image_size():
    """What the transform graph resizes to: the smallest that ResNet50 takes."""
    return IMAGE_SIZE


@pytest.fixture(scope="session")
def encode_image():
    """See `encode`."""
    return encode


@pytest.fixture(scope="session", params=list(FILES))
def kind_and_file(request):
    """Each kind of docs/images.md in turn, and a file of it: (name of the kind, bytes)."""
    return request.param, FILES[request.param]()


@pytest.fixture(scope="session")
def make_file():
    """Returns a function that makes a file of a kind of docs/images.md."""
    return lambda kind: FILES[kind]()


@pytest.fixture(scope="session")
def make_images():
    """See `write_images`."""
    return write_images


@pytest.fixture(scope="session")
def serialize():
    """Returns a function that makes a serialized tf.Example of an encoded image and a label."""
    import tensorflow as tf

    def to_example(image, label):
        digest = hashlib.sha256(image).hexdigest().encode()
        values = {"image": image, "label": label.encode(), "path": b"a.jpg", "digest": digest}
        feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
        feature["brightness"] = tf.train.Feature(float_list=tf.train.FloatList(value=[99.0]))
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    return to_example


@pytest.fixture(scope="session")
def transform_graph(tmp_path_factory):
    """The folder of a real transform graph: `preprocessing_fn` for two classes, traced as TFX does."""
    import functools

    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

    from components.make_schema import read_schema
    from components.transform import preprocessing_fn

    folder = tmp_path_factory.mktemp("transform")
    config = {"classes": CLASSES, "image_size": IMAGE_SIZE, "max_megapixels": MAX_MEGAPIXELS}
    row = {"image": [encode()], "label": [b"cat"], "path": [b"cat/0.jpg"], "digest": [b"0"], "brightness": [99.0]}
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        transform_fn = ([row], DatasetMetadata(read_schema(CLASSES))) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    return str(folder / "graph")
