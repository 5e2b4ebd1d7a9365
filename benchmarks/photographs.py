"""Is decoding the bottleneck with 12-megapixel photographs? The first pass over them against those that follow.

The first pass decodes, resizes and keeps the levels, as the Trainer does with such files; the frozen base beside it
tells what either costs in comparison.

Run: .venv/bin/python -m benchmarks.photographs [--images 64]
"""

import argparse
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf
from PIL import Image

from components.network import resnet
from components.network.weights import RANDOM
from components.transform.pixels import read_uint8, to_pixels
from components.transform.preprocessing import preprocess_images
from schema import features

WIDTH, HEIGHT, IMAGE_SIZE, BATCH = 4000, 3000, 224, 16


def write_examples(path: str, count: int) -> float:
    """Writes examples of photographs of 12 megapixels; returns the mean size of the files in bytes."""
    random = np.random.default_rng(0)
    total = 0
    with tempfile.TemporaryDirectory() as folder, tf.io.TFRecordWriter(path) as writer:
        for _ in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8))
            file = pathlib.Path(folder, "photo.jpg")
            coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, quality=92)
            values = {features.IMAGE: file.read_bytes(), features.LABEL: b"noise"}
            total += len(values[features.IMAGE])
            feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return total / count


def transform(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Stands in for the transform graph, by the same functions."""
    pixels = preprocess_images(raw[features.IMAGE][:, 0], IMAGE_SIZE, 100.0)
    return {features.PIXELS: pixels, features.LABEL_INDEX: tf.zeros([tf.shape(pixels)[0], 1], tf.int64)}


def rate(
    images: Iterable[tuple[tf.Tensor, tf.Tensor]], use: Callable[[tf.Tensor], object] = lambda batch: None
) -> float:
    """Images a second in one pass."""
    started, count = time.monotonic(), 0
    for batch, _ in images:
        use(batch)
        count += len(batch)
    return count / (time.monotonic() - started)


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        examples = str(pathlib.Path(folder, "examples"))
        size = write_examples(examples, count)
        images = to_pixels(read_uint8([examples], transform, BATCH, cache=str(pathlib.Path(folder, "levels"))))
        first = rate(images)
        later = rate(images)
        embedder = resnet.build_embedder(resnet.build_base(IMAGE_SIZE, RANDOM))
        embedder.predict_on_batch(np.zeros([BATCH, IMAGE_SIZE, IMAGE_SIZE, 3], np.float32))
        base = rate(images, embedder.predict_on_batch)
    print(f"{count} photographs of {WIDTH} x {HEIGHT} pixels, {size / 1e6:.1f} MB each, resized to {IMAGE_SIZE}")
    for name, value in (("first pass, decoding", first), ("later passes, cached", later), ("frozen base", base)):
        print(f"{name:<26} {value:8.1f} images/s")
    print(json.dumps({"first": first, "later": later, "base": base, "ratio": later / first}))


if __name__ == "__main__":
    main()
