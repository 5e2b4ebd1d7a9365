"""SavedModel in a session, as TensorFlow Serving loads models of TensorFlow 1 and 2."""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.server.errors import invalid_argument, to_serving_error

DEFAULT_SIGNATURE = "serving_default"
_MAX_CALLABLES = 100


class Servable:
    """Loaded SavedModel with a session of its own.

    Attributes:
        path: folder of the SavedModel.
        signatures: signatures by name.
    """

    def __init__(self, path: str):
        """Loads the graph and the variables, and runs the initialization of the model.

        Raises:
            ServingError: if the SavedModel cannot be loaded.
        """
        self.path = path
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], path)
        except Exception as error:  # any part of the loader can fail on a damaged or foreign file
            self._session.close()
            raise to_serving_error(error) from error
        graph.finalize()
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., list[np.ndarray]]] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Computes output tensors of the graph.

        Args:
            inputs: arrays by tensor name, such as "serving_default_image_bytes:0".
            outputs: names of the output tensors.
        Returns:
            An array per output.
        Raises:
            ServingError: if TensorFlow refuses the inputs, or the graph fails.
        """
        call = self._find_callable(tuple(inputs), tuple(outputs))
        try:
            values = call(*inputs.values())
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError) as error:
            raise to_serving_error(error) from error
        # TensorFlow returns a scalar string as bytes, and any other scalar as a numpy scalar.
        return [np.array(value, object) if isinstance(value, bytes) else np.asarray(value) for value in values]

    def close(self) -> None:
        """Frees the memory; no request may be in work."""
        self._callables.clear()
        self._session.close()

    def _find_callable(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
        """Returns a prepared call, made on first use.

        `session.run` would look up the names each time, and refuse shapes that the graph accepts.
        """
        with self._lock:
            if (inputs, outputs) not in self._callables:
                if len(self._callables) >= _MAX_CALLABLES:
                    self._callables.clear()  # clients choose the outputs, so the number of combinations is bounded
                options = config_pb2.CallableOptions(feed=inputs, fetch=outputs)
                # Keras and the Estimator have called this method since TensorFlow 1.8; no public API does the same.
                self._callables[inputs, outputs] = self._session._make_callable_from_options(options)
            return self._callables[inputs, outputs]


def check_dtype(name: str, given: tf.DType, info: meta_graph_pb2.TensorInfo) -> None:
    """Refuses an input of another type than the signature's, with a clearer message than that of a session.

    Raises:
        ServingError: if the types differ.
    """
    expected = tf.as_dtype(info.dtype)
    if given != expected:
        raise invalid_argument(f"Input '{name}': expected values of type {expected.name}, got {given.name}")


def check_rows(name: str, count: int, max_batch: int) -> None:
    """Refuses a batch with too many rows; the message begins as in TensorFlow's shared_batch_scheduler.h.

    Raises:
        ServingError: if `count` is more than `max_batch`.
    """
    if count > max_batch:
        raise invalid_argument(
            f"Task size {count} is larger than maximum input batch size {max_batch}: '{name}' has {count} rows. Send "
            "fewer in a request, or start the server with a larger --max_batch"
        )


def check_shape(
    signature_name: str, name: str, shape: Sequence[int], info: meta_graph_pb2.TensorInfo, max_batch: int
) -> None:
    """Refuses an input of another shape than the signature's: on some shapes, TensorFlow's kernels abort the process.

    The message is that of IsInputSpecsCorrect in TensorFlow's core/tfrt/saved_model/saved_model.cc, which TensorFlow
    Serving calls when it runs models by TFRT. [N] is accepted for [N, 1], because TensorFlow Serving's documentation
    sends such requests to half_plus_two.

    Raises:
        ServingError: if the rank or a known dimension differs, or the batch has more than `max_batch` rows.
    """
    expected = None
    if info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank:
        expected = [dim.size for dim in info.tensor_shape.dim]
    if shape and (not expected or expected[0] < 0):
        check_rows(name, shape[0], max_batch)
    if expected is None or _is_compatible(shape, expected) or (expected[1:] == [1] and len(shape) == 1):
        return
    raise invalid_argument(
        f"signature {signature_name} input shape is wrong, expected : {_format_shape(expected)}, "
        f"actual: {_format_shape(shape)}. Input '{name}' {'has no values' if 0 in shape else 'has another shape'}"
    )


def _is_compatible(shape: Sequence[int], expected: Sequence[int]) -> bool:
    if len(shape) != len(expected):
        return False
    return all(size in (found, -1) for found, size in zip(shape, expected, strict=True))


def _format_shape(shape: Sequence[int]) -> str:
    return f"[{','.join('?' if size < 0 else str(size) for size in shape)}]"
