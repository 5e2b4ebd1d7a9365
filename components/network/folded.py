"""Folded base: a base with frozen BatchNorm, each folded into the convolution before it, in stock TensorFlow ops.

A convolution and a BatchNorm in inference mode are linear, so one kernel and one bias do the work of both (Jacob et
al. 2018, section 3.2). TensorFlow fuses a convolution with its bias, a sum and a ReLU, but not with a BatchNorm.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

_Operation = Callable[..., tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Step:
    """Operation of a folded base.

    Attributes:
        name: name of the last layer that the operation computes.
        inputs: names of the steps, or of the input, that the operation takes.
        operation: function from the inputs, and from kernel and bias behind them, to the output.
        num_weights: 2 for a convolution, which has a kernel [height, width, channels, filters] and a bias [filters]; 0
            otherwise.
    """

    name: str
    inputs: tuple[str, ...]
    operation: _Operation
    num_weights: int


@dataclasses.dataclass(frozen=True)
class FoldedBase:
    """Base, or a part of one, as steps in the order of their computation, without its weights.

    Attributes:
        input: name of the layer that gives the input.
        steps: operations; the last one gives the output.
    """

    input: str
    steps: tuple[Step, ...]

    @property
    def num_weights(self) -> int:
        """Number of kernels and biases."""
        return sum(step.num_weights for step in self.steps)

    def run(self, inputs: tf.Tensor, weights: Sequence[tf.Tensor | tf.Variable | np.ndarray]) -> tf.Tensor:
        """Computes the output.

        Args:
            inputs: [batch, height, width, channels], of any floating-point type.
            weights: kernel and bias of each convolution, in the order of the steps. The base computes in their type, so
                that bfloat16 weights make a bfloat16 base.
        Returns:
            The output of the last step, in the type of the weights.
        """
        outputs, rest = {self.input: inputs}, iter(weights)
        for step in self.steps:
            arguments = [outputs[name] for name in step.inputs]
            outputs[step.name] = step.operation(*arguments, *itertools.islice(rest, step.num_weights))
        return outputs[self.steps[-1].name]

    def split(self, layer: str) -> tuple["FoldedBase", "FoldedBase"]:
        """Splits the base behind a layer whose output is the only input of the layers behind.

        Args:
            layer: name from `resnet.find_split_layer`.
        Returns:
            The feature extractor, which takes the first weights, and the tail, which takes the others.
        """
        end = 1 + [step.name for step in self.steps].index(layer)
        return FoldedBase(self.input, self.steps[:end]), FoldedBase(layer, self.steps[end:])


def fold_weights(base: keras.Model) -> Iterator[np.ndarray]:
    """Yields kernel and bias of each step, float32, for `FoldedBase.run`; no second copy of all is in memory.

    They are computed in float64, so that folding rounds once.

    Raises:
        ValueError: if the base has a BatchNorm that cannot be folded.
    """
    for convolution, norm in pair_layers(base):
        kernel, bias = _read_convolution(convolution)
        if norm:
            scale, mean, offset = read_norm(norm)
            kernel, bias = kernel * scale, (bias - mean) * scale + offset
        yield kernel.astype(np.float32)
        yield bias.astype(np.float32)


def make_steps(base: keras.Model) -> FoldedBase:
    """Returns the steps of a base, whose BatchNorm is folded into its convolutions.

    Args:
        base: base from `resnet.build_base`; it is not changed.
    Raises:
        ValueError: if the base has a layer that cannot be folded.
    """
    folded = {norm.name: convolution.name for convolution, norm in pair_layers(base) if norm}
    names = {convolution: norm for norm, convolution in folded.items()}  # a step is called as its last layer
    steps = []
    for layer in base.layers:
        if isinstance(layer, keras.layers.InputLayer) or layer.name in folded:
            continue
        inputs = tuple(names.get(name, name) for name in _list_inputs(layer))
        num_weights = 2 * isinstance(layer, keras.layers.Conv2D)
        steps.append(Step(names.get(layer.name, layer.name), inputs, _make_operation(layer), num_weights))
    return FoldedBase(base.layers[0].name, tuple(steps))


def pair_layers(base: keras.Model) -> list[tuple[keras.layers.Conv2D, keras.layers.BatchNormalization | None]]:
    """Pairs each convolution with the BatchNorm behind it, or with None, in the order of the steps.

    Raises:
        ValueError: if a BatchNorm has no convolution of its own in front.
    """
    layers = {layer.name: layer for layer in base.layers}
    uses = collections.Counter(name for layer in base.layers for name in _list_inputs(layer))
    norms = {}
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            [before] = _list_inputs(layer)
            if not isinstance(layers[before], keras.layers.Conv2D) or uses[before] > 1:
                raise ValueError(f"fold: expected a convolution in front of {layer.name} alone, got {before}")
            norms[before] = layer
    return [(layer, norms.get(layer.name)) for layer in base.layers if isinstance(layer, keras.layers.Conv2D)]


def _list_inputs(layer: keras.layers.Layer) -> list[str]:
    """Returns the names of the layers in front of a layer; none for the input."""
    if isinstance(layer, keras.layers.InputLayer):
        return []
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


def _read_convolution(layer: keras.layers.Conv2D) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias in float64; the bias is 0 without one."""
    kernel, *bias = (weight.astype(np.float64) for weight in layer.get_weights())
    return kernel, bias[0] if bias else np.zeros(layer.filters)


