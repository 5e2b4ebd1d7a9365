"""Conversion of JSON values to numpy arrays, with the rules and messages of tensorflow_serving/util/json_tensor.cc.

An image is a list of 150,000 numbers, so lists are checked by functions in C (`map`, `set`, `chain`, numpy). Python
loops over a list only to find a fault.
"""

import binascii
import itertools
import re
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.server.errors import ServingError, invalid_argument, unimplemented
from serving.server.json_documents import NUMBER_TOO_BIG, Constant, describe, name_type

_MAX_LEVELS = 32  # numpy 1 has no more dimensions
_B64 = "b64"
_SPACE = re.compile(r"\s+", re.ASCII)

# Types of AddValueToTensor; uint16, half and bfloat16 are missing there.
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint32, tf.uint64)
_FLOATS = (tf.float32, tf.float64)
# Python types of valid values.
_NUMBERS = frozenset({int, float, Constant})
_STRINGS = frozenset({str, dict})


def is_base64(value: Any) -> bool:
    """Tells whether a value is {"b64": "..."} without further members."""
    return type(value) is dict and len(value) == 1 and type(value.get(_B64)) is str


def decode_base64(value: dict[str, Any]) -> bytes:
    """Decodes {"b64": "..."} to bytes.

    As in absl::Base64Unescape, padding may be missing but not wrong, and whitespace is ignored.

    Raises:
        ServingError: if the value is another object, or its text is no base64.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {describe(value)} not formatted correctly for base64 data")
    decoded = _decode_letters(value[_B64])
    if decoded is None:
        decoded = _decode_letters(_SPACE.sub("", value[_B64]))
    if decoded is None:
        raise invalid_argument(
            f"Unable to base64 decode: expected A-Z, a-z, 0-9, + and /, with = at the end, got {describe(value[_B64])}"
        )
    return decoded


def _decode_letters(text: str) -> bytes | None:
    """Decodes base64 with right or without padding; returns None for any other character or padding."""
    padding = len(text[-3:]) - len(text[-3:].rstrip("="))
    letters = len(text) - padding
    missing = -letters % 4
    if missing == 3 or padding not in (0, missing):
        return None
    try:
        decoded = binascii.a2b_base64(text if padding else text + "=" * missing)
    except ValueError:  # binascii.Error is a ValueError, and so is the error for letters outside ASCII
        return None
    # binascii ignores characters outside the alphabet; then the result is too short.
    return decoded if len(decoded) == letters * 3 // 4 else None


def to_array(value: Any, dtype: tf.DType) -> np.ndarray:
    """Converts a JSON value to an array.

    Args:
        value: a scalar, or nested lists of scalars.
        dtype: type of the array.
    Returns:
        An array of that type; strings as an object array of bytes.
    Raises:
        ServingError: if lists differ in length or depth, or a value has another type.
    """
    shape = _find_shape(value)
    values = [value]
    for level, size in enumerate(shape):
        if set(map(type, values)) != {list} or set(map(len, values)) != {size}:
            _refuse_ragged(values, level, shape)
        values = list(itertools.chain.from_iterable(values))
    types = set(map(type, values))
    if list in types:
        rank = len(shape)
        raise invalid_argument(f"Encountered list at unexpected level: {rank} expected < {rank}")
    return to_vector(values, types, dtype).reshape(shape)


def _find_shape(value: Any) -> list[int]:
    """Returns the shape of nested lists, read from the first element at each level."""
    shape: list[int] = []
    item = value
    while type(item) is list and len(shape) <= _MAX_LEVELS:
        shape.append(len(item))
        item = item[0] if item else None
    if len(shape) > _MAX_LEVELS:
        raise invalid_argument(f"JSON Value: {describe(value)} has more than {_MAX_LEVELS} levels of lists")
    return shape


def _refuse_ragged(values: list[Any], level: int, shape: list[int]) -> NoReturn:
    for value in values:
        if type(value) is not list:
            raise invalid_argument(
                f"JSON Value: {describe(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
    size = next(len(value) for value in values if len(value) != shape[level])
    raise invalid_argument(
        f"Encountered list at unexpected size: {size} at level: {level} expected size: {shape[level]}"
    )


def to_vector(values: list[Any], types: set[type], dtype: tf.DType) -> np.ndarray:
    """Converts JSON scalars to an array of one dimension.

    Args:
        values: scalars.
        types: Python types of the values.
        dtype: type of the array.
    Raises:
        ServingError: if a value has another type, or is out of the range of `dtype`.
    """
    if dtype in _FLOATS:
        return _to_floats(values, types, dtype)
    if dtype in _INTEGERS:
        return _to_integers(values, types, dtype)
    if dtype == tf.string:
        _require(_STRINGS, values, types, dtype)
        return _to_strings(values)
    if dtype == tf.bool:
        _require(frozenset({bool}), values, types, dtype)
        return np.array(values, bool)
    raise unimplemented(
        f"Conversion of JSON Value: {describe(values[0] if values else values)} to type: {name_dtype(dtype)}"
    )


def _to_strings(values: list[Any]) -> np.ndarray:
    array: np.ndarray = np.empty(len(values), object)
    array[:] = [value.encode() if type(value) is str else decode_base64(value) for value in values]
    return array


def _to_integers(values: list[Any], types: set[type], dtype: tf.DType) -> np.ndarray:
    _require(frozenset({int}), values, types, dtype)
    if values and not (dtype.min <= min(values) and max(values) <= dtype.max):
        raise _type_error(next(value for value in values if not dtype.min <= value <= dtype.max), dtype)
    return np.array(values, dtype.as_numpy_dtype)


def _to_floats(values: list[Any], types: set[type], dtype: tf.DType) -> np.ndarray:
    """Converts numbers to floats as rapidjson's GetFloat: rounds to nearest; beyond float32, values become infinite."""
    _require(_NUMBERS, values, types, dtype)
    try:
        doubles = np.array(values, np.float64)
    except OverflowError:
        raise invalid_argument(NUMBER_TOO_BIG) from None
    if any(type(values[index]) is not Constant for index in np.flatnonzero(np.isinf(doubles))):
        raise invalid_argument(NUMBER_TOO_BIG)
    with np.errstate(over="ignore"):
        return doubles.astype(dtype.as_numpy_dtype)


def _require(allowed: frozenset[type], values: list[Any], types: set[type], dtype: tf.DType) -> None:
    if not types <= allowed:
        raise _type_error(next(value for value in values if type(value) not in allowed), dtype)


def _type_error(value: Any, dtype: tf.DType) -> ServingError:
    return invalid_argument(
        f"JSON Value: {describe(value)} Type: {name_type(value)} is not of expected type: {name_dtype(dtype)}"
    )


def name_dtype(dtype: tf.DType) -> str:
    """Returns the name of a dtype in TensorFlow's DataTypeString: float, not float32."""
    return str(types_pb2.DataType.Name(dtype.as_datatype_enum)).removeprefix("DT_").lower()
