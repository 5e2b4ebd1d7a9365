"""What TensorFlow Serving's PredictionService computes, on the messages of its API.

The words of an error are TensorFlow Serving's (predict_util.cc, classifier.cc, regressor.cc, multi_inference.cc).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import grpc
import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.errors import ServingError, failed_precondition, invalid_argument
from serving.server.servable import DEFAULT_SIGNATURE, check_dtype
from serving.server.tensors import check_size, to_arrays, to_proto

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"

Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], list[np.ndarray]]


class Model:
    """A version that answers requests: its name and number, its signatures, and how to run it."""

    def __init__(self, name: str, version: int, signatures: Mapping[str, meta_graph_pb2.SignatureDef], run: Run):
        """Takes `Servable.run`, or `Batcher.run`."""
        self.name = name
        self.version = version
        self.signatures = signatures
        self.run = run

    def describe(self, signature_name: str = "") -> model_pb2.ModelSpec:
        """Who answers."""
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature_name)
        spec.version.value = self.version
        return spec


def predict(model: Model, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Runs a signature on tensors by name."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    _check_names(model.signatures[name], request.inputs)
    outputs = predict_arrays(model, name, to_arrays(request.inputs), request.output_filter)
    response = predict_pb2.PredictResponse(model_spec=model.describe(name))
    for alias, value in outputs.items():
        response.outputs[alias].CopyFrom(to_proto(value))
    return response


def predict_arrays(
    model: Model, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Runs a signature on arrays by name.

    Args:
        model: the version.
        signature_name: one of its signatures.
        inputs: by their names in the signature.
        output_filter: which outputs to compute; all, if it names none.
    Returns:
        Outputs by their names in the signature.
    """
    signature = model.signatures[signature_name]
    _check_names(signature, inputs)
    for alias, value in inputs.items():
        check_dtype(alias, value, signature.inputs[alias])
    aliases = _choose_outputs(signature, list(output_filter))
    tensors = {signature.inputs[alias].name: value for alias, value in sorted(inputs.items())}
    return dict(zip(aliases, model.run(tensors, [signature.outputs[a].name for a in aliases]), strict=True))


