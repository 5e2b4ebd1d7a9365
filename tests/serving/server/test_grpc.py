"""PredictionService and ModelService, as a client sees them; the words are TensorFlow Serving's."""

import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.configs import Batching

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def half(half_plus_two, serve_once):
    """Stubs for the TF1 model."""
    return serve_once(half=half_plus_two)


@pytest.fixture(scope="module")
def alone(scaled, serve_once):
    """Stubs for the TF2 model, whose requests are answered one by one."""
    return serve_once(m=scaled)


@pytest.fixture(scope="module")
def batched(scaled, serve_once):
    """Stubs for the TF2 model, whose requests are answered together."""
    return serve_once(m=scaled, batching=Batching(max_batch_size=4))


def make_request(name, inputs, signature="", version=None, label=None, outputs=()):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def fail(call, request):
    """The code and the words of the error that a call ends in."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code(), caught.value.details()


def example(value):
    feature = {"x": tf.train.Feature(float_list=tf.train.FloatList(value=[value]))}
    return tf.train.Example(features=tf.train.Features(feature=feature))


def test_predict_answers_with_values_and_says_who_answered(half):
    """Name, signature and version are echoed; one float is in float_val, as clients read it."""
    response = half.prediction.Predict(make_request("half", {"x": np.float32([[2.0]])}, outputs=["y"]))
    assert list(response.outputs) == ["y"]
    assert (list(response.outputs["y"].float_val), response.outputs["y"].dtype) == ([3.0], 1)
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("half", "serving_default", 123)


def test_several_values_are_in_the_field_of_their_type_too(half):
    """Not in tensor_content, where a client that reads float_val would find nothing."""
    response = half.prediction.Predict(make_request("half", {"x": np.float32([[2], [4], [6]])}))
    assert list(response.outputs["y"].float_val) == [3.0, 4.0, 5.0]
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [3, 1]


def test_shapes_that_the_graph_takes_are_taken(half):
    """The signature says [-1, 1], and TensorFlow Serving's own test sends [1]."""
    request = make_request("half", {})
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(2.0)
    request.inputs["x"].tensor_shape.dim.add(size=1)
    assert list(half.prediction.Predict(request).outputs["y"].float_val) == [3.0]


def test_classify_regress_and_both_at_once(half):
    """On examples; in MultiInference each result says which signature it is of."""
    classify = classification_pb2.ClassificationRequest()
    regress, multi = regression_pb2.RegressionRequest(), inference_pb2.MultiInferenceRequest()
    for request, signature in ((classify, "classify_x_to_y"), (regress, "regress_x_to_y")):
        request.model_spec.name, request.model_spec.signature_name = "half", signature
        method = f"tensorflow/serving/{signature.partition('_')[0]}"
        multi.tasks.add(method_name=method).model_spec.CopyFrom(request.model_spec)
    for request in (classify, regress, multi):
        request.input.example_list.examples.extend([example(2.0), example(4.0)])
    classified = half.prediction.Classify(classify)
    assert [[c.score for c in row.classes] for row in classified.result.classifications] == [[3.0], [4.0]]
    assert [r.value for r in half.prediction.Regress(regress).result.regressions] == [3.0, 4.0]
    both = half.prediction.MultiInference(multi).results
    assert both[0].classification_result == classified.result
    assert [r.value for r in both[1].regression_result.regressions] == [3.0, 4.0]
    assert [r.model_spec.signature_name for r in both] == ["classify_x_to_y", "regress_x_to_y"]
    assert {r.model_spec.version.value for r in both} == {123}


def test_a_context_is_laid_under_each_example(half):
    """Of a feature that both have, the example's counts."""
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "half", "regress_x_to_y"
    request.input.example_list_with_context.context.CopyFrom(example(8.0))
    request.input.example_list_with_context.examples.extend([tf.train.Example(), example(2.0)])
    assert [r.value for r in half.prediction.Regress(request).result.regressions] == [6.0, 3.0]


