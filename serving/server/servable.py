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


def check_dtype(name: str, value: np.ndarray, info: meta_graph_pb2.TensorInfo) -> None:
    """Refuses a value of another type than a signature says; a session would say so in its own, darker words.

    Raises:
        ServingError: if it is.
    """
    expected = tf.as_dtype(info.dtype)
    given = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
    if given != expected:
        raise invalid_argument(f"Input '{name}': expected values of type {expected.name}, got {given.name}")
