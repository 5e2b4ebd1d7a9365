"""Measures bare loops on this device: the main work of a component on data that is ready, and nothing else.

`base` is the frozen base on a batch in memory, without and with XLA; `fine-tuning` a step of 32 images from conv5 on;
`decoding` the JPEGs of a folder, decoded and resized on all cores. `benchmarks.card` compares the components with them.

Run: .venv/bin/python -m benchmarks.bare_loops PHOTOS [224]
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.embedder.arithmetic import count_batch
from components.network import resnet
from components.network.folded import fold_weights, make_steps, pool
from components.network.weights import RANDOM
from components.tfdata import PARALLEL_CALLS
from components.transform.preprocessing import from_uint8
from schema import features

STEP, FILES = 32, 512


def time_calls(call: Callable[[], Any], images: int, seconds: float = 3.0) -> float:
    """Returns the images a second of calls that take so many images each, after a first call."""
    call()
    started, calls = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        call()
        calls += 1
    return calls * images / (time.monotonic() - started)


def measure_base(base: keras.Model, image_size: int, batch: int, xla: bool) -> float:
    """Measures the folded base in float32, which is TF32 on a card that has it; images a second."""
    steps, weights = make_steps(base), list(fold_weights(base))
    constants = [tf.constant(weight) for weight in weights]
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (batch, image_size, image_size, 3), np.uint8))
    run = tf.function(lambda pixels: pool(steps.run(from_uint8(pixels), constants)), jit_compile=xla or None)
    return time_calls(lambda: run(images).numpy(), batch)


def measure_fine_tuning(base: keras.Model) -> float:
    """Measures a step of phase 2 from conv5 on, without XLA; images a second."""
    head = keras.Sequential([keras.Input([features.EMBEDDING_SIZE]), keras.layers.Dense(2, "softmax")])
    split_layer = str(resnet.find_split_layer(base, "conv5_block1"))
    tail = resnet.assemble_tail(base, split_layer, head, "float32")
    tail.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", jit_compile=False)
    extracted, labels = np.zeros([STEP, *tail.input_shape[1:]], np.float32), np.zeros(STEP, np.int64)
    return time_calls(lambda: tail.train_on_batch(extracted, labels), STEP)


def measure_decoding(photographs: pathlib.Path, image_size: int) -> float:
    """Measures reading, decoding and resizing on all cores; images a second."""

    def decode(path: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(path), 3), [image_size, image_size])

    paths = sorted(map(str, photographs.glob("*/*")))[:FILES]
    images = tf.data.Dataset.from_tensor_slices(paths).map(decode, num_parallel_calls=PARALLEL_CALLS)
    return time_calls(lambda: sum(1 for _ in images), len(paths))


def main(photographs: pathlib.Path, image_size: int = 224) -> None:
    """Prints the names of the cards, the batch, and the images a second of each loop, as JSON."""
    cards = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(card).get("device_name", "card") for card in cards]
    base, batch = resnet.build_base(image_size, RANDOM), count_batch()
    rates = {
        "base": measure_base(base, image_size, batch, xla=False),
        "base, XLA": measure_base(base, image_size, batch, xla=True),
        "fine-tuning": measure_fine_tuning(base),
        "decoding": measure_decoding(photographs, image_size),
    }
    print(json.dumps({"device": ", ".join(names), "batch": batch, "images_s": rates}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
