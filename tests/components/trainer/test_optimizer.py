"""Adam's options: schedule, clipping, weight decay, average of the weights, loss scaling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.optimizer import COSINE, AdamOptions, LearningRate, make_optimizer


def make_network(**changes):
    """A network of one layer whose first variable is a kernel and whose second is a bias."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input([3]), keras.layers.Dense(2, bias_initializer="ones", **changes)])


def step(network, options, gradient, **arguments):
    """Applies a gradient of this value once; returns the optimizer."""
    optimizer = make_optimizer(network, options, **arguments)
    optimizer.build(network.trainable_variables)
    optimizer.apply([tf.fill(v.shape, gradient) for v in network.trainable_variables])
    return optimizer


def test_without_an_option_the_optimizer_is_adam():
    """Same class and configuration as Keras' Adam with this learning rate; models of 0.2.0 were trained with it."""
    made = make_optimizer(make_network(), AdamOptions(0.5)).get_config()
    assert made | {"name": ""} == keras.optimizers.Adam(0.5).get_config() | {"name": ""}  # Keras 3.15 numbers the names


def test_the_cosine_is_that_of_keras():
    """Keras' CosineDecay is the oracle, at each step."""
    ours, oracle = LearningRate(AdamOptions(0.5, COSINE), 40), keras.optimizers.schedules.CosineDecay(0.5, 40)
    np.testing.assert_allclose([ours(i) for i in range(41)], [oracle(i) for i in range(41)], atol=1e-7)


@pytest.mark.parametrize("schedule", ["constant", COSINE])
def test_the_learning_rate_rises_then_follows_its_schedule(schedule):
    """Ten steps of warm-up: no step without effect, the highest rate at the end of the rise."""
    rates = np.array([LearningRate(AdamOptions(0.5, schedule, warmup=0.25), 40)(i) for i in range(40)])
    np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11), rtol=1e-6)
    after = 0.25 * (1 + np.cos(np.pi * np.arange(30) / 30)) if schedule == COSINE else np.full(30, 0.5)
    np.testing.assert_allclose(rates[10:], after, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_phase_of_few_steps_has_learning_rates(steps):
    """Neither a division by 0 nor a rate above the highest."""
    rate = LearningRate(AdamOptions(0.5, COSINE, warmup=0.9), steps)
    assert all(0 <= float(rate(i)) <= 0.5 for i in range(4))


def test_biases_and_normalizations_do_not_decay():
    """A gradient of 0 leaves Adam's own step at 0: the kernel shrinks by rate times decay, the bias stays."""
    network = make_network()
    kernel, bias = network.get_weights()
    step(network, AdamOptions(0.5, weight_decay=0.2), 0.0)
    np.testing.assert_allclose(network.get_weights()[0], kernel * (1 - 0.5 * 0.2), rtol=1e-6)
    np.testing.assert_array_equal(network.get_weights()[1], bias)


def test_gradients_are_clipped_by_their_global_norm():
    """Eight gradients of 10 have the norm 28; Adam's first moment is a tenth of the clipped gradient."""
    optimizer = step(make_network(), AdamOptions(0.5, clip_norm=1.0), 10.0)
    moments = [np.asarray(v) for v in optimizer.variables if "momentum" in v.path]
    assert np.sqrt(sum((m**2).sum() for m in moments)) == pytest.approx(0.1, rel=1e-4)


def test_gradients_are_clipped_after_the_loss_scale_is_taken_off():
    """A gradient whose norm is 0.8 in truth is left alone, although it arrives 32,768 times as large."""
    options = AdamOptions(0.5, clip_norm=1.0)
    optimizer = step(make_network(), options, 0.25 * 2.0**15, precision="float16").inner_optimizer
    moments = [np.asarray(v) for v in optimizer.variables if "momentum" in v.path]
    np.testing.assert_allclose(np.concatenate([m.ravel() for m in moments]), 0.025, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_is_scaled_for_float16_alone(precision):
    """Float32 and bfloat16 have the exponents of float32."""
    assert not isinstance(
        make_optimizer(make_network(), AdamOptions(1.0), precision=precision), keras.optimizers.LossScaleOptimizer
    )
    scaled = make_optimizer(make_network(), AdamOptions(1.0), precision="float16")
    assert isinstance(scaled, keras.optimizers.LossScaleOptimizer)


def test_a_step_whose_gradient_overflows_does_not_count_in_the_schedule():
    """The loss scale is halved, the weights and the learning rate stay."""
    network = make_network()
    before = network.get_weights()
    optimizer = step(network, AdamOptions(0.5, COSINE, average=0.9), np.inf, steps=10, precision="float16")
    assert all(map(np.array_equal, before, network.get_weights()))
    assert (int(optimizer.iterations), float(optimizer.dynamic_scale)) == (0, 2.0**14)
    assert float(optimizer.learning_rate) == 0.5
