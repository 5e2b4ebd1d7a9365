"""Adam in one kernel is Keras' Adam."""

import keras
import numpy as np
import tensorflow as tf

from components.network.adam import FusedAdam

START = [*np.linspace(-1, 1, 6), 2]


def run_steps(optimizer, steps=5):
    """Minimises the same quadratic from the same start; returns the weights after each step."""
    variables = [keras.Variable(np.float32(START[:-1]).reshape(2, 3)), keras.Variable(np.float32(START[-1]))]
    optimizer.build(variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum((variable.value - 0.3) ** 2) for variable in variables)
            loss = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    weights = []
    for _ in range(steps):
        step()
        weights.append(np.concatenate([np.ravel(variable.numpy()) for variable in variables]))
    return np.stack(weights)


def test_steps_are_those_of_keras():
    """Bias correction of the first steps, and another epsilon, included."""
    for arguments in ({}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}):
        fused, plain = (run_steps(cls(0.1, **arguments)) for cls in (FusedAdam, keras.optimizers.Adam))
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)
        assert np.abs(np.diff(fused, axis=0)).min() > 1e-4


def test_a_scaled_loss_takes_the_same_steps():
    """Keras scales it in float16, where small gradients would be 0, and divides what Adam gets by the scale again."""
    wrapped = run_steps(keras.optimizers.LossScaleOptimizer(FusedAdam(0.1, epsilon=1.0), initial_scale=1024.0))
    np.testing.assert_allclose(wrapped, run_steps(FusedAdam(0.1, epsilon=1.0)), rtol=1e-5)
    assert np.abs(np.diff(wrapped, axis=0)).min() > 1e-4


def test_a_scaled_loss_that_overflows_takes_no_step():
    """The first gradients are infinite, so the scale is halved; neither the weights nor Adam's moments have moved."""
    wrapped = run_steps(keras.optimizers.LossScaleOptimizer(FusedAdam(0.1), initial_scale=2.0**127))
    np.testing.assert_array_equal(wrapped[0], np.float32(START))
    np.testing.assert_allclose(wrapped[1:], run_steps(FusedAdam(0.1))[:-1], rtol=1e-5)
