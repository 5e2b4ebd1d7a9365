"""PredictionService and ModelService over gRPC; the messages are TensorFlow Serving's."""

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

from serving.server.configs import BatchingParameters

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def half(half_plus_two, serve_once):
    """Returns stubs for the TF1 model."""
    return serve_once(half=half_plus_two)


@pytest.fixture(scope="module")
def alone(scaled, serve_once):
    """Returns stubs for the TF2 model without batching."""
    return serve_once(m=scaled)


@pytest.fixture(scope="module")
def batched(scaled, serve_once):
    """Returns stubs for the TF2 model with batching."""
    return serve_once(m=scaled, batching=BatchingParameters(max_batch_size=4))


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
    """Returns the code and the message of a failed call."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=120)
    return caught.value.code(), caught.value.details()


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


def test_metadata_is_the_signatures(half):
    """The answer unpacks as in a client."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half"
    response = half.prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "classify_x_to_y"}
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 123)


@pytest.mark.parametrize("fields", [[], ["other"]])
def test_metadata_other_than_signatures_is_refused(half, fields):
    """Before the model is looked for, as get_model_metadata_impl.cc does."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "not there"
    assert fail(half.prediction.GetModelMetadata, request)[0] is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "request_class"),
    [
        ("Classify", classification_pb2.ClassificationRequest),
        ("Regress", regression_pb2.RegressionRequest),
        ("MultiInference", inference_pb2.MultiInferenceRequest),
    ],
)
def test_what_is_asked_with_examples_says_what_to_use_instead(half, method, request_class):
    """And what it says is possible: Predict takes a serialized tf.Example."""
    code, words = fail(getattr(half.prediction, method), request_class())
    assert code is CODE.UNIMPLEMENTED
    assert "Use Predict" in words
    example = tf.train.Example(
        features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[2.0]))})
    )
    request = make_request("half", {"inputs": [example.SerializeToString()]}, signature="classify_x_to_y")
    assert list(half.prediction.Predict(request).outputs["scores"].float_val) == [3.0]


@pytest.mark.parametrize("how", ["alone", "batched"])
def test_an_input_with_a_default_may_be_omitted(request, how):
    """With batching the default, a scalar, cannot be put together with others; TensorFlow Serving says so, too."""
    stubs = request.getfixturevalue(how)
    asked = make_request("m", {"x": np.float32([1, 2])}, signature="multiply")
    given = make_request("m", {"x": np.float32([1, 2]), "factor": np.float32(5)}, signature="multiply")
    if how == "batched":
        assert "equal 0th-dimension size" in fail(stubs.prediction.Predict, asked)[1]
    else:
        assert list(stubs.prediction.Predict(asked).outputs["product"].float_val) == [3.0, 6.0]
        assert list(stubs.prediction.Predict(given).outputs["product"].float_val) == [5.0, 10.0]


def test_a_scalar_string_is_an_output(alone):
    """Which TensorFlow hands out as bytes, and no array."""
    outputs = alone.prediction.Predict(make_request("m", {"text": "a"}, signature="join")).outputs
    assert list(outputs["joined"].string_val) == [b"a!"]
    assert list(outputs["length"].int_val) == [1]
    assert not outputs["joined"].tensor_shape.dim


@pytest.mark.parametrize("how", ["alone", "batched"])
def test_an_error_of_tensorflow_with_raw_bytes_is_told(request, how):
    """It repeats the bytes that it could not parse; as many as fit into an answer."""
    stubs = request.getfixturevalue(how)
    request = make_request("m", {"examples": [b"\xff\xd8" * 10_000]}, signature="parse")
    code, words = fail(stubs.prediction.Predict, request)
    assert code is CODE.INVALID_ARGUMENT
    assert words.startswith("Could not parse example input, value: '\\xff\\xd8\\xff")
    assert 500 <= len(words) < 600


@pytest.mark.parametrize("how", ["alone", "batched"])
def test_an_input_without_values_is_named(request, how):
    """The graph would tell of a reduction somewhere within."""
    stubs = request.getfixturevalue(how)
    code, words = fail(stubs.prediction.Predict, make_request("m", {"x": np.zeros([0], np.float32)}))
    assert (code, words.endswith("actual: [0]. Input 'x' has no values")) == (CODE.INVALID_ARGUMENT, True)


def test_a_request_without_a_model_spec_is_refused(half):
    """As predict_impl.cc, get_model_metadata_impl.cc and get_model_status_impl.cc do."""
    for call, asked in (
        (half.prediction.Predict, predict_pb2.PredictRequest()),
        (half.prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()),
        (half.models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()),
    ):
        assert fail(call, asked) == (CODE.INVALID_ARGUMENT, "Missing ModelSpec")


def test_status_is_that_of_every_version_or_of_the_one_named(scaled, make_store, connect):
    """A label, whether there is one or not, is passed over; of a model that is not there, there is none."""
    stubs = connect(make_store(m=scaled, policy="all", labels={"stable": 1}))
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    statuses = stubs.models.GetModelStatus(request).model_version_status
    assert [(s.version, s.state, s.status.error_code) for s in statuses] == [(2, 30, 0), (1, 30, 0)]
    for label in ("stable", "not there"):
        request.model_spec.version_label = label
        assert [s.version for s in stubs.models.GetModelStatus(request).model_version_status] == [2, 1]
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
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {y}, or default input alias set: ",
    ),
    "no input without a default": (
        {"signature": "multiply", "inputs": {"factor": 1.0}},
        CODE.INVALID_ARGUMENT,
        "Signature input alias: x(feed name: multiply_x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {factor}, or default input alias set: factor",
    ),
    "another input besides a default": (
        {"signature": "multiply", "inputs": {"x": np.float32([1]), "y": 1.0}},
        CODE.INVALID_ARGUMENT,
        "Inputs contains invalid name. Used request inputs: x, request input: x,y",
    ),
    "two inputs": ({"inputs": {"x": 1.0, "y": 1.0}}, CODE.INVALID_ARGUMENT, "Sent extra: {y}"),
    "wrong type": ({"inputs": {"x": ["text"]}}, CODE.INVALID_ARGUMENT, "expected values of type float32, got string"),
    "refused by the graph": ({"inputs": {"x": np.float32([[-1, 1]])}}, CODE.INVALID_ARGUMENT, "x is negative"),
}


@pytest.mark.parametrize(("change", "code", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("how", ["alone", "batched"])
def test_what_cannot_be_answered_has_the_right_code(request, change, code, words, how):
    """The message names the fault; the next request is answered."""
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
    """The refusal takes little memory."""
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
    """The server does not read the body."""
    stubs = connect(make_store(m=scaled), max_request_bytes=10_000)
    request = make_request("m", {"text": [b"x" * 20_000]}, signature="echo")
    assert fail(stubs.prediction.Predict, request)[0] is CODE.RESOURCE_EXHAUSTED


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
    batching = BatchingParameters(max_batch_size=8, batch_timeout_micros=60_000_000, num_batch_threads=1)
    stubs = connect(make_store(m=scaled, batching=batching))
    answers = {}

    def ask(index):
        request = make_request("m", {"x": rows(1, -1.0 if index == 3 else index)})
        try:
            answers[index] = stubs.prediction.Predict(request, timeout=120).outputs["scaled"].float_val[0]
        except grpc.RpcError as error:
            answers[index] = error.code()

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: CODE.INVALID_ARGUMENT if index == 3 else 2.0 * index for index in range(8)}
