"""Predict and GetModelMetadata of TensorFlow Serving's PredictionService, on its request messages.

The error messages are TensorFlow Serving's (predict_util.cc, get_model_metadata_impl.cc).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from serving.server.errors import ServingError, failed_precondition, invalid_argument
from serving.server.servable import DEFAULT_SIGNATURE, check_dtype, check_shape
from serving.server.tensors import find_dtype, list_dims, measure, to_arrays, to_proto

ONLY_PREDICT = (
    "Classify, Regress and MultiInference are not implemented by this server. Use Predict, and give serialized "
    "tf.Examples to the string input of a signature that takes them"
)

# Default maximum rows of a request: max_batch_size of TensorFlow's BasicBatchScheduler.
MAX_BATCH = 1000

Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], list[np.ndarray]]


class Model:
    """Loaded version of a model: name, version number, signatures, function that runs the graph, maximum rows."""

    def __init__(
        self,
        name: str,
        version: int,
        signatures: Mapping[str, meta_graph_pb2.SignatureDef],
        run: Run,
        max_batch: int = MAX_BATCH,
    ):
        """Takes the parts of the model; `run` has the arguments of `Servable.run`."""
        self.name = name
        self.version = version
        self.signatures = signatures
        self.run = run
        self.max_batch = max_batch

    def describe(self, signature_name: str = "") -> model_pb2.ModelSpec:
        """Returns the ModelSpec of an answer: model name, version and signature."""
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature_name)
        spec.version.value = self.version
        return spec


def predict(model: Model, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Runs a signature on the tensors of a request, and returns the outputs by name."""
    check_inputs(model, request)
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    outputs = predict_arrays(model, name, to_arrays(request.inputs), request.output_filter)
    response = predict_pb2.PredictResponse(model_spec=model.describe(name))
    for alias, value in outputs.items():
        response.outputs[alias].CopyFrom(to_proto(value))
    return response


def check_inputs(model: Model, request: predict_pb2.PredictRequest) -> int:
    """Compares the inputs of a request with the signature, before the inputs are converted to arrays.

    Returns:
        The memory in bytes that the inputs take as arrays.
    Raises:
        ServingError: if a name, type or shape is wrong, or the request has too many rows or bytes.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    signature = model.signatures[name]
    _check_names(signature, request.inputs)
    for alias, proto in request.inputs.items():
        check_dtype(alias, find_dtype(alias, proto.dtype), signature.inputs[alias])
    _check_shapes(model, name, {alias: list_dims(alias, proto) for alias, proto in request.inputs.items()})
    return measure(request.inputs)


def predict_arrays(
    model: Model, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Runs a signature on arrays by name.

    Args:
        model: the version.
        signature_name: one of its signatures.
        inputs: arrays by input name; an input with a default in the signature may be missing.
        output_filter: names of the outputs to compute; empty for all.
    Returns:
        Arrays by output name.
    Raises:
        ServingError: if the inputs or names do not fit the signature, or the graph fails.
    """
    signature = model.signatures[signature_name]
    _check_names(signature, inputs)
    defaults = {alias: signature.defaults[alias] for alias in set(signature.inputs) - set(inputs)}
    complete = {**inputs, **to_arrays(defaults)}
    for alias, value in complete.items():
        check_dtype(alias, tf.string if value.dtype == object else tf.as_dtype(value.dtype), signature.inputs[alias])
    _check_shapes(model, signature_name, {alias: value.shape for alias, value in inputs.items()})
    aliases = _choose_outputs(signature, list(output_filter))
    tensors = {signature.inputs[alias].name: value for alias, value in sorted(complete.items())}
    try:
        values = model.run(tensors, [signature.outputs[alias].name for alias in aliases])
    except ServingError as error:
        raise _mention_empty_input(error, inputs) from error
    return dict(zip(aliases, values, strict=True))


def _check_shapes(model: Model, signature_name: str, shapes: Mapping[str, Sequence[int]]) -> None:
    signature = model.signatures[signature_name]
    for alias, shape in shapes.items():
        check_shape(signature_name, alias, shape, signature.inputs[alias], model.max_batch)


def _mention_empty_input(error: ServingError, inputs: Mapping[str, np.ndarray]) -> ServingError:
    """Adds the name of an empty input to an INVALID_ARGUMENT error.

    The message of the graph names only the shape of a tensor deep inside the network.
    """
    empty = next((alias for alias, value in inputs.items() if not value.size), None)
    if empty is None or error.code is not grpc.StatusCode.INVALID_ARGUMENT:
        return error
    return invalid_argument(f"{error.message}. Input '{empty}' has no values: its shape is {list(inputs[empty].shape)}")


def _check_names(signature: meta_graph_pb2.SignatureDef, inputs: Iterable[str]) -> None:
    """Refuses unknown inputs, and missing inputs without a default.

    The rules are those of VerifyRequestInputsSize in predict_util.cc and of GetInputValues in TensorFlow's
    cc/saved_model/util.cc.
    """
    sent, expected, defaults = set(inputs), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_braces(sent)}) != "
            f"len({_braces(expected)}). Sent extra: {_braces(sent - expected)}. "
            f"Missing but required: {_braces(expected - sent)}."
        )
    if missing := sorted(expected - sent - defaults):
        raise invalid_argument(
            f"Signature input alias: {missing[0]}(feed name: {signature.inputs[missing[0]].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {_braces(sent)}, or default input "
            f"alias set: {','.join(sorted(defaults))}"
        )
    if sent - expected:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & expected))}, request input: "
            f"{','.join(sorted(sent))}"
        )


def _choose_outputs(signature: meta_graph_pb2.SignatureDef, output_filter: list[str]) -> list[str]:
    for index, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braces(signature.outputs)}."
            )
        if alias in output_filter[:index]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return sorted(
        output_filter or signature.outputs
    )  # sorted, so that requests for the same outputs share a callable and a batch


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def check_metadata_fields(request: get_model_metadata_pb2.GetModelMetadataRequest) -> None:
    """Refuses a request for other metadata than the signatures.

    Raises:
        ServingError: if the request names another metadata field, or no field.
    """
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            raise invalid_argument(f"Metadata field {field} is not supported")


def get_metadata(model: Model) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Returns the signatures of a model, the only metadata in the API."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=model.describe())
    response.metadata["signature_def"].Pack(signatures)
    return response
