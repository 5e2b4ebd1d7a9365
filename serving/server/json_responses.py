"""Encoder of answers by REST, in the format of tensorflow_serving/util/json_tensor.cc."""

import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.server.errors import invalid_argument
from serving.server.json_values import name_dtype

# Types of AddSingleValueAndAdvance, besides strings and float32; uint16 is missing there.
_PLAIN = frozenset(map(np.dtype, ["?", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "f8"]))
_BYTES_SUFFIX = "_bytes"  # end of the name of a string output that is sent as base64 and not as text
# Powers that are exact as a double; 1e23 is not.
_POWERS_OF_TEN = np.array([float(f"1e{exponent}") for exponent in range(23)])
# Bounds in which a float32 of up to 9 digits is an integer divided by one of these powers.
_SMALLEST, _LARGEST = 1e-13, 1e5


def format_predict(outputs: Mapping[str, np.ndarray], is_row: bool) -> bytes:
    """Encodes the answer to a :predict request.

    Args:
        outputs: arrays by output name; a single output has no name in the answer. Strings are bytes. Bytes that are not
            UTF-8 become replacement characters, because JSON must be UTF-8.
        is_row: True for {"predictions": [...]} with one element per row, False for {"outputs": ...}.
    Returns:
        JSON in UTF-8, with NaN and Infinity unquoted; each float32 is the shortest decimal with the same float32 value.
    Raises:
        ServingError: if there is no output, an output has a type that JSON cannot hold, or numbers of rows differ.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if is_row:
        _check_batch(outputs)
    values = {name: _to_json(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        return _dump({"predictions" if is_row else "outputs": next(iter(values.values()))})
    if is_row:
        rows = zip(*values.values(), strict=True)
        return _dump({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})
    return _dump({"outputs": values})


def format_error(message: str) -> bytes:
    """Encodes an error answer: {"error": message}."""
    return _dump({"error": message})


def _dump(value: dict[str, Any]) -> bytes:
    # A message may hold half of a surrogate pair, for example from a path.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _check_batch(outputs: Mapping[str, np.ndarray]) -> None:
    batch_size = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid_argument(f"Tensor name: {name} has no shape information")
        if batch_size not in (None, len(array)):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch_size}"
            )
        batch_size = len(array)


def _to_json(name: str, array: np.ndarray) -> Any:
    """Converts an output to nested lists of values that `json` can encode."""
    if array.dtype.kind in "OSU":
        return _map_strings(_wrap_bytes if name.endswith(_BYTES_SUFFIX) else _to_text, array).tolist()
    if array.dtype == np.float32:
        return _shorten(array).tolist()
    if array.dtype in _PLAIN:
        return array.tolist()
    raise invalid_argument(f"Failed to write JSON value for tensor type: {name_dtype(tf.as_dtype(array.dtype))}")


def _map_strings(convert: Callable[[Any], Any], array: np.ndarray) -> np.ndarray:
    converted: np.ndarray = np.empty(array.size, object)
    converted[:] = [convert(value) for value in array.ravel().tolist()]
    return converted.reshape(array.shape)


def _to_text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _wrap_bytes(value: bytes | str) -> dict[str, str]:
    data = value.encode() if isinstance(value, str) else value
    return {"b64": binascii.b2a_base64(data, newline=False).decode("ascii")}


def _shorten(values: np.ndarray) -> np.ndarray:
    """Converts float32 to the doubles that `json` prints as the shortest decimals with the same float32 values.

    Without this, `json` would print the float32 0.2 as 0.20000000298.

    Args:
        values: float32 of any shape; NaN and infinities stay.
    Returns:
        float64 of the same shape; each value rounds to the float32 in its place.
    """
    singles = values.ravel()
    with np.errstate(invalid="ignore"):  # a NaN may be a signaling one
        doubles: np.ndarray = singles.astype(np.float64)
    magnitudes = np.abs(doubles)
    plain = (magnitudes >= _SMALLEST) & (magnitudes < _LARGEST)
    others = ~plain & np.isfinite(doubles) & (doubles != 0)
    _round_plain(doubles, singles, np.flatnonzero(plain))
    # numpy finds the shortest decimal of any number, but takes twenty times as long.
    doubles[others] = singles[others].astype(str).astype(np.float64)
    return doubles.reshape(values.shape)


def _round_plain(doubles: np.ndarray, singles: np.ndarray, places: np.ndarray) -> None:
    """Rounds the doubles at the given places, in place, to the fewest of 6 to 9 digits that keep the float32 value."""
    exponents = np.floor(np.log10(np.abs(doubles[places]))).astype(np.int64)
    for digits in (6, 7, 8, 9):
        scales = _POWERS_OF_TEN[digits - 1 - exponents]
        rounded = np.rint(doubles[places] * scales) / scales
        same = rounded.astype(np.float32) == singles[places]
        doubles[places[same]] = rounded[same]
        places, exponents = places[~same], exponents[~same]
