"""Parser of :predict bodies, by the rules of tensorflow_serving/util/json_tensor.cc."""

import dataclasses
from collections.abc import Callable, Set
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.server import json_values
from serving.server.errors import ServingError, invalid_argument, unimplemented
from serving.server.inference import MAX_BATCH
from serving.server.json_documents import describe, document_error, get_signature_name, load, truncate
from serving.server.json_values import is_base64
from serving.server.servable import check_rows


@dataclasses.dataclass(frozen=True)
class PredictRequestBody:
    """Parsed body of a :predict request.

    Attributes:
        signature_name: name of the signature; "" if the client named none.
        inputs: arrays by input name, without inputs that are left to a default; strings are object arrays of bytes.
        is_row: whether the body has "instances"; then the answer is in rows, too.
    """

    signature_name: str
    inputs: dict[str, np.ndarray]
    is_row: bool


def parse_predict(
    body: bytes | bytearray, find_signature: Callable[[str], SignatureDef], max_batch: int = MAX_BATCH
) -> PredictRequestBody:
    """Reads the body of a :predict request.

    Args:
        body: JSON with "instances" (one element per row) or "inputs" (one value per input).
        find_signature: function from the name of a signature to the signature; "" is the default signature.
        max_batch: maximum rows of a request; more rows are refused before the conversion to arrays.
    Returns:
        The inputs as arrays of the types in the signature. Their shapes are not compared with the signature.
    Raises:
        ServingError: if the body has another form, or find_signature raises the error.
    """
    document = load(body)
    signature_name = get_signature_name(document)
    signature = find_signature(signature_name)
    dtypes = {name: _find_dtype(name, info) for name, info in signature.inputs.items()}
    if type(document.get("instances")) is list:
        check_rows("instances", len(document["instances"]), max_batch)
    optional = set(signature.defaults)
    if not dtypes:
        raise invalid_argument(f"Failed to get input map for signature: {truncate(signature_name) or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise document_error(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        return PredictRequestBody(signature_name, _parse_instances(document, dtypes, optional), True)
    if "inputs" in document:
        # Refused like empty 'instances'. TensorFlow Serving runs it, and some kernels abort the process on empty input.
        if document["inputs"] == []:
            raise document_error(document, "No values in 'inputs' array")
        return PredictRequestBody(signature_name, _parse_inputs(document["inputs"], dtypes, optional), False)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _find_dtype(name: str, info: TensorInfo) -> tf.DType:
    try:
        return tf.dtypes.as_dtype(info.dtype)
    except TypeError:  # ragged and other composite tensors have no dtype
        raise unimplemented(f"Input {name} is not a dense tensor, and JSON can hold no other") from None


def _parse_inputs(value: Any, dtypes: dict[str, tf.DType], optional: Set[str]) -> dict[str, np.ndarray]:
    """Parses the columnar format: one value for a single input, or an object with one value per input."""
    if not _is_named(value):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {name: json_values.to_array(value, dtype) for name, dtype in dtypes.items()}
    for name in dtypes:
        if name not in value and name not in optional:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: json_values.to_array(value[name], dtype) for name, dtype in dtypes.items() if name in value}


def _parse_instances(
    document: dict[str, Any], dtypes: dict[str, tf.DType], optional: Set[str]
) -> dict[str, np.ndarray]:
    """Parses the row format: a list of values for a single input, or of objects with one value per input.

    An input with a default must be in all rows or in none.
    """
    instances = document["instances"]
    if type(instances) is not list:
        raise document_error(document, "Expecting 'instances' to be an list/array")
    if not instances:
        raise document_error(document, "No values in 'instances' array")
    named = _is_named(instances[0])
    if not named and len(dtypes) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    _check_alike(instances, named)
    if not named:
        return {name: _to_batch(instances, dtype) for name, dtype in dtypes.items()}
    names = dtypes.keys() - (optional - instances[0].keys())
    for index, instance in enumerate(instances):
        _check_names(index, instance, dtypes, names)
    return {name: _to_batch([row[name] for row in instances], dtypes[name], f" key: {name}") for name in sorted(names)}


def _is_named(value: Any) -> bool:
    return type(value) is dict and not is_base64(value)


def _check_alike(instances: list[Any], named: bool) -> None:
    if not named and dict not in set(map(type, instances)):
        return
    expected, found = ("object", "list") if named else ("value/list", "object")
    for index, instance in enumerate(instances):
        if _is_named(instance) != named:
            raise invalid_argument(f"Expecting {expected} but got {found} at item {index} of input list")


def _check_names(index: int, instance: dict[str, Any], dtypes: dict[str, tf.DType], expected: Set[str]) -> None:
    if instance.keys() == expected:
        return
    for name in instance:
        if name not in dtypes:
            unknown = invalid_argument(f"JSON object: does not have named input: {truncate(name)}")
            raise _element_error(index, f" key: {truncate(name)}", unknown)
    raise invalid_argument(
        f"Failed to process element: {index} of 'instances' list. JSON object: {describe(instance)} keys must be "
        f"equal to: {','.join(sorted(expected))}"
    )


def _to_batch(items: list[Any], dtype: tf.DType, key: str = "") -> np.ndarray:
    """Converts the values of all instances to one array; an error names the first faulty instance."""
    try:
        return json_values.to_array(items, dtype)
    except ServingError:
        _find_fault(items, dtype, key)
        raise


def _find_fault(items: list[Any], dtype: tf.DType, key: str) -> None:
    """Raises the error of the first element that is invalid, or that has another shape than the first element."""
    shape: tuple[int, ...] | None = None
    for index, item in enumerate(items):
        try:
            found = json_values.to_array(item, dtype).shape
            shape = found if shape is None else shape
            _check_shape(found, shape)
        except ServingError as error:
            raise _element_error(index, key, error) from None


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    size, expected_size = int(np.prod(found)), int(np.prod(expected))
    if size != expected_size:
        raise invalid_argument(f"Expecting tensor size: {expected_size} but got: {size}")
    if found != expected:
        raise invalid_argument(f"Expecting shape {_format_shape(expected)} but got: {_format_shape(found)}")


def _format_shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _element_error(index: int, key: str, error: ServingError) -> ServingError:
    return invalid_argument(
        f"Failed to process element: {index}{key} of 'instances' list. Error: {error.code.name}: {error.message}"
    )
