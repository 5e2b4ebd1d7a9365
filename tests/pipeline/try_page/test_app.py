"""The page server of `./graft try`: whom it answers, what it asks, its limits and its words."""

import base64
import http.client
import json
import logging
import re
import socket
import time

import pytest
from ports import pick_port
from stand_in_server import ANSWER, VERSION, make_metadata, serve_stand_in
from waiting import wait_until

from pipeline.pictures.heat_colours import COLOURS
from pipeline.try_page import app as page_app
from pipeline.try_page import model_server
from pipeline.try_page.app import create_app
from pipeline.try_page.guard import HEADERS, refuse
from pipeline.try_page.model_server import ModelServer
from serving.server.http_server import serve_http

IMAGE = b"an image \xff\0"


@pytest.fixture(scope="module")
def servers():
    """Yields the stand-in for a model server, its address, and the port of a page server that asks it."""
    with serve_stand_in() as (stand_in, address):
        server = ModelServer(address.replace("//", "//me:s%2Fcret@"), "my model")
        app = create_app(server, lambda version: {"resize": "crop"} if version == VERSION else {})
        with serve_http(app, "127.0.0.1", 0, 20.0, 1) as port:
            yield stand_in, address, port


@pytest.fixture
def stand_in(servers):
    servers[0].reset()
    return servers[0]


@pytest.fixture
def ask(servers, stand_in):
    """Returns a function that sends a request as the page does: (status, headers, document)."""

    def send(method, path, body=None, **headers):
        host = f"127.0.0.1:{servers[2]}"
        own = {"Host": host, "Origin": f"http://{host}"} if method == "POST" else {"Host": host}
        given = {name: value for name, value in (own | headers).items() if value is not None}
        connection = http.client.HTTPConnection("127.0.0.1", servers[2], timeout=120)
        connection.request(method, path, body, given)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        document = json.loads(content) if response.headers.get_content_type() == "application/json" else content
        return response.status, response.headers, document

    return send


def test_the_page_and_all_that_it_names_is_there(ask):
    """Each file comes with the policy that lets the page load nothing from elsewhere."""
    status, headers, page = ask("GET", "/")
    names = re.findall(r'(?:href|src)="([\w.]+)"', page.decode())
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert set(names) >= {"style.css", "try.css", "page.js"}
    scripts = set()
    while names:
        status, headers, content = ask("GET", f"/{names.pop()}")
        assert (status, {name: headers[name] for name in HEADERS}) == (200, HEADERS)
        imported = set(re.findall(rb'from "\./([\w.]+)"', content)) - scripts
        scripts |= imported
        names += [name.decode() for name in imported]
    assert scripts == {*map(str.encode, page_app._SCRIPTS), b"colours.js"} - {b"page.js"}
    assert not re.search(rb"\son\w+=|style=|<script>", page)  # the policy would stop it


def test_the_page_has_the_colours_of_the_drawn_heat_maps(ask):
    """A module for heat.js; JSON is JavaScript."""
    status, headers, module = ask("GET", "/colours.js")
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert json.loads(module.decode().removeprefix("export const COLOURS = ").rstrip(";\n")) == [*map(list, COLOURS)]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "[", "10.0.0.1:8501", "localhost@evil"]
)
@pytest.mark.parametrize("path", ["/", "/model", "/predict"])
def test_a_name_that_came_to_mean_this_machine_is_refused(ask, stand_in, host, path):
    """DNS rebinding: the browser sends the name of the foreign page."""
    status, headers, _ = ask("POST" if path == "/predict" else "GET", path, Host=host, Origin=f"http://{host}")
    assert (status, stand_in.asked) == (421, [])
    assert headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:9000", "LOCALHOST", "[::1]:9000"])
def test_a_tunnel_to_this_machine_is_served(ask, host):
    """It may have another port."""
    assert ask("POST", "/predict", IMAGE, Host=host, Origin=f"http://{host.lower()}")[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "http://localhost", None, ""]
)
def test_another_page_cannot_send_images(ask, stand_in, origin):
    """Nor one of another server of this machine; a POST without an Origin is no browser's."""
    assert ask("POST", "/predict", IMAGE, Origin=origin)[0] == 403
    assert stand_in.asked == []


def test_another_page_cannot_ask_for_the_model():
    """Where the browser sends an Origin with a GET."""
    assert refuse("GET", {"host": "localhost:1", "origin": "http://localhost:2"})[0] == 403
    assert refuse("GET", {"host": "localhost:1", "origin": "http://localhost:1"}) == (0, "")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/graft", 404), ("POST", "/v1/models/graft:predict", 404), ("GET", "/../graft.toml", 404),
        ("GET", "/%2e%2e/app.py", 404), ("GET", "/app.py", 404), ("POST", "/", 405), ("GET", "/predict", 405),
        ("POST", "/model", 405), ("GET", "http://evil.example/", 404), ("PUT", "/predict", 405),
    ],
)  # fmt: skip
def test_it_is_no_proxy(ask, stand_in, method, path, status):
    """Its paths are its own, and reach three questions alone."""
    host = "127.0.0.1"
    assert ask(method, path, Host=host, Origin=None if method == "GET" else f"http://{host}")[0] == status
    assert stand_in.asked == []


