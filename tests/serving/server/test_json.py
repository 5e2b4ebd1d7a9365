"""The JSON of the REST API: what TensorFlow Serving reads and writes, and how it refuses the rest."""

import contextlib
import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.server.errors import ServingError, not_found
from serving.server.json_requests import parse_examples, parse_predict
from serving.server.json_responses import format_classification, format_error, format_predict, format_regression

INT64_MAX = 2**63 - 1
FLOAT_MAX = float(np.finfo(np.float32).max)
ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
TOO_BIG = "JSON Parse error: Number too big to be stored in double."
TOO_DEEP = "JSON Parse error: Lists and objects are nested too deeply."


def signature(**dtypes):
    """Inputs by name, as parse_predict asks for them."""
    return {name: TensorInfo(dtype=dtype.as_datatype_enum) for name, dtype in dtypes.items()}


FLOAT, INT64, STRING = signature(x=tf.float32), signature(x=tf.int64), signature(x=tf.string)
TWO = signature(a=tf.float32, b=tf.string)


def parse(body, inputs):
    return parse_predict(body if isinstance(body, bytes) else body.encode(), lambda name: inputs)


def refuse(body, inputs=FLOAT, code=grpc.StatusCode.INVALID_ARGUMENT):
    """The message with which a body is refused."""
    with pytest.raises(ServingError) as caught:
        parse(body, inputs)
    assert caught.value.code == code
    return caught.value.message


GOOD_VALUES = [
    (tf.float32, "[1, 2.0, 5.003, 0.007, 0.0]", [1, 2, 5.003, 0.007, 0]),
    (tf.float32, "[NaN, Infinity, -Infinity, -0.0]", [np.nan, np.inf, -np.inf, -0.0]),
    (tf.float32, "[16777215, -16777215]", [16777215, -16777215]),
    (tf.float32, "[16777217.0, 1e38]", [16777216, 1e38]),
    (tf.float32, "[3.4028235e38]", [FLOAT_MAX]),
    (tf.float32, "[100000000000000000000]", [1e20]),  # larger than any integer type: a double, to rapidjson
    (tf.float64, "[9007199254740991, 0.1]", [2**53 - 1, 0.1]),
    (tf.float16, "[0.5, 65504.0]", [0.5, 65504]),
    (tf.bfloat16, "[0.5, 255, 1e38]", [0.5, 255, 1e38]),
    (tf.int64, f"[{INT64_MAX}, {-INT64_MAX - 1}]", [INT64_MAX, -INT64_MAX - 1]),
    (tf.int32, "[[1, 2], [3, 4], [5, 6]]", [[1, 2], [3, 4], [5, 6]]),
    (tf.uint8, "[0, 255]", [0, 255]),
    (tf.uint64, f"[{2**64 - 1}]", [2**64 - 1]),
    (tf.bool, "[true, false]", [True, False]),
    (tf.float32, "[[], []]", [[], []]),
]


@pytest.mark.parametrize(("dtype", "values", "expected"), GOOD_VALUES)
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_numbers_become_the_type_that_the_signature_asks_for(key, dtype, values, expected):
    """In rows or in columns, the list is the array."""
    request = parse(f'{{"{key}": {values}}}', signature(x=dtype))
    expected = np.array(expected, dtype.as_numpy_dtype)
    assert request.inputs["x"].dtype == expected.dtype
    np.testing.assert_array_equal(request.inputs["x"], expected)
    assert request.is_row == (key == "instances")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ('["baz", "é", ""]', [b"baz", "é".encode(), b""]),
        (r'["\ud83d\ude00", "a\u0000"]', ["😀".encode(), b"a\0"]),
        ('[{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]', [b"hello", b"world"]),
        ('[{"b64": "aGVsbG8"}, "plain"]', [b"hello", b"plain"]),
        ('[{"b64": "/+8="}, {"b64": ""}, {"b64": "AAAA"}]', [b"\xff\xef", b"", b"\0\0\0"]),
        (r'[{"b64": "aGVs\nbG8=\n"}]', [b"hello"]),
        ('[[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]', [[b"hello"], [b"world"]]),
    ],
)
@pytest.mark.parametrize("body", ['{{"instances": {}}}', '{{"inputs": {}}}', '{{"inputs": {{"x": {}}}}}'])
def test_strings_are_bytes(body, values, expected):
    """Text is UTF-8; base64 may lack its padding and may be broken into lines."""
    array = parse(body.format(values), STRING).inputs["x"]
    assert array.dtype == object
    assert array.tolist() == expected


