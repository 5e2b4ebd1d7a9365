"""The answers of TensorFlow Serving's REST API, in the form that tensorflow_serving/util/json_tensor.cc gives them."""

import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.server.errors import invalid_argument
from serving.server.json_values import name_dtype

# The types of AddSingleValueAndAdvance, besides strings and float32; uint16 is not among them.
_PLAIN = frozenset(map(np.dtype, ["?", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "f8"]))
_BYTES_SUFFIX = "_bytes"  # such an output is base64, others are text
# Each is a double without rounding, which 1e23 is not.
_POWERS_OF_TEN = np.array([float(f"1e{exponent}") for exponent in range(23)])
# Within these, a float32 of up to 9 digits is an integer divided by one of these powers.
_SMALLEST, _LARGEST = 1e-13, 1e5


def format_predict(outputs: Mapping[str, np.ndarray], is_row: bool) -> bytes:
    """The answer to :predict.

    Args:
        outputs: by name; a single one is not wrapped in its name. Strings are bytes, and text that is not UTF-8
            has a replacement character where it is broken, for JSON must be UTF-8.
        is_row: {"predictions": [...]} with an element for each row, or {"outputs": ...} with each output as a whole.
    Returns:
        JSON, with NaN and Infinity unquoted; float32 as the shortest number that is the same float32.
    Raises:
        ServingError: if there is no output, one has a type that JSON cannot hold, or rows are not the same number.
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
    """The answer to what failed."""
    return _dump({"error": message})


def _dump(value: dict[str, Any]) -> bytes:
    # A message may hold half of a surrogate pair, from a path for instance; it must not fail for that.
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
    """Nested lists of what `json` knows."""
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
    """The doubles that `json` prints as the shortest decimals that are these float32.

    0.2 as a float32 is 0.20000000298 as a double, and that is what `json` would print.

    Args:
        values: float32, of any shape; NaN and infinities stay.
    Returns:
        float64 of that shape; each rounds to the float32 that it stands for.
    """
    singles = values.ravel()
    with np.errstate(invalid="ignore"):  # a NaN may be a signaling one
        doubles: np.ndarray = singles.astype(np.float64)
    magnitudes = np.abs(doubles)
    plain = (magnitudes >= _SMALLEST) & (magnitudes < _LARGEST)
    others = ~plain & np.isfinite(doubles) & (doubles != 0)
    _round_plain(doubles, singles, np.flatnonzero(plain))
    # numpy finds the shortest for any number, but takes twenty times as long.
    doubles[others] = singles[others].astype(str).astype(np.float64)
    return doubles.reshape(values.shape)


def _round_plain(doubles: np.ndarray, singles: np.ndarray, places: np.ndarray) -> None:
    """Rounds numbers of middling size, in place, to as few of 6 to 9 digits as still are the same float32."""
    exponents = np.floor(np.log10(np.abs(doubles[places]))).astype(np.int64)
    for digits in (6, 7, 8, 9):
        scales = _POWERS_OF_TEN[digits - 1 - exponents]
        rounded = np.rint(doubles[places] * scales) / scales
        same = rounded.astype(np.float32) == singles[places]
        doubles[places[same]] = rounded[same]
        places, exponents = places[~same], exponents[~same]
