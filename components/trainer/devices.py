"""Choice of precision, XLA and distribution strategy for the devices of this machine."""

import dataclasses

import tensorflow as tf
from absl import logging

AUTO, FLOAT32, BFLOAT16, FLOAT16 = "auto", "float32", "bfloat16", "float16"


@dataclasses.dataclass(frozen=True)
class Devices:
    """Precision, compilation and distribution of a training.

    Attributes:
        precision: type that phase 2 computes the base in; the head and all weights are float32.
        jit_compile: whether to compile with XLA.
        strategy: distribution strategy over the devices.
    """

    precision: str
    jit_compile: bool
    strategy: tf.distribute.Strategy


def choose_devices(precision: str) -> Devices:
    """Chooses precision, XLA and strategy from the GPUs of this machine, and logs the choice.

    Args:
        precision: "float32", "bfloat16", "float16" or "auto". On GPUs "auto" is the fastest type that their tensor
            cores take. On a CPU "auto" is float32, so that the same images and settings train the same model on every
            processor. bfloat16 is 1.5 times as fast on processors that multiply bfloat16, and gives another model
            (benchmarks/README.md).
    """
    gpus = tf.config.list_physical_devices("GPU")
    if precision == AUTO:
        precision = _choose_gpu_precision(gpus) if gpus else FLOAT32
    devices = Devices(
        precision=precision,
        # On a CPU, XLA makes a forward pass up to 3 times slower.
        jit_compile=bool(gpus),
        strategy=tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy(),
    )
    logging.info(
        "Training on %s, in %s, %s XLA.",
        f"{len(gpus)} GPU(s)" if gpus else "the CPU",
        devices.precision,
        "with" if devices.jit_compile else "without",
    )
    return devices


def _choose_gpu_precision(gpus: list[tf.config.PhysicalDevice]) -> str:
    """Chooses the precision for the oldest GPU.

    Tensor cores take bfloat16 from compute capability 8.0 on, and float16 from 7.0 on.
    """
    capability = min(tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus)
    if capability >= (8, 0):
        return BFLOAT16
    return FLOAT16 if capability >= (7, 0) else FLOAT32