def read_norm(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns scale, mean and offset in float64: the layer computes (x - mean) * scale + offset."""
    mean, variance = (np.asarray(w, np.float64) for w in (layer.moving_mean, layer.moving_variance))
    gamma = np.asarray(layer.gamma, np.float64) if layer.scale else np.ones_like(mean)
    offset = np.asarray(layer.beta, np.float64) if layer.center else np.zeros_like(mean)
    return gamma / np.sqrt(variance + layer.epsilon), mean, offset


def _make_operation(layer: keras.layers.Layer) -> _Operation:
    """Returns the operation of a layer in inference mode.

    Raises:
        ValueError: if the layer is of a class, or has an option, that ResNet50 lacks.
    """
    match layer:
        case keras.layers.Conv2D(groups=1, data_format="channels_last", activation=keras.activations.linear):
            options = {"strides": layer.strides, "padding": layer.padding.upper(), "dilations": layer.dilation_rate}
            return functools.partial(_convolve, options=options)
        case keras.layers.Activation(activation=keras.activations.relu):
            return tf.nn.relu
        case keras.layers.ReLU(max_value=None, negative_slope=0.0, threshold=0.0):
            return tf.nn.relu
        case keras.layers.ZeroPadding2D(data_format="channels_last"):
            return functools.partial(tf.pad, paddings=[[0, 0], *layer.padding, [0, 0]])
        case keras.layers.MaxPooling2D(data_format="channels_last"):
            size, strides, padding = layer.pool_size, layer.strides, layer.padding.upper()
            return functools.partial(tf.nn.max_pool2d, ksize=size, strides=strides, padding=padding)
        case keras.layers.Add():
            return lambda *inputs: functools.reduce(tf.add, inputs)
    raise ValueError(
        f"fold: expected the layers of ResNet50, got {layer.name} ({type(layer).__name__}). "
        "Give it an operation in components/network/folded.py."
    )


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, options: dict[str, object]) -> tf.Tensor:
    return tf.nn.bias_add(tf.nn.conv2d(tf.cast(inputs, kernel.dtype), kernel, **options), bias)


def pool(features: tf.Tensor) -> tf.Tensor:
    """Averages features over all positions, in float32; [batch, h, w, c] to float32 [batch, c]."""
    return tf.reduce_mean(tf.cast(features, tf.float32), axis=[1, 2])


class FoldedLayer(keras.layers.Layer):
    """Keras layer that computes a base, or its tail, and folds its BatchNorm layers in each call.

    The weights are those of the base's layers, so that training changes them. The gradients are those of the base with
    BatchNorm in inference mode.
    """

    def __init__(self, base: keras.Model, split_layer: str | None = None, precision: str = "float32", **options: str):
        """Takes the layers of a base.

        Args:
            base: base from `resnet.build_base`; its layers decide which weights are trainable.
            split_layer: layer from `resnet.find_split_layer`, for the tail behind this layer; None for the whole base.
            precision: type to compute in; inputs may be of another type, outputs and all weights are float32.
            options: options of a Keras layer, such as its name.
        """
        super().__init__(autocast=False, **options)
        self._steps, pairs = make_steps(base), pair_layers(base)
        if split_layer:
            extractor, self._steps = self._steps.split(split_layer)
            pairs = pairs[extractor.num_weights // 2 :]
        self._precision = precision
        self._convolutions = [convolution for convolution, _ in pairs]
        self._norms = [norm for _, norm in pairs]
        self.built = True

    @tf.autograph.experimental.do_not_convert  # AutoGraph has nothing to convert, and takes seconds
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes the output, float32 [batch, height, width, channels]."""
        weights = []
        for convolution, norm in zip(self._convolutions, self._norms, strict=True):
            weights += [tf.cast(w, self._precision) for w in _fold_in_graph(convolution, norm)]
        return tf.cast(self._steps.run(tf.cast(inputs, self._precision), weights), tf.float32)


def _fold_in_graph(
    convolution: keras.layers.Conv2D, norm: keras.layers.BatchNormalization | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes kernel and bias from the weights as they are when the graph runs, in float32."""
    kernel = tf.convert_to_tensor(convolution.kernel)
    bias = tf.convert_to_tensor(convolution.bias) if convolution.use_bias else tf.zeros([convolution.filters])
    if norm is None:
        return kernel, bias
    variance, mean = tf.convert_to_tensor(norm.moving_variance), tf.convert_to_tensor(norm.moving_mean)
    scale = tf.math.rsqrt(variance + norm.epsilon)
    if norm.scale:
        scale *= tf.convert_to_tensor(norm.gamma)
    offset = tf.convert_to_tensor(norm.beta) if norm.center else 0.0
    return kernel * scale, (bias - mean) * scale + offset
