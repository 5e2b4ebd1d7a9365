"""Arithmetic of the frozen base on the device of this process: precision, name in a feature key, images a batch."""

import tensorflow as tf

from components.devices import BFLOAT16, FLOAT32, choose_precision, find_device

TF32 = "TF32"
_TENSOR_CORES = (8, 0)  # least compute capability whose tensor cores round float32 to TF32
_PROCESSOR_BATCH = 32  # larger batches are no faster on a processor, and take memory
_CARD_BATCH = 256


def choose_base_precision(precision: str) -> str:
    """Chooses what the frozen base computes in, "float32" or "bfloat16", by `devices.choose_precision`.

    A card whose tensor cores take float16 alone computes in float32: the base has no float16.

    Args:
        precision: "float32", "bfloat16" or "auto".
    """
    return BFLOAT16 if choose_precision(precision, find_device()) == BFLOAT16 else FLOAT32


def describe_arithmetic(precision: str) -> str:
    """Names the computation of a folded base in a FeatureKey: features of another computation differ by a rounding."""
    return f"folded {precision}"


def describe_here(precision: str) -> str:
    """Names the computation of a folded base on the device of this process, as `describe_arithmetic`."""
    return describe_arithmetic(name_here(precision))


def name_here(precision: str) -> str:
    """Names a precision of the base on the device of this process: "TF32" where float32 is computed so.

    Tensor cores round the factors of a float32 product to TF32, which has the 10 bits of float16. bfloat16 is the same
    on a card and on a processor: products of bfloat16, summed in float32.
    """
    rounds = tf.config.experimental.tensor_float_32_execution_enabled() and find_device().capability >= _TENSOR_CORES
    return TF32 if rounds and precision == FLOAT32 else precision


def read_precision(arithmetic: str) -> str:
    """Returns the precision of a computation that `describe_here` named."""
    return BFLOAT16 if arithmetic == describe_arithmetic(BFLOAT16) else FLOAT32


def count_batch() -> int:
    """Returns the number of images that the base takes at once on the device of this process."""
    return _CARD_BATCH if find_device().cards else _PROCESSOR_BATCH
