"""JSON of the REST API: requests, answers and errors as in TensorFlow Serving."""

import contextlib
import gzip
import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.server.errors import ServingError, not_found
from serving.server.json_requests import parse_predict
from serving.server.json_responses import format_error, format_predict

INT64_MAX = 2**63 - 1
FLOAT_MAX = float(np.finfo(np.float32).max)
ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
TOO_BIG = "JSON Parse error: Number too big to be stored in double."
TOO_DEEP = "JSON Parse error: Lists and objects are nested too deeply."


def signature(**dtypes):
    """Returns a function that finds a signature with these inputs; inputs named optional_... have a default."""
    made = SignatureDef(inputs={name: TensorInfo(dtype=dtype.as_datatype_enum) for name, dtype in dtypes.items()})
    for name in dtypes:
        if name.startswith("optional"):
            made.defaults[name].CopyFrom(tf.make_tensor_proto(1.0))
    return made


FLOAT, INT64, STRING = signature(x=tf.float32), signature(x=tf.int64), signature(x=tf.string)
TWO = signature(a=tf.float32, b=tf.string)
DEFAULTED = signature(a=tf.float32, optional=tf.float32)


def parse(body, inputs):
    return parse_predict(body if isinstance(body, bytes) else body.encode(), lambda name: inputs)


def refuse(body, inputs=FLOAT, code=grpc.StatusCode.INVALID_ARGUMENT):
    """Returns the error message for a body."""
    with pytest.raises(ServingError) as caught:
        parse(body, inputs)
    assert caught.value.code == code
    return caught.value.message


