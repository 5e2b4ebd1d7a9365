"""Conversion between TensorProto and numpy, in the forms that clients of TensorFlow Serving send and read."""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.server.errors import invalid_argument

_MAX_BYTES = 256 << 20  # of all tensors of a request, as arrays
# Bytes of an element of type string (pointers in a list and in an array, object of TensorFlow), and of a Python object.
_STRING, _BYTES_OBJECT = 40, 33
_COMPLEX = 48  # bytes of a complex number as a Python object

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
    """Converts the tensors of a request to arrays; strings become object arrays of bytes.

    Raises:
        ServingError: if the values of a tensor do not fit its shape, or the arrays would take too much memory.
    """
    measure(protos)
    return {name: _to_array(name, proto) for name, proto in protos.items()}


def measure(protos: Mapping[str, tensor_pb2.TensorProto]) -> int:
    """Returns the memory in bytes that tensors take as arrays, here and in TensorFlow.

    A small TensorProto may become a large array: its last value is repeated to fill the shape.

    Raises:
        ServingError: if the arrays would take more than 256 MiB, a shape is not fully known, or a type is invalid.
    """
    num_bytes = sum(_measure(name, proto) for name, proto in protos.items())
    if num_bytes > _MAX_BYTES:
        raise invalid_argument(
            f"The request unfolds to {num_bytes} bytes; the maximum is {_MAX_BYTES}: {_describe_shapes(protos)}. "
            "Send fewer or smaller tensors in a request"
        )
    return num_bytes


def list_dims(name: str, proto: tensor_pb2.TensorProto) -> list[int]:
    """Returns the shape of a tensor.

    Raises:
        ServingError: if the shape is not fully known.
    """
    dims = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in dims):
        raise invalid_argument(f"Input '{name}': the shape must be fully known")
    return dims


def _describe_shapes(protos: Mapping[str, tensor_pb2.TensorProto]) -> str:
    """Returns the shapes of up to three tensors, for an error message."""
    shapes = [f"input '{name}' has the shape {list_dims(name, proto)}" for name, proto in sorted(protos.items())[:3]]
    return ", ".join(shapes)


def _measure(name: str, proto: tensor_pb2.TensorProto) -> int:
    count = math.prod(list_dims(name, proto))
    dtype = find_dtype(name, proto.dtype)
    if dtype.is_complex:
        return int(count * (dtype.size + _COMPLEX))
    if dtype != tf.string:
        return int(count * dtype.size)
    values = proto.string_val
    repeated = max(count - len(values), 0) * len(values[-1]) if values else 0
    return (count + len(values)) * _STRING + len(values) * _BYTES_OBJECT + 2 * sum(map(len, values)) + repeated


def _to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        return np.asarray(tf.make_ndarray(proto))
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid_argument(f"Input '{name}': Tensor proto is not valid: {error}") from error


def find_dtype(name: str, number: int) -> tf.DType:
    """Returns the type of a tensor by its number in the protobuf.

    Raises:
        ServingError: if no type has that number.
    """
    try:
        dtype = tf.as_dtype(number)
        _ = dtype.size, dtype.as_numpy_dtype
    except (TypeError, KeyError, AttributeError):
        raise invalid_argument(f"Input '{name}': dtype {number} is not valid") from None
    return dtype


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Converts an array to a TensorProto with the values in the field of their type, as TensorFlow Serving does.

    Clients read these fields directly. `tf.make_tensor_proto` would write the values to `tensor_content`.
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
