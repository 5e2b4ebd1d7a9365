"""Tiny images and a tiny transform graph; everything is made here, with fixed seeds."""

import io
import pathlib
import zlib

import numpy as np
import pytest
from PIL import Image

CLASSES = ["cat", "dog"]
IMAGE_SIZE = 32


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
        "animated_gif": ("P", "GIF"),
        "webp": ("RGB", "WEBP"),
        "tiff": ("RGB", "TIFF"),
    }[kind]
    if kind == "animated_gif":
        frames = [Image.fromarray(draw([seed, frame])).convert("P") for frame in (1, 2)]
        options |= {"save_all": True, "append_images": frames}
    file = io.BytesIO()
    image.convert(mode).save(file, format=file_format, **options)
    return file.getvalue()


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


@pytest.fixture(scope="session")
def make_images():
    """See `write_images`."""
    return write_images


@pytest.fixture(scope="session")
def serialize():
    """Returns a function that makes a serialized tf.Example of an encoded image and a label."""
    import tensorflow as tf

    def to_example(image, label):
        values = {"image": image, "label": label.encode(), "path": b"a.jpg", "digest": b"0"}
        feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
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
    config = {"classes": CLASSES, "image_size": IMAGE_SIZE}
    row = {"image": [encode()], "label": [b"cat"], "path": [b"cat/0.jpg"], "digest": [b"0"]}
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        transform_fn = ([row], DatasetMetadata(read_schema(CLASSES))) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    return str(folder / "graph")