def _check_names(signature: meta_graph_pb2.SignatureDef, inputs: Iterable[str]) -> None:
    sent, expected = set(inputs), set(signature.inputs)
    if len(sent) != len(expected):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_braces(sent)}) != "
            f"len({_braces(expected)}). Sent extra: {_braces(sent - expected)}. "
            f"Missing but required: {_braces(expected - sent)}."
        )
    if unknown := sorted(sent - expected):
        raise invalid_argument(
            f"input tensor alias not found in signature: {unknown[0]}. Inputs expected to be in the set "
            f"{_braces(expected)}."
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
    return sorted(output_filter or signature.outputs)  # in one order, so that it is one call and one batch


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def classify(
    model: Model, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    """Runs a signature of classification on examples."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = _find_signature(model, name, CLASSIFY, "classification")
    outputs, count = _run_on_examples(model, request.input, [_classification_tensors(signature)])
    result = _to_classifications(signature, outputs, count)
    return classification_pb2.ClassificationResponse(model_spec=model.describe(name), result=result)


def regress(model: Model, request: regression_pb2.RegressionRequest) -> regression_pb2.RegressionResponse:
    """Runs a signature of regression on examples."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = _find_signature(model, name, REGRESS, "regression")
    outputs, count = _run_on_examples(model, request.input, [_regression_tensors(signature)])
    result = _to_regressions(signature, outputs, count)
    return regression_pb2.RegressionResponse(model_spec=model.describe(name), result=result)


def multi_inference(model: Model, request: inference_pb2.MultiInferenceRequest) -> inference_pb2.MultiInferenceResponse:
    """Runs several such signatures on the same examples, in one pass through the graph."""
    seen: set[str] = set()
    tasks = []
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in model.signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        kind = "classification" if task.method_name == CLASSIFY else "regression"
        tasks.append((name, task.method_name, _find_signature(model, name, task.method_name, kind)))
    tensors = [_classification_tensors(s) if method == CLASSIFY else _regression_tensors(s) for _, method, s in tasks]
    outputs, count = _run_on_examples(model, request.input, tensors)
    response = inference_pb2.MultiInferenceResponse()
    for name, method, signature in tasks:
        result = response.results.add(model_spec=model.describe(name))
        if method == CLASSIFY:
            result.classification_result.CopyFrom(_to_classifications(signature, outputs, count))
        else:
            result.regression_result.CopyFrom(_to_regressions(signature, outputs, count))
    return response


def get_metadata(
    model: Model, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures, which is the only metadata that there is."""
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != "signature_def":
            raise invalid_argument(f"Metadata field {field} is not supported")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=model.describe())
    response.metadata["signature_def"].Pack(signatures)
    return response


def _find_signature(model: Model, name: str, method: str, kind: str) -> meta_graph_pb2.SignatureDef:
    if name not in model.signatures:
        raise invalid_argument(f"No signature was found with the name: {name}")
    signature = model.signatures[name]
    if signature.method_name != method:
        raise invalid_argument(f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}")
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if _INPUTS not in signature.inputs:
        raise failed_precondition(f"No {kind} inputs found in SignatureDef: {signature}")
    return signature


def _classification_tensors(signature: meta_graph_pb2.SignatureDef) -> tuple[str, list[str]]:
    """The tensor to feed, and those to fetch."""
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    found = [signature.outputs[alias].name for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not found:
        raise failed_precondition(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {signature}"
        )
    return signature.inputs[_INPUTS].name, found


def _regression_tensors(signature: meta_graph_pb2.SignatureDef) -> tuple[str, list[str]]:
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if _OUTPUTS not in signature.outputs:
        raise failed_precondition(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs[_INPUTS].name, [signature.outputs[_OUTPUTS].name]


def _run_on_examples(
    model: Model, examples: input_pb2.Input, tensors: Sequence[tuple[str, list[str]]]
) -> tuple[dict[str, np.ndarray], int]:
    """Fetches all tensors for the examples in one run; by name, and how many examples there are."""
    if len({source for source, _ in tensors}) > 1:
        raise invalid_argument("Input tensor must be the same for all Signatures.")
    serialized = _serialize_examples(examples)
    names = sorted({name for _, wanted in tensors for name in wanted})
    if not names:
        raise invalid_argument("Inference request has no tasks.")
    values = model.run({tensors[0][0]: serialized}, names)
    return dict(zip(names, values, strict=True)), len(serialized)


def _serialize_examples(examples: input_pb2.Input) -> np.ndarray:
    """Serialized examples, object [N]; a context is laid under each."""
    with_context = examples.WhichOneof("kind") == "example_list_with_context"
    listed = examples.example_list_with_context if with_context else examples.example_list
    context = listed.context.SerializeToString() if with_context else b""
    check_size(len(context) * len(listed.examples))
    serialized = [context + example.SerializeToString() for example in listed.examples]
    if not serialized:
        raise invalid_argument("Input is empty.")
    return np.array(serialized, object)


def _to_classifications(
    signature: meta_graph_pb2.SignatureDef, outputs: Mapping[str, np.ndarray], count: int
) -> classification_pb2.ClassificationResult:
    columns = {
        alias: _check_matrix(alias, outputs[signature.outputs[alias].name], count)
        for alias in (_CLASSES, _SCORES)
        if alias in signature.outputs
    }
    if len({column.shape for column in columns.values()}) > 1:
        raise invalid_argument("Tensors class and score should match in dim_size(1).")
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        classes = result.classifications.add().classes
        for position in range(next(iter(columns.values())).shape[1]):
            label = columns[_CLASSES][row, position] if _CLASSES in columns else b""
            score = columns[_SCORES][row, position] if _SCORES in columns else 0.0
            classes.add(label=label, score=score)
    return result


def _check_matrix(alias: str, values: np.ndarray, count: int) -> np.ndarray:
    if values.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {list(values.shape)}")
    if (values.dtype == object) != (alias == _CLASSES):
        expected = "DT_STRING" if alias == _CLASSES else "DT_FLOAT"
        raise invalid_argument(f"Expected {alias} Tensor of {expected}. Got: {values.dtype}")
    if len(values) != count:
        raise invalid_argument(f"Expected {alias} output batch size of {count}. Got: {len(values)}")
    return values


def _to_regressions(
    signature: meta_graph_pb2.SignatureDef, outputs: Mapping[str, np.ndarray], count: int
) -> regression_pb2.RegressionResult:
    values = outputs[signature.outputs[_OUTPUTS].name]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(values.shape)}"
        )
    if len(values) != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {len(values)}")
    if values.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result
