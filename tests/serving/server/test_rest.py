"""The REST endpoint, over HTTP; bodies and status codes are TensorFlow Serving's."""

import base64
import contextlib
import gzip
import http.client
import json
import socket
import urllib.parse

import hypothesis
import numpy as np
import pytest
import requests
from hypothesis import strategies as st
from ports import pick_port
from waiting import wait_until

from serving.server.configs import MonitoringConfig
from serving.server.http_server import serve_http
from serving.server.memory import MemoryBudget
from serving.server.metrics import Metrics
from serving.server.rest import RestApi, create_app

MOST = 100_000
PATH = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def serve(half_plus_two, scaled, make_config):
    """Returns a function that serves two models and returns the port."""
    from serving.server.models import ModelStore

    with contextlib.ExitStack() as stack:

        def start(timeout=20.0):
            store = stack.enter_context(contextlib.closing(ModelStore()))
            config = make_config(m=scaled, policy="all", labels={"stable": 1})
            config.model_config_list.MergeFrom(make_config(half=half_plus_two).model_config_list)
            store.configure(config)
            metrics = Metrics()
            api = RestApi(store, metrics, 4, timeout, MOST, MemoryBudget(2, MOST))
            app = create_app(api, metrics, MonitoringConfig(enable=True, path=PATH))
            port = pick_port()
            stack.enter_context(serve_http(app, "127.0.0.1", port, timeout))
            wait_until(lambda: accepts(port))
            return port

        yield start


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


@pytest.fixture(scope="module")
def port(serve):
    return serve()


@pytest.fixture(scope="module")
def ask(port):
    """Returns a function that sends a request and returns status code and parsed body."""

    def send(path, body=None, method=None):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        method = method or ("GET" if data is None else "POST")
        response = requests.request(method, f"http://127.0.0.1:{port}{path}", data=data, timeout=120)
        assert response.headers["content-type"] == "application/json"
        return response.status_code, response.json()

    return send


def test_rows_and_columns(ask):
    """As TensorFlow Serving's own test asks: plain lists, of which the shape is not that of the signature."""
    assert ask("/v1/models/half:predict", {"instances": [2.0, 3.0, 4.0]}) == (200, {"predictions": [3.0, 3.5, 4.0]})
    assert ask("/v1/models/half:predict", {"inputs": [2.0, 3.0, 4.0]}) == (200, {"outputs": [3.0, 3.5, 4.0]})


def test_bytes_go_in_and_out_as_base64(ask):
    """Out of an output whose name ends in _bytes; any other string is text."""
    encoded = base64.b64encode("é\n".encode()).decode()
    body = {"signature_name": "echo", "instances": [{"b64": encoded}]}
    answer = {"text": "é\n", "text_bytes": {"b64": encoded}, "length": 3}
    assert ask("/v1/models/m:predict", body) == (200, {"predictions": [answer]})


def test_nan_and_infinity_are_printed_as_such(port):
    """They are no JSON, but TensorFlow Serving prints and accepts them."""
    body = b'{"instances": [[NaN], [Infinity], [1e0], [-Infinity]]}'
    url = f"http://127.0.0.1:{port}/v1/models/half:predict"
    text = requests.post(url, data=body, timeout=120).text
    assert "NaN" in text
    assert "Infinity" in text
    assert "-Infinity" in text


def test_an_input_with_a_default_may_be_omitted(ask):
    """In columns and in rows."""
    body = {"signature_name": "multiply", "inputs": {"x": [1, 2]}}
    assert ask("/v1/models/m:predict", body) == (200, {"outputs": [3.0, 6.0]})
    body = {"signature_name": "multiply", "instances": [{"x": 1}, {"x": 2}]}
    assert ask("/v1/models/m:predict", body) == (200, {"predictions": [3.0, 6.0]})


def test_a_scalar_string_is_an_output(ask):
    """In columns; it has no rows."""
    body = {"signature_name": "join", "inputs": "a"}
    assert ask("/v1/models/m:predict", body) == (200, {"outputs": {"joined": "a!", "length": 1}})


def test_versions_and_labels_are_in_the_path(ask):
    """In any case of the letters."""
    body = {"instances": [[1, 1]]}
    for path, scale in (("", 2.0), ("/versions/1", 1.0), ("/labels/stable", 1.0), ("/VERSIONS/2", 2.0)):
        assert ask(f"/v1/models/m{path}:predict", body) == (
            200, {"predictions": [{"scale": scale, "scaled": [scale, scale]}]}
        )  # fmt: skip


