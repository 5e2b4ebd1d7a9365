"""The bodies of TensorFlow Serving's REST API, read as tensorflow_serving/util/json_tensor.cc reads them."""

import dataclasses
from collections.abc import Callable, Set
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.server import json_values
from serving.server.errors import ServingError, invalid_argument, unimplemented
from serving.server.inference import MAX_BATCH
from serving.server.json_documents import cut, describe, document_error, get_signature_name, load
from serving.server.json_values import is_base64
from serving.server.servable import check_rows


@dataclasses.dataclass(frozen=True)
class PredictRequestBody:
    """What a :predict request asks.

    Attributes:
        signature_name: "" if the client named none.
        inputs: by name, but for those left to the defaults of the signature; strings are object arrays of bytes.
        is_row: whether they came as "instances"; then the answer is in rows, too.
    """

    signature_name: str
    inputs: dict[str, np.ndarray]
    is_row: bool


def parse_predict(
    body: bytes | bytearray, find_signature: Callable[[str], SignatureDef], max_batch: int = MAX_BATCH
) -> PredictRequestBody:
    """Reads the body of a :predict request.

    Args:
        body: JSON, with "instances" (one element for each row) or "inputs" (one value for each input).
        find_signature: a signature by its name; "" is the default one.
        max_batch: rows that a request may have; more are refused before they become arrays.
    Returns:
        The inputs as arrays of the types that the signature asks for. Their shapes are not compared with it.
    Raises:
        ServingError: if it is no such JSON, or find_signature raises it.
    """
    document = load(body)
    signature_name = get_signature_name(document)
    signature = find_signature(signature_name)
    dtypes = {name: _find_dtype(name, info) for name, info in signature.inputs.items()}
    if type(document.get("instances")) is list:
        check_rows("instances", len(document["instances"]), max_batch)
    optional = set(signature.defaults)
    if not dtypes:
        raise invalid_argument(f"Failed to get input map for signature: {cut(signature_name) or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise document_error(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        return PredictRequestBody(signature_name, _parse_instances(document, dtypes, optional), True)
    if "inputs" in document:
        # As for 'instances'; TensorFlow Serving computes it, and TensorFlow's kernels abort the process at some shapes.
        if document["inputs"] == []:
            raise document_error(document, "No values in 'inputs' array")
        return PredictRequestBody(signature_name, _parse_inputs(document["inputs"], dtypes, optional), False)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _find_dtype(name: str, info: TensorInfo) -> tf.DType:
    try:
        return tf.dtypes.as_dtype(info.dtype)
    except TypeError:  # ragged and other composite tensors say none
        raise unimplemented(f"Input {name} is not a dense tensor, and JSON can hold no other") from None


def _parse_inputs(value: Any, dtypes: dict[str, tf.DType], optional: Set[str]) -> dict[str, np.ndarray]:
    """The columnar format: a value if there is one input, or an object with a value for each."""
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
    """The row format: a list of values if there is one input, or of objects with a value for each.

    An input with a default is in all rows or in none.
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
            unknown = invalid_argument(f"JSON object: does not have named input: {cut(name)}")
            raise _element_error(index, f" key: {cut(name)}", unknown)
    raise invalid_argument(
        f"Failed to process element: {index} of 'instances' list. JSON object: {describe(instance)} keys must be "
        f"equal to: {','.join(sorted(expected))}"
    )


def _to_batch(items: list[Any], dtype: tf.DType, key: str = "") -> np.ndarray:
    """Tensors of one shape, one for each instance, to an array with one dimension more."""
    try:
        return json_values.to_array(items, dtype)
    except ServingError:
        _find_fault(items, dtype, key)
        raise


def _find_fault(items: list[Any], dtype: tf.DType, key: str) -> None:
    """Raises what is wrong with the first element that is wrong in itself, or does not go with the first one."""
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
        raise invalid_argument(f"Expecting shape {_name_shape(expected)} but got: {_name_shape(found)}")


def _name_shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _element_error(index: int, key: str, error: ServingError) -> ServingError:
    return invalid_argument(
        f"Failed to process element: {index}{key} of 'instances' list. Error: {error.code.name}: {error.message}"
    )
