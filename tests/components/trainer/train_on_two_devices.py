"""Trains a small network on two logical CPUs; run by test_training.py with a folder for the logs and a precision.

A precision other than float32 trains with all options of phase 2.
"""

import pathlib
import sys
import types

import tensorflow as tf

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE), str(HERE.parents[1] / "fixtures")]

import numpy as np
from small_networks import build_small_base
from test_training import EVERY_OPTION
from training_settings import SETTINGS, change

from components.devices import Device
from components.embedder.artifact import Embedded
from components.network import resnet
from components.trainer import training
from components.trainer.devices import Devices


def main() -> None:
    """Fails if the two do not train together."""
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    resnet.build_base = build_small_base
    random = np.random.default_rng(0)
    labels = np.arange(30) % 2
    embeddings = (random.normal(0, 1, (30, 2048)) + labels[:, np.newaxis]).astype(np.float32)
    embedded = Embedded(embeddings, labels, [])
    features = random.normal(0, 1, (30, 2, 2, 16)).astype(np.float32)
    below = tf.data.Dataset.from_tensor_slices((features, labels)).batch(8)
    precision = sys.argv[2]
    settings = change(SETTINGS, batch_size=8, head_epochs=4, fine_tune_epochs=1)
    settings = settings if precision == "float32" else change(settings, **EVERY_OPTION)
    with strategy.scope():
        base = build_small_base(32, "random")
        before = base.get_weights()
        inputs = training.Inputs(None, embedded, embedded, below, below)
        frozen = types.SimpleNamespace(network=base, split_layer="conv4_block6_out")
        trained = training.train(frozen, inputs, settings, Devices(precision, Device(), strategy), sys.argv[1])
    phases = [row.phase for row in trained.history]
    losses = [row.loss for row in trained.history]
    assert phases == ["head"] * 4 + ["fine-tune"], phases
    assert losses[3] < losses[0], losses
    moved = [not np.array_equal(a, b) for a, b in zip(before, base.get_weights(), strict=True)]
    assert moved[:2] == [False, False], moved
    assert trained.kept == "head" or moved[2], moved
    best = next(row for row in trained.history if row.best and row.phase == "head")
    assert abs(trained.scores["head"].loss - best.val_loss) < 1e-4, (trained.scores, best)
    assert trained.val.probabilities.shape == (30, 2), trained.val.probabilities.shape


if __name__ == "__main__":
    main()