def test_status_and_metadata(ask):
    """The status of each version; numbers of 64 bits are strings, as protobuf writes them."""
    status = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert ask("/v1/models/half") == (200, {"model_version_status": [{"version": "123", **status}]})
    assert ask("/v1/models/m/versions/1")[1]["model_version_status"] == [{"version": "1", **status}]
    assert ask("/v1/models/m/labels/stable") == ask("/v1/models/m")
    code, metadata = ask("/v1/models/half/metadata")
    assert code == 200
    assert metadata["model_spec"] == {"name": "half", "signature_name": "", "version": "123"}
    x = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"]
    assert (x["dtype"], [dim["size"] for dim in x["tensor_shape"]["dim"]]) == ("DT_FLOAT", ["-1", "1"])


BAD = {
    "unknown model": ("/v1/models/n:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(n)"),
    "unknown version": ("/v1/models/m/versions/7:predict", {"instances": [1]}, 404, "Specific(m, 7)"),
    "huge version": ("/v1/models/m/versions/99999999999999999999:predict", {}, 400, "Failed to convert version"),
    "unknown label": ("/v1/models/m/labels/x:predict", {"instances": [1]}, 400, "version label: x"),
    "status of an unknown model": ("/v1/models/n", None, 404, "Could not find any versions of model n"),
    "no model": ("/v1/models", None, 400, "Missing model name in request."),
    "a version of no model": ("/v1/models/versions/1", None, 400, "Missing model name in request."),
    "an empty model": ("/v1/models/", None, 400, "Malformed request: GET /v1/models/"),
    "a query": (
        "/v1/models/m:predict?a=b",
        {"instances": [1]},
        400,
        "Malformed request: POST /v1/models/m:predict?a=b",
    ),
    "a query is part of the name": ("/v1/models/m?a=b", None, 404, "Could not find any versions of model m?a=b"),
    "unknown verb": ("/v1/models/m:explain", {"instances": [1]}, 400, "Malformed request: POST /v1/models/m:explain"),
    "another path": ("/v1/anything", None, 400, "Malformed request: GET /v1/anything"),
    "outside the API": ("/v2/anything", None, 404, "Not found: GET /v2/anything"),
    "the root": ("/", None, 404, "answers below /v1/"),
    "no JSON": ("/v1/models/m:predict", b"\x00\xff", 400, "JSON Parse error"),
    "gzip": ("/v1/models/m:predict", gzip.compress(b'{"instances": [[1, 1]]}'), 400, "send it uncompressed"),
    "empty body": ("/v1/models/m:predict", b"", 400, "JSON Parse error: The document is empty"),
    "deep JSON": ("/v1/models/m:predict", b'{"instances": ' + b"[" * 40_000, 400, "JSON"),
    "unknown signature": ("/v1/models/m:predict", {"signature_name": "x", "instances": [1]}, 400, '"x" not found'),
    "wrong type": ("/v1/models/m:predict", {"instances": [["a", "b"]]}, 400, "not of expected type: float"),
    "broken base64": ("/v1/models/m:predict", {"signature_name": "echo", "instances": [{"b64": "%"}]}, 400, "base64"),
    "refused by the graph": ("/v1/models/m:predict", {"instances": [[-1, 1]]}, 400, "x is negative"),
    "wrong shape": ("/v1/models/m:predict", {"instances": [[[1]], [[2]]]}, 400, ""),
    "classify": ("/v1/models/m:classify", {"examples": [{"x": 1}]}, 501, "Use Predict"),
    "regress": ("/v1/models/m/versions/1:REGRESS", {}, 501, "Use Predict"),
    "raw bytes": (
        "/v1/models/m:predict",
        {"signature_name": "parse", "instances": [{"b64": "/9j/"}]},
        400,
        "\\xff\\xd8",
    ),
    "no base64": ("/v1/models/m:predict", {"signature_name": "parse", "instances": ["/9j/"]}, 400, '{"b64": "..."}'),
    "no values": ("/v1/models/m:predict", {"inputs": []}, 400, "No values in 'inputs' array"),
    "no values of a name": ("/v1/models/m:predict", {"inputs": {"x": []}}, 400, "Input 'x' has no values"),
    "too large": ("/v1/models/m:predict", b"x" * (MOST + 1), 413, f"larger than the maximum of {MOST}"),
}


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_answered_says_so(ask, path, body, status, words):
    """In a body of one key, and the next request is answered."""
    code, answer = ask(path, body)
    assert (code, list(answer)) == (status, ["error"])
    assert words in answer["error"]
    assert ask("/v1/models/half:predict", {"instances": [2.0]})[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
def test_a_compressed_body_is_refused_in_words(port, encoding):
    """By its header, before it is read."""
    url, headers = f"http://127.0.0.1:{port}/v1/models/half:predict", {"Content-Encoding": encoding}
    response = requests.post(url, data=b"{}", headers=headers, timeout=120)
    assert (response.status_code, list(response.json())) == (415, ["error"])
    assert f"Content-Encoding {encoding} is not read" in response.json()["error"]
    plain = requests.post(url, json={"instances": [2.0]}, headers={"Content-Encoding": "identity"}, timeout=120)
    assert plain.status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_wrong_methods_are_malformed(ask, method):
    """As in TensorFlow Serving."""
    code, answer = ask("/v1/models/m:predict", {"instances": [1]}, method)
    assert (code, answer) == (400, {"error": f"Malformed request: {method} /v1/models/m:predict"})


def test_a_head_is_malformed(port):
    """As TensorFlow Serving has it: http_rest_api_handler.cc knows GET and POST."""
    assert requests.head(f"http://127.0.0.1:{port}/v1/models/half", timeout=120).status_code == 400


def test_a_large_body_without_a_length_is_cut_off(port):
    """Chunk by chunk, so that nobody need say how much will come."""
    chunks = (b"x" * 10_000 for _ in range(1000))
    try:
        response = requests.post(f"http://127.0.0.1:{port}/v1/models/m:predict", data=chunks, timeout=120)
    except requests.ConnectionError:
        return  # the connection was closed while it was sending
    assert response.status_code == 413


def test_a_slow_client_is_let_go(serve):
    """A body that does not come, a head that does not end, and a second one; the server goes on with the others."""
    port = serve(timeout=1.0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.putrequest("POST", "/v1/models/half:predict")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    with socket.create_connection(("127.0.0.1", port), timeout=120) as half_a_head:
        half_a_head.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\n")
        assert half_a_head.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as second_head:
        second_head.sendall(b"GET /v1/models/half HTTP/1.1\r\nHost: a\r\n\r\nG")
        while received := second_head.recv(10_000):
            assert received
    response = connection.getresponse()
    assert response.status == 408
    assert "did not arrive within 1 seconds" in json.loads(response.read())["error"]
    url = f"http://127.0.0.1:{port}/v1/models/half:predict"
    assert requests.post(url, json={"instances": [2.0]}, timeout=120).status_code == 200


def test_a_client_that_hangs_up_disturbs_nobody(port, ask):
    """In the middle of its body."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
    assert ask("/v1/models/half:predict", {"instances": [2.0]})[0] == 200


def test_what_is_no_http_is_refused(port, ask):
    """Such as TLS, or a heap of header lines."""
    for head in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 99_999,
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as client, contextlib.suppress(OSError):
            client.sendall(head)
            assert not client.recv(1000).startswith(b"HTTP/1.1 200")
    assert ask("/v1/models/half")[0] == 200


_WORDS = st.sampled_from(
    ["v1", "models", "m", "half", "versions", "labels", "1", "metadata", "", "%2F", "%zz", "\u00e9", ".."]
)
_VERBS = st.sampled_from(["", ":predict", ":classify", ":regress", ":explain", ":", "?a=b"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "x", "y", ""]), inner, max_size=3)
    ),
    max_leaves=9,
)
_KEYS = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name", "other"])
_BODIES = st.binary(max_size=99) | st.dictionaries(_KEYS, _VALUES, max_size=3).map(lambda v: json.dumps(v).encode())


@hypothesis.settings(max_examples=300, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.lists(_WORDS, max_size=7).map("/".join) | st.just("v1/models/m"),
    _VERBS,
    _BODIES,
)
def test_whatever_is_asked_is_answered_in_bounds(port, method, path, verb, body):
    """By one of the codes there are, and never as the server's own fault."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, "/" + urllib.parse.quote(path + verb, safe="/:%?=."), body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status in (200, 400, 404, 501), content
    assert response.status == 200 or list(json.loads(content)) == ["error"]


def test_prometheus_reads_how_many_requests_there_were(port, ask):
    """By model and status, under TensorFlow Serving's names; no model that is not there."""
    ask("/v1/models/half:predict", {"instances": [2.0]})
    ask("/v1/models/half:predict", {"instances": ["a"]})
    ask("/v1/models/made-up:predict", {"instances": [2.0]})
    page = requests.get(f"http://127.0.0.1:{port}{PATH}", timeout=120)
    assert page.headers["content-type"].startswith("text/plain")
    counts = {line.split(" ")[0]: float(line.split(" ")[1]) for line in page.text.splitlines() if line[0] == ":"}
    assert counts[':tensorflow:serving:request_count{model_name="half",status="OK"}'] >= 1
    assert counts[':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"}'] >= 1
    assert any(name.startswith(":tensorflow:serving:request_latency_bucket{") for name in counts)
    assert "made-up" not in page.text


def test_numbers_come_back_as_they_are(ask):
    """Whole numbers as floats, small ones as JSON writes them."""
    values = [0.1, 1e-30, 16777216.0, -0.0]
    _, answer = ask("/v1/models/m:predict", {"instances": [[abs(v), 0] for v in values]})
    found = np.float32([row["scaled"][0] for row in answer["predictions"]])
    np.testing.assert_array_equal(found, 2 * np.abs(np.float32(values)))


CHUNKS = b'18\r\n{"instances": [[1, 1]]} \r\n0\r\n\r\n'
LENGTH, CHUNKED = b"Content-Length: 24\r\n", b"Transfer-Encoding: chunked\r\n"
NEXT = b"GET /v1/models/half HTTP/1.1\r\nHost: a\r\n\r\n"
# By RFC 9112: 6.3 (length), 6.1 (transfer coding), 5 (fields), 7.1 (chunks).
AMBIGUOUS = {
    "length and chunks": (LENGTH + CHUNKED, CHUNKS),
    "chunks and length": (CHUNKED + LENGTH, CHUNKS),
    "chunks in another case, and length": (b"transfer-encoding:\t CHUNKED \r\n" + LENGTH, CHUNKS),
    "chunks in a folded line, and length": (b"Transfer-Encoding:\r\n chunked\r\n" + LENGTH, CHUNKS),
    "two lengths": (LENGTH + b"Content-Length: 25\r\n", CHUNKS),
    "two lengths in one field": (b"Content-Length: 24, 25\r\n", CHUNKS),
    "a signed length": (b"Content-Length: +24\r\n", CHUNKS),
    "a negative length": (b"Content-Length: -1\r\n", CHUNKS),
    "a length of two numbers": (b"Content-Length: 2 4\r\n", CHUNKS),
    "a folded length": (b"Content-Length: 2\r\n 4\r\n", CHUNKS),
    "no length": (b"Content-Length:\r\n", CHUNKS),
    "a space before the colon": (b"Content-Length : 24\r\n", CHUNKS),
    "chunked twice": (CHUNKED + CHUNKED, CHUNKS),
    "chunked twice in one field": (b"Transfer-Encoding: chunked, chunked\r\n", CHUNKS),
    "another coding": (b"Transfer-Encoding: xchunked\r\n", CHUNKS),
    "a carriage return alone": (b"X: a\r" + CHUNKED, CHUNKS),
    "a chunk of signed size": (CHUNKED, b"+" + CHUNKS),
    "a chunk that goes on": (CHUNKED, CHUNKS.replace(b"\r\n0", b"XX0")),
    "a line feed alone behind a chunk's size": (CHUNKED, CHUNKS.replace(b"18\r", b"18")),
}


@pytest.mark.parametrize("path", [b"/v1/models/m:predict", PATH.encode()])
@pytest.mark.parametrize(("fields", "body"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_of_unclear_length_ends_its_connection(port, path, fields, body):
    """A proxy before the server may see another end, and take for a request what was part of the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body + NEXT)
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("fields", [CHUNKED, b"Transfer-Encoding: Chunked\r\n"])
def test_a_request_in_chunks_is_followed_by_another(port, fields):
    """The end of a chunked request is clear."""
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\n" + fields
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(head + b"\r\n" + CHUNKS + NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answers.count(b"HTTP/1.1 200 ") == 2
