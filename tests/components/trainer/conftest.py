"""Shared fixtures of the Trainer's tests: a device, and images with their embeddings and features."""

import types

import numpy as np
import pytest
import tensorflow as tf
from small_networks import split_keras

from components.embedder.artifact import Embedded
from components.network import resnet
from components.trainer.devices import choose_devices


@pytest.fixture(scope="module")
def devices():
    """One device, float32."""
    return choose_devices("float32")


@pytest.fixture(scope="module")
def embedded_noise(small_base):
    """Pixels of 20 images, and what a small base makes of them; to train and to validate on."""
    random = np.random.default_rng(0)
    base = small_base(32, "random")
    embedder = resnet.build_embedder(base)
    extractor, _ = split_keras(base, "conv4_block6_out")

    def make(count):
        images = random.normal(0, 50, (count, 32, 32, 3)).astype(np.float32)
        labels = np.arange(count) % 2
        embedded = Embedded(embedder.predict_on_batch(images), labels, [])
        below = tf.cast(extractor.predict_on_batch(images), tf.bfloat16).numpy()
        batches = [tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(8) for inputs in (images, below)]
        return types.SimpleNamespace(embedded=embedded, images=batches[0], below=batches[1])

    return [make(20)] * 2  # validated on what it is trained on: it gets better
