"""Choice of precision and distribution strategy for the devices of this machine."""

import dataclasses

import tensorflow as tf
from absl import logging

from components.devices import FINE_TUNING, Device, choose_precision, describe, find_device, pays_xla


@dataclasses.dataclass(frozen=True)
class Devices:
    """Precision and distribution of a training.

    Attributes:
        precision: type that phase 2 computes the base in; the head and all weights are float32.
        device: device of this machine.
        strategy: distribution strategy over the devices.
    """

    precision: str
    device: Device
    strategy: tf.distribute.Strategy

    def decide_xla(self, images: int, epochs: int) -> bool:
        """Decides whether XLA compiles a network that the base, or its tail, is a part of; logs the decision.

        Args:
            images: number of training images.
            epochs: number of epochs.
        """
        xla = pays_xla(FINE_TUNING, images, epochs, self.device)
        logging.info("Training %s XLA: %d images, %d epochs.", "with" if xla else "without", images, epochs)
        return xla


def choose_devices(precision: str) -> Devices:
    """Chooses precision and strategy from the GPUs of this machine, and logs the choice.

    Args:
        precision: "float32", "bfloat16", "float16" or "auto", see `components.devices.choose_precision`.
    """
    device = find_device()
    devices = Devices(
        precision=choose_precision(precision, device),
        device=device,
        strategy=tf.distribute.MirroredStrategy() if device.cards > 1 else tf.distribute.get_strategy(),
    )
    logging.info("Training on %s.", describe(device, devices.precision).text)
    return devices