@pytest.mark.parametrize(("value", "shape"), [("5", ()), ("[]", (0,)), ("[[[5]]]", (1, 1, 1))])
def test_a_column_has_the_shape_of_its_lists(value, shape):
    """A scalar and an empty list are values, too."""
    assert parse(f'{{"inputs": {value}}}', FLOAT).inputs["x"].shape == shape


def test_rows_of_named_inputs_become_one_array_for_each():
    """The order of the names in a row does not matter."""
    request = parse('{"instances": [{"a": [1, 2], "b": "q"}, {"b": {"b64": "cg=="}, "a": [3, 4.5]}]}', TWO)
    assert request.inputs["a"].tolist() == [[1, 2], [3, 4.5]]
    assert request.inputs["b"].tolist() == [b"q", b"r"]


def test_columns_of_named_inputs_may_differ_in_shape():
    """And what the signature does not have is passed over, as TensorFlow Serving does."""
    request = parse('{"inputs": {"a": [1, 2], "b": {"b64": "cQ=="}, "c": null}}', TWO)
    assert request.inputs["a"].tolist() == [1, 2]
    assert (request.inputs["b"].shape, request.inputs["b"].item()) == ((), b"q")
    assert sorted(request.inputs) == ["a", "b"]


def test_the_signature_that_is_named_is_asked_for():
    """And the empty name, if none is."""
    asked = []

    def find(name):
        asked.append(name)
        return FLOAT

    for body in (b'{"signature_name": "other", "inputs": 1}', b'{"inputs": 1}'):
        assert parse_predict(body, find).signature_name == asked[-1]
    assert asked == ["other", ""]


def test_a_signature_that_is_not_there_is_the_error_of_who_looks_for_it():
    """It passes through as it is."""

    def find(name):
        raise not_found(f"no {name}")

    with pytest.raises(ServingError, match=r"^no other$"):
        parse_predict(b'{"signature_name": "other", "inputs": 1}', find)


