"""Optimizer of a phase: Adam and its options, and loss scaling for float16."""

import dataclasses
import math

import keras

from components.devices import FLOAT16

CONSTANT, COSINE = "constant", "cosine"


@dataclasses.dataclass(frozen=True)
class AdamOptions:
    """Options of Adam; each but the learning rate is off by default.

    Attributes:
        learning_rate: learning rate, the highest of a schedule.
        schedule: CONSTANT, or COSINE to let the learning rate fall to 0 on half a cosine (Loshchilov and Hutter 2017).
        warmup: share of the steps in which the learning rate rises from 0 to its highest value, 0 to 1.
        clip_norm: upper limit of the global norm of the gradients; 0 for none.
        weight_decay: decoupled weight decay, as AdamW's (Loshchilov and Hutter 2019); 0 for none.
        average: momentum of an exponential moving average of the weights, 0 to 1; 0 for no average.
    """

    learning_rate: float
    schedule: str = CONSTANT
    warmup: float = 0.0
    clip_norm: float = 0.0
    weight_decay: float = 0.0
    average: float = 0.0


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate by step: a linear rise, then constant or half a cosine.

    The first step has a rate above 0, so that no step is without effect.
    """

    def __init__(self, options: AdamOptions, steps: int):
        """Sets the length of the rise and of the fall.

        Args:
            options: learning rate, schedule and warm-up.
            steps: number of steps of the phase.
        """
        self._highest = options.learning_rate
        self._falls = options.schedule == COSINE
        self._rising = round(options.warmup * steps)
        self._falling = max(steps - self._rising, 1)

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the learning rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        rate = self._highest * keras.ops.minimum((step + 1) / max(self._rising, 1), 1.0)
        if not self._falls:
            return rate
        done = keras.ops.clip((step - self._rising) / self._falling, 0.0, 1.0)
        return rate * 0.5 * (1 + keras.ops.cos(math.pi * done))


def make_optimizer(
    network: keras.Model, options: AdamOptions, steps: int = 1, precision: str = ""
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a phase. Its count of steps begins at 0.

    Args:
        network: network to train; its biases and normalizations do not decay.
        options: options of Adam.
        steps: number of steps of the phase.
        precision: type that the base computes in. With float16 the loss is scaled, so that small gradients do not
            vanish: Keras scales it by itself only if the dtype policy of the outermost model is mixed_float16.
    """
    scheduled = options.schedule != CONSTANT or options.warmup > 0
    optimizer = keras.optimizers.Adam(
        LearningRate(options, steps) if scheduled else options.learning_rate,
        global_clipnorm=options.clip_norm or None,
        weight_decay=options.weight_decay or None,
        use_ema=options.average > 0,
        ema_momentum=options.average or 0.99,  # Keras refuses None; without an average it is unused
    )
    if options.weight_decay:
        optimizer.exclude_from_weight_decay([v for v in network.trainable_variables if len(v.shape) < 2])
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == FLOAT16 else optimizer
