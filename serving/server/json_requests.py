"""The bodies of TensorFlow Serving's REST API, read as tensorflow_serving/util/json_tensor.cc reads them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.input_pb2 import Input

from serving.server import json_values
from serving.server.errors import ServingError, invalid_argument
from serving.server.json_documents import Constant, cut, describe, document_error, get_signature_name, load, name_type
from serving.server.json_values import is_base64

# What the elements of one feature may be, in Python, and the name of what it becomes.
_KINDS = {
    "float": frozenset({float, Constant}),
    "int64": frozenset({int, bool}),
    "bytes": json_values.STRINGS,
}


@dataclasses.dataclass(frozen=True)
class PredictRequestBody:
    """What a :predict request asks.

    Attributes:
        signature_name: "" if the client named none.
        inputs: by name; strings are object arrays of bytes.
        is_row: whether they came as "instances"; then the answer is in rows, too.
    """

    signature_name: str
    inputs: dict[str, np.ndarray]
    is_row: bool


def parse_predict(body: bytes, find_inputs: Callable[[str], Mapping[str, TensorInfo]]) -> PredictRequestBody:
    """Reads the body of a :predict request.

    Args:
        body: JSON, with "instances" (one element for each row) or "inputs" (one value for each input).
        find_inputs: the inputs of a signature, by its name; "" is the default one.
    Returns:
        The inputs as arrays of the types that the signature asks for. Their shapes are not compared with it.
    Raises:
        ServingError: if it is no such JSON, or find_inputs raises it.
    """
    document = load(body)
    signature_name = get_signature_name(document)
    dtypes = {name: _find_dtype(name, info) for name, info in find_inputs(signature_name).items()}
    if not dtypes:
        raise invalid_argument(f"Failed to get input map for signature: {cut(signature_name) or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise document_error(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        return PredictRequestBody(signature_name, _parse_instances(document, dtypes), True)
    if "inputs" in document:
        return PredictRequestBody(signature_name, _parse_inputs(document["inputs"], dtypes), False)
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def parse_examples(body: bytes) -> tuple[str, Input]:
    """Reads the body of a :classify or :regress request.

    Args:
        body: JSON, with "examples" and perhaps a "context"; each is an object of features.
    Returns:
        The name of the signature, "" if the client named none, and the examples.
    Raises:
        ServingError: if it is no such JSON.
    """
    document = load(body)
    signature_name = get_signature_name(document)
    result = Input()
    target = result.example_list
    if "context" in document:
        target = result.example_list_with_context
        target.context.SetInParent()
        _fill_example(target.context, document["context"])
    for example in _get_examples(document):
        _fill_example(target.examples.add(), example)
    return signature_name, result


def _find_dtype(name: str, info: TensorInfo) -> tf.DType:
    try:
        return tf.dtypes.as_dtype(info.dtype)
    except TypeError:  # ragged and other composite tensors say none
        message = f"Input {name} is not a dense tensor, and JSON can hold no other"
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message) from None


def _parse_inputs(value: Any, dtypes: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    """The columnar format: a value if there is one input, or an object with a value for each."""
    if not _is_named(value):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {name: json_values.to_array(value, dtype) for name, dtype in dtypes.items()}
    for name in dtypes:
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: json_values.to_array(value[name], dtype) for name, dtype in dtypes.items()}


def _parse_instances(document: dict[str, Any], dtypes: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    """The row format: a list of values if there is one input, or of objects with a value for each."""
    instances = document["instances"]
    if type(instances) is not list:
        raise document_error(document, "Excepting 'instances' to be an list/array")
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
    for index, instance in enumerate(instances):
        _check_names(index, instance, dtypes)
    return {name: _to_batch([row[name] for row in instances], dtype, f" key: {name}") for name, dtype in dtypes.items()}


def _is_named(value: Any) -> bool:
    return type(value) is dict and not is_base64(value)


def _check_alike(instances: list[Any], named: bool) -> None:
    if not named and dict not in set(map(type, instances)):
        return
    expected, found = ("object", "list") if named else ("value/list", "object")
    for index, instance in enumerate(instances):
        if _is_named(instance) != named:
            raise invalid_argument(f"Expecting {expected} but got {found} at item {index} of input list")


def _check_names(index: int, instance: dict[str, Any], dtypes: dict[str, tf.DType]) -> None:
    if instance.keys() == dtypes.keys():
        return
    for name in instance:
        if name not in dtypes:
            unknown = invalid_argument(f"JSON object: does not have named input: {cut(name)}")
            raise _element_error(index, f" key: {cut(name)}", unknown)
    raise invalid_argument(
        f"Failed to process element: {index} of 'instances' list. JSON object: {describe(instance)} keys must be "
        f"equal to: {','.join(sorted(dtypes))}"
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


def _get_examples(document: dict[str, Any]) -> list[Any]:
    if "examples" not in document:
        raise document_error(document, "When method is classify, key 'examples' is expected and was not found")
    if type(document["examples"]) is not list:
        raise document_error(document, "Expecting 'examples' value to be an list/array")
    if not document["examples"]:
        raise document_error(document, "'examples' value is an empty array")
    return document["examples"]


def _fill_example(example: tf.train.Example, value: Any) -> None:
    if type(value) is not dict:
        raise invalid_argument(f"Example must be JSON object but got JSON {name_type(value)}")
    for name, content in value.items():
        _fill_feature(example.features.feature[name], name, content if type(content) is list else [content])


def _fill_feature(feature: tf.train.Feature, name: str, values: list[Any]) -> None:
    """Puts values into the list of their kind; a feature without values has no kind."""
    types = set(map(type, values))
    if not types:
        return
    kind = next((kind for kind, allowed in _KINDS.items() if types <= allowed), None)
    if kind is None or (dict in types and not all(is_base64(value) for value in values if type(value) is dict)):
        raise _find_wrong_element(name, values)
    if kind == "float":
        feature.float_list.value.extend(json_values.to_vector(values, types, tf.float32).tolist())
    elif kind == "int64":
        feature.int64_list.value.extend(_to_int64(name, values))
    else:
        feature.bytes_list.value.extend(json_values.to_vector(values, types, tf.string).tolist())


def _to_int64(name: str, values: list[int]) -> list[int]:
    try:
        return json_values.to_vector(values, {int}, tf.int64).tolist()  # to numpy, True is 1
    except ServingError:
        raise invalid_argument(f"Feature: {cut(name)} has uint64 element. Only int64 is supported.") from None


def _find_wrong_element(name: str, values: list[Any]) -> ServingError:
    """The error for the first element that is no feature's, or not of the kind of the first one."""
    for value in values:
        kind = _find_kind(value)
        if kind is None:
            return invalid_argument(f"Feature: {cut(name)} has element with unexpected JSON type: {name_type(value)}")
        if kind != _find_kind(values[0]):
            break
    return invalid_argument(f"Unexpected element type in feature: {cut(name)} expecting type: {_find_kind(values[0])}")


def _find_kind(value: Any) -> str | None:
    if type(value) is dict and not is_base64(value):
        return None
    return next((kind for kind, types in _KINDS.items() if type(value) in types), None)