def test_a_byte_order_mark_is_passed_over():
    """As rapidjson does."""
    assert parse(b'\xef\xbb\xbf{"inputs": 1}', FLOAT).inputs["x"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        (" \n", "JSON Parse error: The document is empty"),
        ('{"é": x}', "JSON Parse error: Expecting value at offset: 7"),
        ('{"inputs": 1} x', "JSON Parse error: Extra data at offset: 14"),
        ('{"inputs": "a', "JSON Parse error: Unterminated string starting at offset: 11"),
        (b'{"inputs": "\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 12"),
        (b'{"inputs": "\xed\xa0\x80"}', "JSON Parse error: Invalid encoding in string. at offset: 12"),
        (r'{"inputs": "\ud800"}', "JSON Parse error: The surrogate pair in string is invalid."),
        (r'{"\uDC00": 1}', "JSON Parse error: The surrogate pair in string is invalid."),
        ('{"inputs": 1, "inputs": 2}', 'JSON Parse error: Two members of an object have the name: "inputs"'),
        ('{"inputs": 1' + "0" * 5000 + "}", TOO_BIG),
        ('{"inputs": 1' + "0" * 400 + "}", TOO_BIG),
        ('{"inputs": -1e400}', TOO_BIG),
        ('{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}", TOO_DEEP),
        ('{"inputs": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}", TOO_DEEP),
        ("[1]", "JSON Value: [1] Is not object"),
        ("NaN", "JSON Value: NaN Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        (
            '{"signature_name": 5}',
            "JSON Value: {\"signature_name\": 5} not formatted correctly. 'signature_name' key must be a string value.",
        ),
        (
            '{"inputs": 1, "instances": 2}',
            'JSON Value: {"inputs": 1, "instances": 2} Not formatted correctly expecting only one of \'inputs\' or '
            "'instances' keys to exist",
        ),
        ('{"instances": {}}', "JSON Value: {\"instances\": {}} Excepting 'instances' to be an list/array"),
        ('{"instances": []}', "JSON Value: {\"instances\": []} No values in 'instances' array"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body, message):
    """In TensorFlow Serving's words, but for syntax, where they are Python's."""
    assert refuse(body) == message


BAD_VALUES = [
    (tf.float32, '"a"', 'JSON Value: "a" Type: String is not of expected type: float'),
    (tf.float32, "true", "JSON Value: true Type: True is not of expected type: float"),
    (tf.float32, "null", "JSON Value: null Type: Null is not of expected type: float"),
    (tf.float32, "[1, false]", "JSON Value: false Type: False is not of expected type: float"),
    (tf.float32, "16777216", "Cannot convert JSON value: 16777216 to float without loss of precision."),
    (tf.float32, "1e39", "Cannot convert JSON value: 1e+39 to float without loss of precision."),
    (
        tf.float64,
        "9007199254740993",
        "Cannot convert JSON value: 9007199254740993 to double without loss of precision.",
    ),
    (tf.float16, "65520.0", "Cannot convert JSON value: 65520.0 to half without loss of precision."),
    (tf.bfloat16, "257", "Cannot convert JSON value: 257 to bfloat16 without loss of precision."),
    (tf.int64, "1.0", "JSON Value: 1.0 Type: Number is not of expected type: int64"),
    (tf.int64, "NaN", "JSON Value: NaN Type: Number is not of expected type: int64"),
    (tf.int64, str(2**63), "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
    (tf.uint8, "300", "JSON Value: 300 Type: Number is not of expected type: uint8"),
    (tf.uint64, "-1", "JSON Value: -1 Type: Number is not of expected type: uint64"),
    (tf.bool, "1", "JSON Value: 1 Type: Number is not of expected type: bool"),
    (tf.string, "5", "JSON Value: 5 Type: Number is not of expected type: string"),
    (tf.string, '[{"b64": 5}]', 'JSON Value: {"b64": 5} not formatted correctly for base64 data'),
    (tf.float32, '[{"b64": ""}]', 'JSON Value: {"b64": ""} Type: Object is not of expected type: float'),
    (tf.float32, "[[1], 2]", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    (tf.float32, "[[1], [2, 3]]", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    (tf.float32, "[[], [1]]", "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
    (tf.float32, "[1, [2]]", "Encountered list at unexpected level: 1 expected < 1"),
]


@pytest.mark.parametrize(("dtype", "value", "message"), BAD_VALUES)
def test_a_value_that_is_none_of_the_type_is_refused(dtype, value, message):
    """In columns by itself, in rows with the number of the row."""
    inputs = signature(x=dtype)
    assert refuse(f'{{"inputs": {value}}}', inputs) == message
    assert refuse(f'{{"instances": [{value}]}}', inputs) == ELEMENT.format(0) + message
    assert refuse(f'{{"instances": [{{"x": {value}}}]}}', inputs) == ELEMENT.format("0 key: x") + message


BROKEN_PADDING = ["A", "AAAAA", "AA=", "AAA==", "AAAA=", "====", "AA==AA==", "A=AA"]
BROKEN_LETTERS = ["AAA!", "AA!A", "AAAA!!", "A-_A", "AAA.", "é"]


@pytest.mark.parametrize("text", BROKEN_PADDING + BROKEN_LETTERS)
def test_broken_base64_is_refused(text):
    """Wrong padding, letters outside the alphabet and bits too few; Python alone would pass over most of it."""
    assert refuse(json.dumps({"inputs": {"b64": text}}), STRING) == "Unable to base64 decode"


@pytest.mark.parametrize(
    ("inputs", "instances", "message"),
    [
        (FLOAT, "[[1, 2], [3]]", ELEMENT.format(1) + "Expecting tensor size: 2 but got: 1"),
        (FLOAT, "[[1, 2], [3, 4], [[5, 6]]]", ELEMENT.format(2) + "Expecting shape [2] but got: [1,2]"),
        (FLOAT, "[1, [1]]", ELEMENT.format(1) + "Expecting shape [] but got: [1]"),
        (STRING, '["a", {"x": "b"}]', "Expecting value/list but got object at item 1 of input list"),
        (TWO, '[{"a": 1, "b": "q"}, 5]', "Expecting object but got list at item 1 of input list"),
        (TWO, '[{"a": 1, "b": "q"}, {"b64": ""}]', "Expecting object but got list at item 1 of input list"),
        (
            TWO,
            "[1]",
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            TWO,
            '[{"a": 1}]',
            "Failed to process element: 0 of 'instances' list. JSON object: {\"a\": 1} keys must be equal to: a,b",
        ),
        (
            TWO,
            '[{"a": 1, "b": "q", "c": 2}]',
            ELEMENT.format("0 key: c") + "JSON object: does not have named input: c",
        ),
        (
            TWO,
            '[{"a": 1, "b": "q"}, {"a": [1], "b": "q"}]',
            ELEMENT.format("1 key: a") + "Expecting shape [] but got: [1]",
        ),
    ],
)
def test_rows_that_do_not_go_together_are_refused(inputs, instances, message):
    """The first that is not like the one before it is named."""
    assert refuse(f'{{"instances": {instances}}}', inputs) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"a": 1}', "Missing named input: b in 'inputs' object."),
        (
            "[1]",
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
    ],
)
def test_columns_that_are_missing_are_named(value, message):
    """All inputs of the signature are needed."""
    assert refuse(f'{{"inputs": {value}}}', TWO) == message


def test_more_levels_of_lists_than_numpy_has_dimensions_are_refused():
    """Though Python can read far more."""
    assert parse('{"inputs": ' + "[" * 32 + "]" * 32 + "}", FLOAT).inputs["x"].ndim == 32
    for body in ('{"inputs": ' + "[" * 33 + "]" * 33 + "}", '{"instances": ' + "[" * 33 + "]" * 33 + "}"):
        assert refuse(body).endswith("has more than 32 levels of lists")


def test_a_type_that_json_cannot_hold_is_not_implemented():
    """Neither complex numbers, nor what is no dense tensor."""
    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    complex_message = refuse('{"inputs": 1}', signature(x=tf.complex64), unimplemented)
    assert complex_message == "Conversion of JSON Value: [1] to type: complex64"
    assert "not a dense tensor" in refuse('{"inputs": 1}', {"x": TensorInfo()}, unimplemented)


def test_a_signature_without_inputs_is_refused():
    """There is nothing that a request could fill."""
    assert refuse('{"inputs": 1}', {}) == "Failed to get input map for signature: DEFAULT"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"instances": [{"b64": "A" * 100_000}]}),
        json.dumps({"instances": [[{"x": "A" * 100_000}]]}),
        json.dumps({"instances": [{"A" * 100_000: 1}]}),
        json.dumps({"instances": 1, "other": "A" * 100_000}),
        "[" * 500 + "]" * 500,
        "{" + f'"{"A" * 100_000}": 1,' * 2 + '"a": 1}',
    ],
)
def test_what_a_client_sent_does_not_come_back_at_length(body):
    """An image with a mistake would."""
    assert 200 < len(refuse(body)) < 600


TEXT = st.text(max_size=8) | st.sampled_from(["a", "b", "x", "b64", "aGVsbG8=", "inputs", "\ud800"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([2**63, 2**64, 10**400]) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=3)
        | st.fixed_dictionaries({"b64": inner})
        | st.fixed_dictionaries({"a": inner, "b": inner})
    ),
    max_leaves=12,
)
BODIES = VALUES | st.dictionaries(
    st.sampled_from(["instances", "inputs", "signature_name", "examples", "context"]), VALUES, max_size=3
)


@settings(deadline=None, max_examples=300)
@given(value=BODIES, inputs=st.sampled_from([FLOAT, INT64, STRING, TWO]))
def test_any_json_is_read_or_refused(value, inputs):
    """Whatever a client sends, it is told what is wrong with it, and the server does not fail."""
    body = json.dumps(value).encode()
    for read in (lambda: parse_predict(body, lambda name: inputs), lambda: parse_examples(body)):
        with contextlib.suppress(ServingError):
            read()


@settings(deadline=None, max_examples=300)
@given(body=st.binary(max_size=40) | TEXT.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_read_or_refused(body):
    """Neither is it sure that it is JSON, or text."""
    for content in (body, b'{"inputs": "' + body + b'"}', b'{"inputs": {"b64": "' + body + b'"}}'):
        with contextlib.suppress(ServingError):
            assert parse(content, STRING).inputs["x"].dtype == object


@settings(deadline=None, max_examples=300)
@given(array=hypothesis_numpy.arrays(np.float32, hypothesis_numpy.array_shapes(max_dims=3, min_side=0)))
def test_float32_come_back_to_the_bit(array):
    """A client that reads the answer has the numbers of the model."""
    values = json.loads(format_predict({"x": array}, is_row=True))["predictions"]
    back = np.array(values, np.float64).astype(np.float32).reshape(array.shape)
    numbers = ~np.isnan(array)
    assert (np.isnan(back) == ~numbers).all()
    assert (back.view(np.uint32) == array.view(np.uint32))[numbers].all()


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e-3, 1, 1e4, 1e5, 1e20])
def test_a_float32_is_printed_as_the_shortest_decimal_that_is_it(size):
    """Numpy's own way of printing is the judge."""
    values = (np.random.default_rng(7).standard_normal(2000) * size).astype(np.float32)
    assert json.loads(format_predict({"x": values}, is_row=True))["predictions"] == [float(str(v)) for v in values]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.float32([0.2, 3, 9e6, -0.0, 1e-5]), "[0.2,3.0,9000000.0,-0.0,1e-05]"),
        (np.float32([np.nan, np.inf, -np.inf]), "[NaN,Infinity,-Infinity]"),
        (np.float32([1e-45, 3.4028235e38]), "[1e-45,3.4028235e+38]"),
        (np.float64([0.1, 1 / 3]), "[0.1,0.3333333333333333]"),
        (np.float16([0.5, 65504]), "[0.5,65504.0]"),
        (np.array([0.5, 3], tf.bfloat16.as_numpy_dtype), "[0.5,3.0]"),
        (np.int64([INT64_MAX, -1]), f"[{INT64_MAX},-1]"),
        (np.uint8([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        (np.array([True, False]), "[true,false]"),
        (np.array([b"caf\xc3\xa9", b'"'], object), r'["café","\""]'),
        (np.array([b"\xff\xd8a"], object), '["\ufffd\ufffda"]'),
        (np.zeros((0, 2), np.float32), "[]"),
        (np.zeros((2, 0), np.float32), "[[],[]]"),
    ],
)
def test_an_output_is_written_by_its_type(array, expected):
    """Floats show that they are; text that is not UTF-8 is still JSON."""
    assert format_predict({"x": array}, is_row=True).decode() == f'{{"predictions":{expected}}}'
    assert format_predict({"x": array}, is_row=False).decode() == f'{{"outputs":{expected}}}'


def test_several_outputs_are_objects_by_name():
    """One for each row, or one for all."""
    outputs = {"label": np.array([b"a", b"b"], object), "probabilities": np.float32([[0.2, 0.8], [1, 0]])}
    assert json.loads(format_predict(outputs, is_row=True)) == {
        "predictions": [{"label": "a", "probabilities": [0.2, 0.8]}, {"label": "b", "probabilities": [1, 0]}]
    }
    assert json.loads(format_predict(outputs, is_row=False)) == {
        "outputs": {"label": ["a", "b"], "probabilities": [[0.2, 0.8], [1, 0]]}
    }


def test_strings_of_an_output_named_bytes_are_base64():
    """A name that ends in _bytes says that it is no text; numbers of such a name are numbers."""
    images = np.array([[b"hello", b"world"], [b"tf", b""]], object)
    assert json.loads(format_predict({"image_bytes": images}, is_row=True)) == {
        "predictions": [[{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}], [{"b64": "dGY="}, {"b64": ""}]]
    }
    assert json.loads(format_predict({"size_bytes": np.int64([5])}, is_row=True)) == {"predictions": [5]}


def test_a_scalar_is_an_output_in_columns():
    """It has no rows."""
    assert format_predict({"x": np.array(5)}, is_row=False) == b'{"outputs":5}'
    assert format_predict({"x": np.array(b"a", object)}, is_row=False) == b'{"outputs":"a"}'
    assert format_predict({"x": np.float32(0.2)}, is_row=False) == b'{"outputs":0.2}'


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"x": np.array(5)}, "Tensor name: x has no shape information"),
        (
            {"x": np.zeros(0), "y": np.zeros((1, 2))},
            "Tensor name: y has inconsistent batch size: 1 expecting: 0",
        ),
        ({"x": np.complex64([1])}, "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_outputs_that_make_no_rows_are_refused(outputs, message):
    """As TensorFlow Serving does."""
    with pytest.raises(ServingError) as caught:
        format_predict(outputs, is_row=True)
    assert caught.value.message == message


def test_examples_become_features_by_what_their_values_are():
    """A value by itself is a list of one; booleans are integers; an empty list is a feature of no kind."""
    name, found = parse_examples(
        b"""{"signature_name": "mine", "context": {"query": "pizza"}, "examples": [
        {"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, NaN, Infinity], "age": 20, "mixed": [1, true, false]},
        {"ratings": -1.5, "none": []}]}"""
    )
    expected = text_format.Parse(
        """example_list_with_context {
          context { features { feature { key: "query" value { bytes_list { value: "pizza" } } } } }
          examples { features {
            feature { key: "names" value { bytes_list { value: "foo" value: "hello" } } }
            feature { key: "ratings" value { float_list { value: 8 value: nan value: inf } } }
            feature { key: "age" value { int64_list { value: 20 } } }
            feature { key: "mixed" value { int64_list { value: 1 value: 1 value: 0 } } } } }
          examples { features {
            feature { key: "ratings" value { float_list { value: -1.5 } } }
            feature { key: "none" value { } } } } }""",
        Input(),
    )
    assert (name, text_format.MessageToString(found)) == ("mine", text_format.MessageToString(expected))


def test_examples_without_a_context_are_a_plain_list():
    """And so is the signature without a name; an empty context is one."""
    assert parse_examples(b'{"examples": [{}]}') == ("", text_format.Parse("example_list { examples {} }", Input()))
    _, found = parse_examples(b'{"examples": [{}], "context": {}}')
    assert found == text_format.Parse("example_list_with_context { context {} examples {} }", Input())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": {}}', "JSON Value: {\"examples\": {}} Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "JSON Value: {\"examples\": []} 'examples' value is an empty array"),
        ('{"examples": [[]]}', "Example must be JSON object but got JSON Array"),
        ('{"context": null}', "Example must be JSON object but got JSON Null"),
        ('{"examples": [{"n": [10, null]}]}', "Feature: n has element with unexpected JSON type: Null"),
        ('{"examples": [{"n": [[10], 20]}]}', "Feature: n has element with unexpected JSON type: Array"),
        ('{"examples": [{"n": [{"b64": 5}]}]}', "Feature: n has element with unexpected JSON type: Object"),
        ('{"examples": [{"n": [10, 10.0]}]}', "Unexpected element type in feature: n expecting type: int64"),
        ('{"examples": [{"n": [0.5, "a", null]}]}', "Unexpected element type in feature: n expecting type: float"),
        ('{"examples": [{"n": ["a", 5]}]}', "Unexpected element type in feature: n expecting type: bytes"),
        ('{"examples": [{"n": 18446744073709551603}]}', "Feature: n has uint64 element. Only int64 is supported."),
        ('{"examples": [{"n": 1e39}]}', "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ('{"examples": [{"n": 1e400}]}', TOO_BIG),
        ('{"examples": [{"n": {"b64": "!"}}]}', "Unable to base64 decode"),
        ("[]", "JSON Value: [] Is not object"),
    ],
)
def test_what_is_no_example_is_refused(body, message):
    """In TensorFlow Serving's words."""
    with pytest.raises(ServingError) as caught:
        parse_examples(body.encode())
    assert (caught.value.code, caught.value.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)


def test_a_classification_is_labels_and_scores():
    """Scores as short as they are for :predict."""
    result = ClassificationResult()
    for scores in ({"car": 0.2, "ü": 0.7}, {}):
        classes = result.classifications.add().classes
        for label, score in scores.items():
            classes.add(label=label, score=score)
    assert format_classification(result).decode() == '{"results":[[["car",0.2],["ü",0.7]],[]]}'


def test_a_regression_is_numbers():
    """Not even NaN is quoted."""
    result = RegressionResult()
    for value in (0.2, 1, float("inf"), float("nan")):
        result.regressions.add(value=value)
    assert format_regression(result) == b'{"results":[0.2,1.0,Infinity,NaN]}'


@pytest.mark.parametrize(
    ("write", "result", "kind"),
    [
        (format_classification, ClassificationResult(), "ClassificationResults"),
        (format_regression, RegressionResult(), "RegressionResults"),
    ],
)
def test_no_result_is_an_error(write, result, kind):
    """As TensorFlow Serving does."""
    with pytest.raises(ServingError, match=f"^Cannot convert empty {kind} to JSON$"):
        write(result)


@pytest.mark.parametrize(
    ("message", "expected"), [('Bad key: "é"', r'{"error":"Bad key: \"é\""}'), ("\udcff", '{"error":"?"}')]
)
def test_an_error_is_json_whatever_it_says(message, expected):
    """Even half of a surrogate pair, which a path may hold."""
    assert format_error(message).decode() == expected