def test_metadata_is_the_signatures(half):
    """As clients unpack them."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half"
    response = half.prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "classify_x_to_y", "regress_x_to_y"}
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 123)
    request.metadata_field[:] = ["other"]
    assert fail(half.prediction.GetModelMetadata, request)[0] is CODE.INVALID_ARGUMENT


def test_status_is_that_of_every_version_or_of_the_one_named(scaled, make_store, connect):
    """And of a model that is not there, there is none."""
    stubs = connect(make_store(m=scaled, policy="all"))
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    statuses = stubs.models.GetModelStatus(request).model_version_status
    assert [(s.version, s.state, s.status.error_code) for s in statuses] == [(2, 30, 0), (1, 30, 0)]
    request.model_spec.version.value = 1
    assert [s.version for s in stubs.models.GetModelStatus(request).model_version_status] == [1]
    request.model_spec.version.value = 7
    assert fail(stubs.models.GetModelStatus, request) == (CODE.NOT_FOUND, "Could not find version 7 of model m")
    request.model_spec.name = "n"
    assert fail(stubs.models.GetModelStatus, request)[0] is CODE.NOT_FOUND


def test_versions_and_labels_are_found(scaled, make_store, connect):
    """By number, by label, and without either the newest."""
    stubs = connect(make_store(m=scaled, policy="all", labels={"stable": 1, "canary": 2}))

    def ask(**spec):
        response = stubs.prediction.Predict(make_request("m", {"x": np.ones([1, 2], np.float32)}, **spec))
        return response.model_spec.version.value, response.outputs["scaled"].float_val[0]

    assert ask() == (2, 2.0)
    assert ask(version=1) == ask(label="stable") == (1, 1.0)
    assert ask(label="canary") == (2, 2.0)


BAD = {
    "no name": ({"name": ""}, CODE.INVALID_ARGUMENT, "ModelSpec has no name"),
    "unknown model": ({"name": "n"}, CODE.NOT_FOUND, "Servable not found for request: Latest(n)"),
    "unknown version": ({"version": 9}, CODE.NOT_FOUND, "Servable not found for request: Specific(m, 9)"),
    "unknown label": ({"label": "x"}, CODE.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
    "unknown signature": ({"signature": "x"}, CODE.FAILED_PRECONDITION, 'Serving signature key "x" not found.'),
    "unknown output": ({"outputs": ["x"]}, CODE.INVALID_ARGUMENT, "output tensor alias not found in signature: x"),
    "output twice": ({"outputs": ["scale", "scale"]}, CODE.INVALID_ARGUMENT, "duplicate output tensor alias: scale"),
    "no input": ({"inputs": {}}, CODE.INVALID_ARGUMENT, "Missing but required: {x}"),
    "another input": (
        {"inputs": {"y": np.float32([[1, 1]])}},
        CODE.INVALID_ARGUMENT,
        "alias not found in signature: y",
    ),
    "two inputs": ({"inputs": {"x": 1.0, "y": 1.0}}, CODE.INVALID_ARGUMENT, "Sent extra: {y}"),
    "wrong type": ({"inputs": {"x": ["text"]}}, CODE.INVALID_ARGUMENT, "expected values of type float32, got string"),
    "refused by the graph": ({"inputs": {"x": np.float32([[-1, 1]])}}, CODE.INVALID_ARGUMENT, "x is negative"),
}


@pytest.mark.parametrize(("change", "code", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("how", ["alone", "batched"])
def test_what_cannot_be_answered_has_the_right_code(request, change, code, words, how):
    """And words that say what is wrong; the next request is answered."""
    stubs = request.getfixturevalue(how)
    defaults = {"name": "m", "inputs": {"x": np.float32([[1, 1]])}}
    found = fail(stubs.prediction.Predict, make_request(**defaults | change))
    assert found[0] is code
    assert words in found[1]
    assert stubs.prediction.Predict(make_request(**defaults)).model_spec.version.value == 2


@pytest.mark.parametrize(
    ("dtype", "dims", "values"),
    [(1, [1 << 40], [1.0]), (1, [-1], [1.0]), (99, [1], []), (0, [1], []), (1, [1], [])],
    ids=["a terabyte of one value", "open shape", "no such type", "no type", "no value"],
)
def test_tensors_that_lie_are_refused(alone, dtype, dims, values):
    """In no memory to speak of."""
    request = make_request("m", {})
    request.inputs["x"].dtype = dtype
    request.inputs["x"].float_val.extend(values)
    for size in dims:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    assert fail(alone.prediction.Predict, request)[0] is CODE.INVALID_ARGUMENT


def test_a_small_request_cannot_unfold_to_gigabytes(scaled, make_store, connect):
    """By a long string of which a thousand are said to be there, or by inputs that nobody asked for."""
    stubs = connect(make_store(m=scaled))
    request = make_request("m", {"text": [b"x" * 500_000]}, signature="echo")
    request.inputs["text"].tensor_shape.dim[0].size = 1000
    code, words = fail(stubs.prediction.Predict, request)
    assert (code, "unfolds to" in words) == (CODE.INVALID_ARGUMENT, True)
    request = make_request("m", {})
    for number in range(60):
        request.inputs[f"made-up {number}"].dtype = 1
        request.inputs[f"made-up {number}"].float_val.append(0)
        request.inputs[f"made-up {number}"].tensor_shape.dim.add(size=1 << 26)
    assert "Sent extra" in fail(stubs.prediction.Predict, request)[1]


def test_a_request_that_is_too_large_is_refused(scaled, make_store, connect):
    """Before it is read."""
    stubs = connect(make_store(m=scaled), max_request_bytes=10_000)
    request = make_request("m", {"text": [b"x" * 20_000]}, signature="echo")
    assert fail(stubs.prediction.Predict, request)[0] is CODE.RESOURCE_EXHAUSTED


def test_the_wrong_method_is_refused(half):
    """A signature of prediction cannot classify, and an unknown method of MultiInference is not there."""
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half"
    request.input.example_list.examples.append(example(2.0))
    code, words = fail(half.prediction.Classify, request)
    assert code is CODE.INVALID_ARGUMENT
    assert "Expected classification signature method_name to be tensorflow/serving/classify. Was:" in words
    request.model_spec.signature_name = "classify_x_to_y"
    request.input.Clear()
    assert fail(half.prediction.Classify, request) == (CODE.INVALID_ARGUMENT, "Input is empty.")
    multi = inference_pb2.MultiInferenceRequest()
    assert fail(half.prediction.MultiInference, multi)[0] is CODE.INVALID_ARGUMENT
    multi.tasks.add(method_name="other").model_spec.CopyFrom(request.model_spec)
    assert fail(half.prediction.MultiInference, multi)[0] is CODE.UNIMPLEMENTED


def test_another_configuration_is_taken_while_serving(scaled, half_plus_two, make_store, make_config, connect):
    """Models come and go; one that cannot be had, or a label that points to none, is said."""
    stubs = connect(make_store(m=scaled))

    def reload(config):
        return stubs.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(config=config)).status

    assert reload(make_config(half=half_plus_two)).error_code == 0
    assert fail(stubs.prediction.Predict, make_request("m", {}))[0] is CODE.NOT_FOUND
    assert stubs.prediction.Predict(make_request("half", {"x": np.float32([[2]])})).outputs["y"].float_val[0] == 3.0
    status = reload(make_config(half=half_plus_two, labels={"stable": 7}))
    assert (status.error_code, "version 7 of model half" in status.error_message) == (9, True)
    status = reload(make_config(half="relative/path"))
    assert (status.error_code, "absolute path" in status.error_message) == (3, True)


def test_a_broken_request_in_a_batch_fails_alone(scaled, make_store, connect, rows):
    """Eight come at once and are merged; the one with a negative value spoils only its own answer."""
    batching = Batching(max_batch_size=8, batch_timeout_micros=2_000_000, num_batch_threads=1)
    stubs = connect(make_store(m=scaled, batching=batching))
    answers = {}

    def ask(index):
        request = make_request("m", {"x": rows(1, -1.0 if index == 3 else index)})
        try:
            answers[index] = stubs.prediction.Predict(request, timeout=20).outputs["scaled"].float_val[0]
        except grpc.RpcError as error:
            answers[index] = error.code()

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: CODE.INVALID_ARGUMENT if index == 3 else 2.0 * index for index in range(8)}