GOOD_VALUES = [
    (tf.float32, "[1, 2.0, 5.003, 0.007, 0.0]", [1, 2, 5.003, 0.007, 0]),
    (tf.float32, "[NaN, Infinity, -Infinity, -0.0]", [np.nan, np.inf, -np.inf, -0.0]),
    (tf.float32, "[16777215, 16777216, -16777216]", [16777215, 16777216, -16777216]),
    (tf.float32, "[16777217, -16777219, 16777217.0, 1e38]", [16777216, -16777220, 16777216, 1e38]),
    (tf.float32, f"[{INT64_MAX}, {2**64 - 1}]", [2.0**63, 2.0**64]),
    (tf.float32, "[3.4028235e38, 1e39, -1e39]", [FLOAT_MAX, np.inf, -np.inf]),
    (tf.float32, "[100000000000000000000]", [1e20]),  # larger than any integer type: a double, to rapidjson
    (tf.float64, "[9007199254740991, 9007199254740993, 0.1]", [2**53 - 1, 2.0**53, 0.1]),
    (tf.float64, "[1e39, 1e308]", [1e39, 1e308]),
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
    """A scalar and an empty list of a named input are values, too."""
    assert parse(f'{{"inputs": {{"x": {value}}}}}', FLOAT).inputs["x"].shape == shape


def test_rows_of_named_inputs_become_one_array_for_each():
    """The order of the names in a row does not matter."""
    request = parse('{"instances": [{"a": [1, 2], "b": "q"}, {"b": {"b64": "cg=="}, "a": [3, 4.5]}]}', TWO)
    assert request.inputs["a"].tolist() == [[1, 2], [3, 4.5]]
    assert request.inputs["b"].tolist() == [b"q", b"r"]


def test_columns_of_named_inputs_may_differ_in_shape():
    """Unknown inputs are ignored, as in TensorFlow Serving."""
    request = parse('{"inputs": {"a": [1, 2], "b": {"b64": "cQ=="}, "c": null}}', TWO)
    assert request.inputs["a"].tolist() == [1, 2]
    assert (request.inputs["b"].shape, request.inputs["b"].item()) == ((), b"q")
    assert sorted(request.inputs) == ["a", "b"]


def test_an_input_with_a_default_may_be_missing():
    """In columns, and in all rows or in none."""
    for body, expected in (
        ('{"inputs": {"a": 1}}', {"a": 1}),
        ('{"inputs": {"a": 1, "optional": 2}}', {"a": 1, "optional": 2}),
        ('{"instances": [{"a": 1}, {"a": 2}]}', {"a": [1, 2]}),
        ('{"instances": [{"a": 1, "optional": 3}]}', {"a": [1], "optional": [3]}),
    ):
        assert {name: value.tolist() for name, value in parse(body, DEFAULTED).inputs.items()} == expected
    assert refuse('{"inputs": {"optional": 1}}', DEFAULTED) == "Missing named input: a in 'inputs' object."
    for rows in ('[{"a": 1}, {"a": 1, "optional": 2}]', '[{"a": 1, "optional": 2}, {"a": 1}]', '[{"optional": 1}]'):
        assert "keys must be equal to: a" in refuse(f'{{"instances": {rows}}}', DEFAULTED)


def test_the_signature_that_is_named_is_asked_for():
    """Without a name, the name is empty."""
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


@pytest.mark.parametrize("text", [" x", "}", '{"inputs": 2}', "\n\n\0"])
def test_text_after_the_document_is_passed_over(text):
    """Any text is ignored."""
    assert parse('{"inputs": 1}' + text, FLOAT).inputs["x"] == 1
    assert parse(" \t\r\n" + '{"inputs": 1}' + text, FLOAT).inputs["x"] == 1


@pytest.mark.parametrize(
    ("body", "begin"), [('{"inputs": [1,]}', "Invalid value."), ('{"inputs": 1,}', "Missing a name")]
)
def test_a_comma_too_many_is_refused_in_the_same_words_by_each_python(body, begin):
    """Python 3.13 has words and a place of its own for it."""
    assert refuse(body).startswith(f"JSON Parse error: {begin}")


def test_a_compressed_body_is_called_so():
    """Behind the words that TensorFlow Serving would have for it."""
    message = refuse(gzip.compress(b'{"inputs": 1}'))
    assert message.startswith("JSON Parse error: Invalid value. at offset: 0.")
    assert "gzip" in message


def test_a_byte_order_mark_is_passed_over():
    """As rapidjson does."""
    assert parse(b'\xef\xbb\xbf{"inputs": 1}', FLOAT).inputs["x"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        (" \n", "JSON Parse error: The document is empty"),
        ('{"é": x}', "JSON Parse error: Invalid value. at offset: 7"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        ('{"inputs": "a', "JSON Parse error: Missing a closing quotation mark in string. at offset: 11"),
        ('{"inputs" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 10"),
        ("{inputs: 1}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (
            '{"inputs": [1 2]}',
            "JSON Parse error: Missing a comma or a closing bracket after an object member or an array element. at "
            "offset: 14",
        ),
        (r'{"inputs": "\x"}', "JSON Parse error: Invalid escape character in string. at offset: 12"),
        ('{"inputs": "\n"}', "JSON Parse error: Invalid encoding in string. at offset: 12"),
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
        ('{"instances": {}}', "JSON Value: {\"instances\": {}} Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "JSON Value: {\"instances\": []} No values in 'instances' array"),
        ('{"inputs": []}', "JSON Value: {\"inputs\": []} No values in 'inputs' array"),
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
    (tf.float32, "[0.5, 1e309]", TOO_BIG),
    (tf.float64, "-1e309", TOO_BIG),
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
    message = refuse(json.dumps({"inputs": {"b64": text}}), STRING)
    expected = "Unable to base64 decode: expected A-Z, a-z, 0-9, + and /, with = at the end, got "
    assert message == expected + json.dumps(text, ensure_ascii=False)


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


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(tf.uint16, "uint16"), (tf.float16, "half"), (tf.bfloat16, "bfloat16"), (tf.complex64, "complex64")],
)
def test_a_type_that_json_tensor_does_not_know_is_not_implemented(dtype, name):
    """Neither as an input nor as an output; in a row it is the element that is refused."""
    message = f"Conversion of JSON Value: 1 to type: {name}"
    assert refuse('{"inputs": [1, 2]}', signature(x=dtype), grpc.StatusCode.UNIMPLEMENTED) == message
    element = "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: "
    assert refuse('{"instances": [1, 2]}', signature(x=dtype)) == element + message
    with pytest.raises(ServingError, match=f"^Failed to write JSON value for tensor type: {name}$") as caught:
        format_predict({"x": np.ones([1], dtype.as_numpy_dtype)}, is_row=False)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_what_is_no_dense_tensor_is_not_implemented():
    """A ragged one says no type."""
    ragged = SignatureDef(inputs={"x": TensorInfo()})
    assert "not a dense tensor" in refuse('{"inputs": 1}', ragged, grpc.StatusCode.UNIMPLEMENTED)


def test_a_signature_without_inputs_is_refused():
    """There is nothing that a request could fill."""
    assert refuse('{"inputs": 1}', SignatureDef()) == "Failed to get input map for signature: DEFAULT"


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
BODIES = VALUES | st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name"]), VALUES, max_size=3)


@settings(deadline=None, max_examples=300)
@given(value=BODIES, inputs=st.sampled_from([FLOAT, INT64, STRING, TWO, DEFAULTED]))
def test_any_json_is_read_or_refused(value, inputs):
    """Each document is parsed or refused with an error of the client."""
    body = json.dumps(value).encode()
    with contextlib.suppress(ServingError):
        parse_predict(body, lambda name: inputs)


@settings(deadline=None, max_examples=300)
@given(body=st.binary(max_size=40) | TEXT.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_read_or_refused(body):
    """The bytes need not be JSON or text."""
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
    ],
)
def test_outputs_that_make_no_rows_are_refused(outputs, message):
    """As TensorFlow Serving does."""
    with pytest.raises(ServingError) as caught:
        format_predict(outputs, is_row=True)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("message", "expected"), [('Bad key: "é"', r'{"error":"Bad key: \"é\""}'), ("\udcff", '{"error":"?"}')]
)
def test_an_error_is_json_whatever_it_says(message, expected):
    """Even half of a surrogate pair, which a path may hold."""
    assert format_error(message).decode() == expected
