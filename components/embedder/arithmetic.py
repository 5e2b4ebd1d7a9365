"""Arithmetic of the frozen base on the devices of this process: precision, name in a feature key, images a batch."""

import tensorflow as tf

AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
TF32 = "TF32"
_TENSOR_CORES = (8, 0)  # least compute capability whose tensor cores take bfloat16, and round float32 to TF32
_PROCESSOR_BATCH = 32  # larger batches are no faster on a processor, and take memory
_CARD_BATCH = 256


def choose_precision(precision: str) -> str:
    """Chooses what the frozen base computes in: "float32" or "bfloat16".

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 on a card whose tensor cores take it, else float32.
    """
    if precision != AUTO:
        return precision
    return BFLOAT16 if _find_capability() >= _TENSOR_CORES else FLOAT32


def describe_arithmetic(precision: str) -> str:
    """Names the computation of a folded base in a FeatureKey: features of another computation differ by a rounding."""
    return f"folded {precision}"


def describe_here(precision: str) -> str:
    """Names the computation of a folded base on the devices of this process, as `describe_arithmetic`.

    Tensor cores round the factors of a float32 product to TF32, which has the 10 bits of float16. bfloat16 is the same
    on a card and on a processor: products of bfloat16, summed in float32.
    """
    rounds = tf.config.experimental.tensor_float_32_execution_enabled() and _find_capability() >= _TENSOR_CORES
    return describe_arithmetic(TF32 if rounds and precision == FLOAT32 else precision)


def read_precision(arithmetic: str) -> str:
    """Returns the precision of a computation that `describe_here` named."""
    return BFLOAT16 if arithmetic == describe_arithmetic(BFLOAT16) else FLOAT32


def count_batch() -> int:
    """Returns the number of images that the base takes at once on the devices of this process."""
    return _CARD_BATCH if tf.config.list_physical_devices("GPU") else _PROCESSOR_BATCH


def _find_capability() -> tuple[int, int]:
    """Returns the compute capability of the oldest card; (0, 0) without a card."""
    cards = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(card) for card in cards]
    return min((found.get("compute_capability", (0, 0)) for found in details), default=(0, 0))
