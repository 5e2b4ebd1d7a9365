"""Both clients against a model of Graft in the built-in server: the same answers, and the same errors."""

import pathlib
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from small_networks import build_color_classifier, to_network

from schema.errors import UsageError
from serving.client.client import BATCH, RestClient, ServerError, ask_version, connect
from serving.client.launch import start_server
from serving.client.predict import predict_files
from serving.export.signatures import export_saved_model

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model_dir(transform_graph, classes, tmp_path_factory):
    """Returns a folder with versions 1 and 2 of a small classifier of the mean colour."""
    network = build_color_classifier(0.05, cells=2)
    folder = tmp_path_factory.mktemp("serving") / "graft"
    for number in "12":
        export_saved_model(to_network(network), tft.TFTransformOutput(transform_graph), classes, str(folder / number))
    return folder


@pytest.fixture(scope="module")
def server(model_dir, tmp_path_factory):
    """Yields the built-in server with that model; version 1 has the label stable."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "graft" base_path: "{model_dir}" model_platform: "tensorflow" '
        'model_version_policy { latest { num_versions: 2 } } version_labels { key: "stable" value: 1 } } }'
    )
    flags = [f"--model_config_file={config}", "--enable_batching=true"]
    with start_server("graft", str(model_dir), flags=flags) as started:
        yield started


@pytest.fixture(params=["gRPC", "REST"])
def address(request, server):
    """Returns the address of each endpoint of the server."""
    return f"grpc://{server.grpc_address}" if request.param == "gRPC" else server.rest_address


@pytest.fixture
def images(make_images, tmp_path):
    """Returns more images than one request holds."""
    return make_images(tmp_path, "cat", BATCH + 3)


def test_a_server_says_what_the_model_itself_says(address, images, model_dir):
    """Label, probabilities and order, over several requests; of paths and of bytes."""
    expected = list(predict_files(str(model_dir), list(map(str, images))))
    with connect(address) as client:
        found = list(client.predict(images))
        again = list(client.predict([image.read_bytes() for image in images]))
    assert [p.path for p in found] == list(map(str, images))
    assert [p.label for p in found] == [p.label for p in again] == [p.label for p in expected]
    for predictions in (found, again):
        difference = [
            abs(p.probabilities["dog"] - q.probabilities["dog"]) for p, q in zip(predictions, expected, strict=True)
        ]
        assert max(difference) < 1e-5


@pytest.mark.long
def test_a_server_explains_as_the_model_itself_does(address, images, model_dir):
    """The heat maps of both are the same, and come with the predictions."""
    expected = list(predict_files(str(model_dir), list(map(str, images)), explain=True))
    with connect(address) as client:
        found = list(client.predict(images, explain=True))
    assert [p.label for p in found] == [p.label for p in expected]
    for p, q in zip(found, expected, strict=True):
        assert p.heat_map.view == q.heat_map.view
        np.testing.assert_allclose(p.heat_map.heat, q.heat_map.heat, atol=1e-5)


ONE_CELL = {"outputs": {"heatmap": {"tensor_shape": {"dim": [{"size": "-1"}, {"size": "1"}, {"size": "1"}]}}}}


@pytest.mark.parametrize(
    ("found", "words"), [({}, "has no signature explain"), ({"explain": ONE_CELL}, ".* a heat map has one cell")]
)
def test_a_server_whose_model_explains_nothing_says_so_once(monkeypatch, images, found, words):
    """An earlier Graft's, or one of few pixels: before any image is sent."""
    asked = []
    answer = {"metadata": {"signature_def": {"signature_def": found}}}
    monkeypatch.setattr(RestClient, "_call", lambda *call, **_: asked.append(call[2]) or answer)
    with connect("http://localhost:9") as client, pytest.raises(UsageError, match=f"the server's model: {words}"):
        list(client.predict(images, explain=True))
    assert asked == ["/metadata"]


def test_a_server_names_the_version_that_answers(address):
    """By its label, or the newest."""
    for label, version in (("", "2"), ("stable", "1")):
        with connect(address, label=label) as client:
            assert ask_version(client) == version


BROKEN = {
    "Text named .jpg": "not an image that TensorFlow reads",
    "Empty": "not an image that TensorFlow reads",
    "WebP": "not an image that TensorFlow reads",
    "JPEG, cut off": "cut off or damaged",
    "PNG, cut off": "cut off or damaged",
    "PNG bomb": "more than 1 megapixels",
    "JPEG bomb": "more than 1 megapixels",
    "GIF bomb": "more than 1 megapixels",
    "BMP bomb": "more than 1 megapixels",
}


