"""TensorProto to numpy and back, as clients of TensorFlow Serving send and read it."""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.server.errors import invalid_argument

# A TensorProto may give one value for a billion elements; nobody sends so many.
_MOST_BYTES = 1 << 28  # of all that a request unfolds to

_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.int32: "int_val",
    tf.int16: "int_val",
    tf.int8: "int_val",
    tf.uint16: "int_val",
    tf.uint8: "int_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
}


def to_arrays(protos: Mapping[str, tensor_pb2.TensorProto]) -> dict[str, np.ndarray]:
    """The tensors that a client sent; strings become object arrays of bytes.

    Raises:
        ServingError: if a shape and its values do not belong together, or together they would unfold to gigabytes.
    """
    check_size(sum(_measure(name, proto) for name, proto in protos.items()))
    return {name: _to_array(name, proto) for name, proto in protos.items()}


def check_size(num_bytes: int) -> None:
    """Refuses what would take too much memory.

    Raises:
        ServingError: if it would.
    """
    if num_bytes > _MOST_BYTES:
        raise invalid_argument(f"The request unfolds to {num_bytes} bytes; the maximum is {_MOST_BYTES}")


def _measure(name: str, proto: tensor_pb2.TensorProto) -> int:
    """The bytes that a tensor will take; where values are missing, the last one is repeated."""
    dims = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in dims):
        raise invalid_argument(f"Input '{name}': the shape must be fully known")
    dtype = _find_dtype(name, proto.dtype)
    count, values = math.prod(dims), proto.string_val
    if not values:
        return count * dtype.size
    return sum(map(len, values)) + max(count - len(values), 0) * len(values[-1]) + count * dtype.size


def _to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid_argument(f"Input '{name}': Tensor proto is not valid: {error}") from error


def _find_dtype(name: str, number: int) -> tf.DType:
    try:
        dtype = tf.as_dtype(number)
        _ = dtype.size, dtype.as_numpy_dtype
    except (TypeError, KeyError, AttributeError):
        raise invalid_argument(f"Input '{name}': dtype {number} is not valid") from None
    return dtype


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """A tensor as TensorFlow Serving answers: values in the field of their type, which clients read directly.

    `tf.make_tensor_proto` would put them into `tensor_content`.
    """
    if array.dtype == object or array.dtype.kind in "SU":
        values = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
        proto = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, string_val=values)
    else:
        dtype = tf.as_dtype(array.dtype)
        if dtype not in _FIELDS:
            return tf.make_tensor_proto(array)
        proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
        getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto
