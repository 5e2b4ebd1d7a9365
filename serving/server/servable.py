"""One loaded version of a SavedModel, as TensorFlow Serving loads it: a graph in a session, of TF1 and TF2 alike."""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.server.errors import explain, invalid_argument

DEFAULT_SIGNATURE = "serving_default"
_MOST_CALLABLES = 100


class Servable:
    """A SavedModel in a session of its own.

    Attributes:
        path: its folder.
        signatures: by name.
    """

    def __init__(self, path: str):
        """Loads the graph and the variables, and runs what the model wants to be run first.

        Raises:
            ServingError: if it cannot be loaded.
        """
        self.path = path
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], path)
        except Exception as error:  # a torn or foreign file can make any part of the loader fail
            self._session.close()
            raise explain(error) from error
        graph.finalize()
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., list[np.ndarray]]] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Computes some tensors of the graph from others.

        Args:
            inputs: values by the name of their tensor, such as "serving_default_image_bytes:0".
            outputs: names of tensors.
        Returns:
            A value for each output.
        Raises:
            ServingError: if TensorFlow does not make anything of the inputs.
        """
        call = self._find_callable(tuple(inputs), tuple(outputs))
        try:
            values = call(*inputs.values())
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError) as error:
            raise explain(error) from error
        # TensorFlow returns a scalar string as bytes, and any other scalar as numpy's.
        return [np.array(value, object) if isinstance(value, bytes) else np.asarray(value) for value in values]

    def close(self) -> None:
        """Frees the memory; nobody may be using it."""
        self._callables.clear()
        self._session.close()

    def _find_callable(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
        """A prepared call; `session.run` would look names up each time, and refuse shapes that the graph takes."""
        with self._lock:
            if (inputs, outputs) not in self._callables:
                if len(self._callables) >= _MOST_CALLABLES:
                    self._callables.clear()  # clients choose what they want of the outputs
                options = config_pb2.CallableOptions(feed=inputs, fetch=outputs)
                # As Keras and the Estimator have called it since TensorFlow 1.8; there is no public way.
                self._callables[inputs, outputs] = self._session._make_callable_from_options(options)
            return self._callables[inputs, outputs]


def check_dtype(name: str, given: tf.DType, info: meta_graph_pb2.TensorInfo) -> None:
    """Refuses a value of another type than a signature says; a session would say so in its own, darker words.

    Raises:
        ServingError: if it is.
    """
    expected = tf.as_dtype(info.dtype)
    if given != expected:
        raise invalid_argument(f"Input '{name}': expected values of type {expected.name}, got {given.name}")


def check_rows(name: str, count: int, most: int) -> None:
    """Refuses a batch of too many rows, in the words of TensorFlow's shared_batch_scheduler.h.

    Raises:
        ServingError: if there are more than `most`.
    """
    if count > most:
        raise invalid_argument(
            f"Task size {count} is larger than maximum input batch size {most}: '{name}' has {count} rows. Send fewer "
            "in a request, or start the server with a larger --max_batch"
        )


def check_shape(
    signature_name: str, name: str, shape: Sequence[int], info: meta_graph_pb2.TensorInfo, max_batch: int
) -> None:
    """Refuses a value of another shape than a signature says: at some, TensorFlow's kernels abort the process.

    The words are those of IsInputSpecsCorrect in TensorFlow's core/tfrt/saved_model/saved_model.cc, which TensorFlow
    Serving asks where it runs models by TFRT. [N] is taken for [N, 1]: so the documents of TensorFlow Serving ask
    half_plus_two.

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
        f"signature {signature_name} input shape is wrong, expected : {_name_shape(expected)}, "
        f"actual: {_name_shape(shape)}. Input '{name}' {'has no values' if 0 in shape else 'has another shape'}"
    )


def _is_compatible(shape: Sequence[int], expected: Sequence[int]) -> bool:
    if len(shape) != len(expected):
        return False
    return all(size in (found, -1) for found, size in zip(shape, expected, strict=True))


def _name_shape(shape: Sequence[int]) -> str:
    return f"[{','.join('?' if size < 0 else str(size) for size in shape)}]"