@pytest.mark.parametrize(("kind", "words"), BROKEN.items())
def test_a_broken_image_says_so_and_spoils_no_other(address, images, make_file, kind, words):
    """In the middle of a request; the server answers later requests."""
    with connect(address) as client:
        found = list(client.predict([images[0], make_file(kind), images[1], "none.jpg"]))
    assert [bool(p.label) for p in found] == [True, False, True, False]
    assert words in found[1].problem
    assert found[3].problem == "no such file"


def test_metadata_is_the_same_by_either_way(server):
    """Signatures with types and shapes."""
    with connect(f"grpc://{server.grpc_address}") as by_grpc, connect(server.rest_address) as by_rest:
        assert by_grpc.metadata() == by_rest.metadata()
        signatures = by_rest.metadata()["metadata"]["signature_def"]["signature_def"]
        assert {"serving_default", "examples", "transform_features"} <= set(signatures)
        assert signatures["serving_default"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"model_name": "other"}, "Servable not found for request: Latest(other)"),
        ({"label": "beta"}, "Unrecognized servable version label: beta"),
    ],
)
def test_what_is_not_served_is_an_error_not_a_bad_image(address, images, choice, words):
    """One error in all, not a problem per image."""
    with connect(address, **choice) as client, pytest.raises(ServerError) as caught:
        list(client.predict(images))
    assert words in str(caught.value)


def test_large_images_are_sent_in_smaller_requests(address, images, tmp_path):
    """Eight photographs of 5 MB exceed one request; a photograph that exceeds a request alone gets a problem."""
    large = tmp_path / "large.jpg"
    large.write_bytes(images[0].read_bytes() + bytes(5_000_000))
    larger = images[0].read_bytes() + bytes(40_000_000)
    with connect(address) as client:
        found = list(client.predict([large] * 8 + [larger, images[1]]))
    assert [bool(p.label) for p in found] == [True] * 8 + [False, True]
    assert "larger" in found[8].problem.lower()


def test_the_version_of_a_label_answers(address, images):
    """`stable` is version 1 here, which is not the newest."""
    with connect(address, label="stable") as client:
        assert [bool(p.label) for p in client.predict(images[:2])] == [True, True]


@pytest.mark.parametrize("address", ["grpc://127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_server_that_is_not_there_is_said(address):
    """After a few attempts, the error is one line with the address."""
    with connect(address, timeout=5) as client, pytest.raises(ServerError, match=r"127\.0\.0\.1:1") as caught:
        client.metadata()
    assert caught.value.code == "UNAVAILABLE"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["localhost:8500", "ftp://a", "grpc://", "http://a:b", "http://a/v1/models", "grpc://a:99999"]
)
def test_an_address_that_is_none_is_refused(address):
    """With an example."""
    with pytest.raises(UsageError, match="grpc://localhost:8500"):
        connect(address)


def read_examples(page, language):
    """Returns the code blocks of a page in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block.partition("```")[0] for block in text.split(f"```{language}\n")[1:]]


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_curl_of_the_readme_works(server, images):
    """Runs in a shell, with the port and the image filled in."""
    (command,) = [block for block in read_examples("README.md", "sh") if "curl" in block and "base64" in block]
    command = command.replace("cat.jpg", shlex.quote(str(images[0]))).replace(
        "localhost:8501", f"127.0.0.1:{server.rest_port}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=True)
    assert '"label"' in done.stdout
    assert '"predictions"' in done.stdout


def test_the_plain_protobuf_of_the_page_works(server, images, tmp_path):
    """Runs as a separate program that does not import Graft."""
    (program,) = [block for block in read_examples("docs/serving.md", "python") if "PredictRequest" in block]
    program = program.replace("cat.jpg", str(images[0])).replace("localhost:8500", server.grpc_address)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    with connect(f"grpc://{server.grpc_address}") as client:
        (expected,) = client.predict([images[0]])
    assert expected.label in done.stdout


def test_probabilities_of_rest_are_those_of_grpc_to_the_bit(server, images):
    """JSON loses nothing of a float32."""
    with connect(f"grpc://{server.grpc_address}") as by_grpc, connect(server.rest_address) as by_rest:
        pairs = zip(by_grpc.predict(images), by_rest.predict(images), strict=True)
        for one, other in pairs:
            assert np.float32(one.probabilities["cat"]) == np.float32(other.probabilities["cat"])


def test_a_request_in_the_wrong_words_is_the_servers_error(server):
    """A tensor of numbers where encoded images are expected."""
    with connect(f"grpc://{server.grpc_address}") as client:
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(model_spec=client._spec)
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([1.0]))
        with pytest.raises(ServerError, match=r"expected values of type string, got float32 \(INVALID_ARGUMENT\)"):
            client._call(client._prediction.Predict, request)