def test_the_page_is_told_of_the_model(ask, servers):
    """With the settings of the version, where they are known, and without the password."""
    status, _, told = ask("GET", "/model")
    assert (status, told["model"], told["server"]) == (200, "my model", servers[1])
    assert told["version"] == str(VERSION)
    assert (told["explains"], told["image_size"], told["problem"], told["resize"]) == (False, 64, "", "crop")
    assert told["max_bytes"] == model_server.MAX_IMAGE


def test_settings_of_another_version_are_not_told(ask, stand_in):
    """And a signature `explain` is."""
    stand_in.answers["/metadata"] = (200, make_metadata(explains=True, version=7))
    told = ask("GET", "/model")[2]
    assert (told["version"], told["explains"], "resize" in told) == ("7", True, False)


def test_an_image_is_sent_as_tensorflow_serving_takes_it(ask, stand_in):
    """One request with its bytes, to the fixed path, with the name and password of the address alone."""
    status, _, answer = ask("POST", "/predict?label=x", IMAGE, Cookie="a=b", Authorization="Bearer mine")
    assert (status, answer["label"], answer["accepted"]) == (200, "cat", True)
    assert answer["probabilities"] == [["cat", 0.75], ["dog", 0.25]]
    [(method, path, headers, body)] = stand_in.asked
    assert (method, path) == ("POST", "/v1/models/my model:predict")
    assert headers["authorization"] == "Basic " + base64.b64encode(b"me:s/cret").decode()
    assert "cookie" not in headers
    encoded = base64.b64encode(IMAGE).decode()
    assert json.loads(body) == {"signature_name": "serving_default", "instances": [{"b64": encoded}]}


@pytest.mark.parametrize("name", ["heatmap", None])
def test_a_heat_map_comes_with_its_name_or_without(ask, stand_in, name):
    """TensorFlow Serving leaves the name of an only output out."""
    heatmap = [[0.0, 0.5], [1.0, 2.0]]
    stand_in.answers["explain"] = (200, {"predictions": [{name: heatmap} if name else heatmap]})
    status, _, told = ask("POST", "/explain", IMAGE)
    assert (status, told["heatmap"]) == (200, [[0.0, 0.5], [1.0, 1.0]])
    assert told["coarse"].startswith("A heat map has 2 x 2 cells here, so it is coarse")


def test_a_heat_map_of_many_cells_is_not_called_coarse(ask, stand_in):
    stand_in.answers["explain"] = (200, {"predictions": [{"heatmap": [[0.0] * 7] * 7}]})
    assert not ask("POST", "/explain", IMAGE)[2]["coarse"]
    assert json.loads(stand_in.asked[0][3])["signature_name"] == "explain"


def test_a_model_of_graft_0_2_accepts_every_image(ask, stand_in):
    """It has no output `accepted`."""
    row = {name: value for name, value in ANSWER.items() if name != "accepted"}
    stand_in.answers[":predict"] = (200, {"predictions": [row]})
    assert ask("POST", "/predict", IMAGE)[2]["accepted"] is True


ERRORS = {
    "no image": (400, {"error": "none of JPEG, PNG"}, "refused", "not an image that"),
    "damaged": (400, {"error": "Invalid PNG data"}, "refused", "cannot be decoded"),
    "too large": (413, {"error": "Request body"}, "large", "larger than the model server takes"),
    "busy": (503, {"error": ""}, "busy", "busy"),
    "late": (504, {"error": "Timed out"}, "late", "Timed out"),
    "withdrawn": (404, {"error": "Servable not found"}, "gone", "has no model my model: Servable not found"),
    "another server": (404, b"<html>", "gone", "not as a model server does"),
    "broken": (500, b"<html>", "other", "nothing (500)"),
    "no JSON": (200, b"<html>", "gone", "not as a model server does"),
    "redirected": (302, b"", "other", "(302)"),
    "another signature": (200, {"predictions": [[1.0, 2.0]]}, "other", "no label, classes and probabilities"),
    "two rows": (200, {"predictions": [ANSWER, ANSWER]}, "other", "no prediction"),
    "no numbers": (200, {"predictions": [ANSWER | {"probabilities": [float("nan"), 1.0]}]}, "other", "no numbers"),
    "fewer classes": (200, {"predictions": [ANSWER | {"classes": ["cat"]}]}, "other", "no label, classes"),
    "deep": (200, b"[" * 100_000, "gone", "not as a model server"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "content", "kind", "words"), ERRORS.values(), ids=ERRORS)
