"""Device of this machine, and two choices that follow from it: the precision that "auto" means, and XLA."""

import dataclasses

import tensorflow as tf

from components.records.computation import PROCESSOR, Computation
from serving.process.cores import count_cores

AUTO, FLOAT32, BFLOAT16, FLOAT16 = "auto", "float32", "bfloat16", "float16"


@dataclasses.dataclass(frozen=True)
class Device:
    """Device that TensorFlow computes on.

    Attributes:
        name: name that the driver gives the card, such as "NVIDIA H200"; PROCESSOR without a card. Of several cards it
            is the one of the lowest compute capability.
        capability: compute capability of that card; (0, 0) without a card, or if it is unknown.
        cards: number of cards.
    """

    name: str = PROCESSOR
    capability: tuple[int, int] = (0, 0)
    cards: int = 0

    @property
    def text(self) -> str:
        """Name for a person: "CPU", "NVIDIA H200" or "2 x NVIDIA H200"."""
        return f"{self.cards} x {self.name}" if self.cards > 1 else self.name


@dataclasses.dataclass(frozen=True)
class Rates:
    """Measured rates of a network on a card.

    Attributes:
        plain: images per second without XLA.
        compiled: images per second with XLA.
        compilation: seconds that XLA takes to compile.
    """

    plain: float
    compiled: float
    compilation: float

    @property
    def break_even(self) -> float:
        """Number of images, each counted once an epoch, from which on XLA saves time."""
        return self.compilation / (1 / self.plain - 1 / self.compiled)


# Networks that XLA may compile. The head is none of them: its step is a fraction of a millisecond either way.
BASE, FINE_TUNING = "base", "fine-tuning"

# Measured on 2026-11-27 on one NVIDIA H200 (16 cores, TensorFlow 2.21), at 224 px.
_BARE_BASE = (4_804.0, 17_009.0)  # images/s of ResNet50 without its top, batches of 256, TF32: without XLA, with XLA
_MEASURED = {
    "NVIDIA H200": {
        # 22.0 s of the Embedder with XLA and 7.0 s without, on the same 1,399 photographs: breaks even at 100,000.
        BASE: Rates(*_BARE_BASE, compilation=15.0),
        # 64.7 s of the Trainer with XLA and 17.8 s without. The step of phase 2 itself was not measured: from a stored
        # feature map, forward and backward through conv5 are 0.6 times the multiplications of a pass through the
        # base, so the base's rates overrate what XLA saves. Breaks even at 310,000 images times epochs.
        FINE_TUNING: Rates(*_BARE_BASE, compilation=47.0),
    }
}


def find_device() -> Device:
    """Returns the device of this process. Reads what TensorFlow knows, and starts no device."""
    cards = []
    for card in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(card)
        cards.append((details.get("compute_capability", (0, 0)), details.get("device_name", "GPU")))
    if not cards:
        return Device()
    capability, name = min(cards)
    return Device(name, capability, len(cards))


def choose_precision(precision: str, device: Device) -> str:
    """Returns the type to compute in.

    Args:
        precision: "float32", "bfloat16", "float16", each returned as it is, or "auto". On a card "auto" is the fastest
            type that its tensor cores take: bfloat16 from compute capability 8.0 on, float16 from 7.0 on. On a CPU
            "auto" is float32, so that the same images and settings train the same model on every processor. bfloat16
            is 1.5 times as fast on processors that multiply bfloat16, and gives another model (benchmarks/README.md).
        device: device to compute on.
    """
    if precision != AUTO:
        return precision
    if device.capability >= (8, 0):
        return BFLOAT16
    return FLOAT16 if device.capability >= (7, 0) else FLOAT32


def pays_xla(network: str, images: int, epochs: int, device: Device) -> bool:
    """Decides whether XLA saves more time than its compilation takes.

    The decision follows from its arguments and a table in the code, never from a timing or from what a cache holds: the
    same images and settings train the same model.

    Args:
        network: BASE or FINE_TUNING.
        images: number of images that go through the network in an epoch.
        epochs: number of epochs.
        device: device to compute on. On a card that was not measured, on several cards and on a CPU, which XLA makes
            up to 3 times slower, the answer is no.
    """
    rates = _MEASURED.get(device.name, {}).get(network) if device.cards == 1 else None
    return rates is not None and images * epochs > rates.break_even


def describe(device: Device = Device(), precision: str = "", xla: bool | None = None) -> Computation:
    """Describes a computation on this machine, for the log and the records.

    Args:
        device: device that computes.
        precision: type that a network computes in; "" if it is not one type, or without a network.
        xla: whether XLA compiles the network; None if that is not decided yet, or without a network.
    """
    return Computation(device=device.text, precision=precision, xla=xla, cores=count_cores())