def test_each_failure_is_told_by_its_kind(ask, stand_in, status, content, kind, words):
    """The kind says what the page does: try again, wait, or tell the reason."""
    stand_in.answers[":predict"] = (status, content)
    answered, _, told = ask("POST", "/predict", IMAGE)
    assert told["kind"] == kind
    assert words in told["error"]
    assert answered == model_server.AnswerError("", kind=kind).status


def test_a_heat_map_of_one_cell_is_told_and_not_drawn(ask, stand_in):
    """The demo's network sees 32 x 32 pixels: the picture would have one colour all over."""
    stand_in.answers["explain"] = (200, {"predictions": [{"heatmap": [[1.0]]}]})
    status, _, told = ask("POST", "/explain", IMAGE)
    assert (status, told["kind"]) == (502, "other")
    assert "a heat map has one cell" in told["error"]


@pytest.mark.parametrize("content", [{"predictions": [{"other": []}]}, {"predictions": [[[1], [1, 2]]]}, {}])
def test_an_answer_without_a_heat_map_is_told(ask, stand_in, content):
    """Rows of different lengths are none either."""
    stand_in.answers["explain"] = (200, content)
    assert ask("POST", "/explain", IMAGE)[0] == 502


OTHER_SIGNATURES = {
    "numbers": ({"x": {"dtype": "DT_FLOAT"}}, {}, "takes x (DT_FLOAT)"),
    "two inputs": ({"a": {"dtype": "DT_STRING"}, "b": {"dtype": "DT_STRING"}}, {}, "takes a (DT_STRING), b"),
    "no classes": ({"a": {"dtype": "DT_STRING"}}, {"label": {}}, "no classes and no probabilities"),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "outputs", "words"), OTHER_SIGNATURES.values(), ids=OTHER_SIGNATURES)
def test_a_model_that_takes_no_images_is_told(ask, stand_in, inputs, outputs, words):
    """Before an image is sent."""
    metadata = make_metadata()
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    signatures["serving_default"] = {"inputs": inputs, "outputs": outputs}
    stand_in.answers["/metadata"] = (200, metadata)
    assert words in ask("GET", "/model")[2]["problem"]


def test_a_server_that_is_gone_is_told(servers):
    """By its address."""
    server = ModelServer(f"http://127.0.0.1:{pick_port()}", "graft")
    for question in (server.describe, lambda: server.predict(b"x")):
        with pytest.raises(model_server.AnswerError, match="does not answer") as failed:
            question()
        assert failed.value.kind == "gone"


def test_a_larger_image_is_refused_unread(ask, stand_in, monkeypatch):
    """By its declared length, and by what comes where none is declared; the connection ends."""
    monkeypatch.setattr(page_app, "MAX_IMAGE", 10)
    assert ask("POST", "/predict", b"x" * 10)[0] == 200
    stand_in.asked.clear()
    for body in (b"x" * 11, iter([b"x" * 6, b"x" * 6])):
        status, headers, told = ask("POST", "/predict", body)
        assert (status, told["kind"], headers["Connection"]) == (413, "large", "close")
    assert stand_in.asked == []


def test_the_largest_image_fits_into_a_request():
    """Of the built-in server, in base64 and with the words around it."""
    whole = len('{"signature_name": "serving_default", "instances": [{"b64": ""}]}') + model_server.MAX_IMAGE * 4 // 3
    assert model_server.MAX_REQUEST - 1024 < whole <= model_server.MAX_REQUEST


def test_a_request_under_way_holds_up_no_end(servers, stand_in):
    """The model server may never answer."""
    stand_in.held.clear()
    logger = logging.getLogger("uvicorn.error")
    with serve_http(create_app(ModelServer(servers[1], "graft"), lambda _: {}), "127.0.0.1", 0, 20.0, 1) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("POST", "/predict", IMAGE, {"Origin": f"http://127.0.0.1:{port}"})
        wait_until(lambda: stand_in.asked)
        level, started = logger.level, time.monotonic()
        logger.setLevel(logging.CRITICAL)
    logger.setLevel(level)
    connection.close()
    assert time.monotonic() - started < 15
    stand_in.held.set()


def test_time_limits(ask, servers, stand_in, monkeypatch):
    """For an image to come, and for its answer; the page server goes on."""
    monkeypatch.setattr(page_app, "_BODY_SECONDS", 0.1)
    host = f"127.0.0.1:{servers[2]}"
    with socket.create_connection(("127.0.0.1", servers[2]), timeout=120) as slow:
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 9\r\n\r\nx"
        slow.sendall(head.encode())
        assert b"did not arrive within 0.1 seconds" in slow.makefile("rb").read()
    monkeypatch.undo()
    monkeypatch.setattr(page_app, "SECONDS", 0.1)
    stand_in.held.clear()
    assert ask("POST", "/predict", IMAGE)[::2] == (504, {"kind": "late", "error": "no answer within 0.1 seconds"})
    stand_in.held.set()
    monkeypatch.undo()
    assert ask("POST", "/predict", IMAGE)[0] == 200
