"""A candidate is tried in a model server, and is not blessed if a client would get other answers than the Evaluator."""

import contextlib
import json
import pathlib
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from image_files import CLASSES
from small_networks import build_color_classifier, to_network
from tfx.types import artifact_utils, standard_artifacts

from components import progress
from components.records.serving_verdict import ServingVerdict
from components.serving_validator.component import ServingSettings, ServingValidatorExecutor
from schema.errors import GraftError
from serving.client import launch
from serving.export import signatures
from serving.export.signatures import ServedModel, export_saved_model
from serving.export.warmup_requests import write_warmup_requests

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    """Tells images apart by their colour."""
    return build_color_classifier(0.01)


@pytest.fixture(scope="module")
def transform_output(transform_graph):
    return tft.TFTransformOutput(transform_graph)


@pytest.fixture(scope="module")
def images(encode_image):
    return [(encode_image(kind, seed=seed), CLASSES[seed % 2]) for seed, kind in enumerate(["jpeg", "png", "gif"] * 4)]


@pytest.fixture(scope="module")
def examples(tmp_path_factory, write_examples, images):
    """Twelve test images in two files."""
    folder = write_examples(tmp_path_factory.mktemp("examples") / "written", {"test": [images[:7], images[7:]]})
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(["train", "val", "test"])
    return artifact


@pytest.fixture(scope="module")
def exported(network, transform_output, images, tmp_path_factory):
    """The Trainer's artifact with a good model."""
    folder = tmp_path_factory.mktemp("model")
    path = str(folder / "Format-Serving")
    export_saved_model(to_network(network), transform_output, CLASSES, path)
    write_warmup_requests(path, [image for image, _ in images], "flowers")
    return folder


class Liar(ServedModel):
    """Answers images otherwise than examples."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve_images(self, image_bytes):
        answer = super().serve_images(image_bytes)
        return self.describe(answer["probabilities"][:, ::-1])


class Painter(ServedModel):
    """Answers with heat maps that are no numbers."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def explain_images(self, image_bytes):
        answer = super().serve_images(image_bytes)
        heat_maps = tf.fill([tf.size(image_bytes), 1, 1], np.nan)
        return answer | self.view.describe(tf.size(image_bytes)) | {"heatmap": heat_maps}


SIGNATURES = {
    "serving_default": "serve_images",
    "examples": "serve_examples",
    "transform_features": "transform_labels",
    "pixels": "serve_pixels",
    "explain": "explain_images",
}


def save(served, path):
    tf.saved_model.save(served, path, signatures={name: getattr(served, f) for name, f in SIGNATURES.items()})
    signatures._write(f"{path}/assets.extra/classes.json", json.dumps(CLASSES))


@pytest.fixture
def validate(examples, exported, tmp_path):
    """Returns a function that runs the executor; gives the artifact's property, its files and the verdict."""

    def run(model=exported, blessed=1, **changes):
        artifacts = {"model": standard_artifacts.Model(), "blessing": standard_artifacts.ModelBlessing()}
        artifacts["model"].uri = str(model)
        artifacts["blessing"].set_int_custom_property("blessed", blessed)
        output = standard_artifacts.InfraBlessing()
        output.uri = str(tmp_path / "infra_blessing")
        pathlib.Path(output.uri).mkdir()
        settings = {"model_name": "flowers", "classes": CLASSES, "images": 10}
        settings |= {"max_latency_ms": 5000.0, "max_serving_mb": 4096.0} | changes
        ServingValidatorExecutor().Do(
            {"examples": [examples], **{name: [artifact] for name, artifact in artifacts.items()}},
            {"infra_blessing": [output]},
            {"settings": ServingSettings(**settings).model_dump_json(), "server_digest": ""},
        )
        files = {path.name: path.read_text() for path in pathlib.Path(output.uri).iterdir()}
        verdict = json.loads(files.pop(ServingVerdict.FILE, "null"))
        return types.SimpleNamespace(mark=output.get_int_custom_property("blessed"), files=set(files), verdict=verdict)

    return run


@pytest.fixture
def no_server(monkeypatch):
    """Starting one, or waiting for it, would fail the test."""
    monkeypatch.setattr(launch, "start_server", lambda *args, **kwargs: pytest.fail("a server was started"))


@pytest.fixture
def dead_server(monkeypatch):
    """A server that seems to have started, and has ended."""
    process = types.SimpleNamespace(poll=lambda: -11, kill=lambda: None)
    server = types.SimpleNamespace(
        process=process, grpc_address="127.0.0.1:1", rest_address="", name="server", describe_end=lambda: "Aborted"
    )
    monkeypatch.setattr(launch, "start_server", lambda *args, **kwargs: contextlib.nullcontext(server))
    return server


@pytest.fixture
def server_says(monkeypatch, tmp_path):
    """Returns a function that puts a program in the place of the server, which says a text and ends."""

    def replace(text):
        program = tmp_path / "tensorflow_model_server"
        program.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return replace


def test_a_good_model_is_blessed(validate):
    """As TFX's InfraValidator marks it, with what was measured; either way each image is asked alone and in a batch."""
    events = []
    with progress.listen(events.append):
        result = validate()
    assert (result.mark, result.files) == (1, {"INFRA_BLESSED"}), result.verdict
    verdict = result.verdict
    assert (verdict["blessed"], verdict["reasons"], verdict["images"]) == (True, [], 10)
    assert verdict["server"] == "the built-in server"
    assert 0 < verdict["median_ms_grpc"] < 5000 > verdict["median_ms_rest"] > 0
    assert 100 < verdict["memory_mb"] < 4096
    for step in ("answers by gRPC", "answers by REST"):
        assert sum(event.done for event in events if event.step == step) == 20
        assert {event.total for event in events if event.step == step} == {20}


@pytest.mark.long
def test_a_model_that_is_too_slow_and_too_large_is_refused(validate):
    """Each ceiling says what was measured and what is allowed; the key to raise is named."""
    result = validate(max_latency_ms=0.001, max_serving_mb=1.0)
    assert (result.mark, result.files, result.verdict["blessed"]) == (0, {"INFRA_NOT_BLESSED"}, False)
    slow, large = result.verdict["reasons"]
    assert slow.startswith("an image took ")
    assert slow.endswith("; max_latency_ms allows 0.001")
    assert large.startswith("the server holds ")
    assert large.endswith("; max_serving_mb allows 1")


def test_a_model_that_answers_images_otherwise_than_examples_is_refused(validate, network, transform_output, tmp_path):
    """The Evaluator uses the signature for examples, so it cannot detect this."""
    liar = Liar(to_network(network), transform_output, CLASSES)
    path = str(tmp_path / "model/Format-Serving")
    save(liar, path)
    result = validate(tmp_path / "model")
    assert result.mark == 0
    [reason] = result.verdict["reasons"]
    assert reason.startswith("by gRPC, one by one: probabilities are off by up to 0.")


@pytest.mark.long  # tests of `check_heat_maps` are short
def test_a_model_with_broken_heat_maps_is_refused(validate, network, transform_output, tmp_path):
    """Whose predictions are those of the Evaluator."""
    save(Painter(to_network(network), transform_output, CLASSES), str(tmp_path / "model/Format-Serving"))
    result = validate(tmp_path / "model")
    assert (result.mark, result.verdict["reasons"]) == (
        0,
        ["explain by gRPC: a heat map has the value nan; expected 0 to 1"],
    )


def test_a_model_without_what_clients_read_is_refused(validate, network, transform_output, tmp_path, dead_server):
    """Its outputs have other names, or it has no such signature."""
    served = ServedModel(to_network(network), transform_output, CLASSES)
    for index, function in enumerate((served.transform_labels, None)):
        folder = tmp_path / f"model{index}"
        tf.saved_model.save(
            served, str(folder / "Format-Serving"), signatures={"examples": function} if function else None
        )
        shutil.rmtree(tmp_path / "infra_blessing", ignore_errors=True)
        [reason] = validate(folder).verdict["reasons"]
        assert reason.startswith("cannot be loaded, or cannot predict, in this process: there is no '"), reason


def test_a_torn_model_is_refused(validate, exported, tmp_path, dead_server):
    """With what TensorFlow says of it, whatever the server does."""
    shutil.copytree(exported, tmp_path / "model")
    [variables] = (tmp_path / "model/Format-Serving/variables").glob("variables.data-*")
    variables.write_bytes(variables.read_bytes()[:100])
    result = validate(tmp_path / "model")
    assert (result.mark, result.files) == (0, {"INFRA_NOT_BLESSED"})
    assert result.verdict["reasons"][0].startswith("cannot be loaded, or cannot predict, in this process: ")
    assert result.verdict["median_ms_grpc"] is None


@pytest.mark.parametrize("classes", [["dog", "cat"], pytest.param(["cat", "dog", "owl"], marks=pytest.mark.long)])
def test_a_model_with_another_class_list_is_refused(validate, dead_server, classes):
    """Its labels would be wrong, or of another run."""
    result = validate(classes=classes)
    reason = "assets.extra/classes.json is not the class list of this run"
    assert (result.mark, result.verdict["reasons"]) == (0, [reason])


def test_a_model_whose_answers_name_other_classes_is_refused(validate, exported, tmp_path, dead_server):
    """Whatever the list beside it says."""
    shutil.copytree(exported, tmp_path / "model")
    (tmp_path / "model/Format-Serving/assets.extra/classes.json").write_text('["dog", "cat"]')
    result = validate(tmp_path / "model", classes=["dog", "cat"])
    assert result.verdict["reasons"] == ["the signature examples: the classes are cat, dog; expected dog, cat"]


def test_a_model_that_the_evaluator_refused_is_not_served(validate, no_server):
    """Neither blessed nor refused: nothing is written."""
    result = validate(blessed=0)
    assert (result.mark, result.files, result.verdict) == (0, set(), None)


def test_a_model_that_the_server_cannot_load_is_refused(validate, server_says):
    """In the server's words; TensorFlow Serving's are these."""
    server_says(
        "Failed to start server. Error: Unknown: 1 servable(s) did not become available: "
        "{{{name: flowers version: 1} due to error: Not found: Op type not registered}, }"
    )
    result = validate()
    assert result.mark == 0
    assert result.verdict["reasons"] == ["the model server does not load it: Not found: Op type not registered"]
    assert result.verdict["server"].endswith("tensorflow_model_server")


def test_a_server_that_does_not_start_is_an_error(validate, server_says):
    """The machine is at fault: TFX would cache a rejection, and the model would never be tried again."""
    server_says("bind failed: address already in use")
    with pytest.raises(GraftError, match="address already in use"):
        validate()


def test_a_model_that_crashes_the_server_is_refused(validate, dead_server):
    """The model would crash a server in production, too."""
    result = validate()
    assert (result.mark, result.verdict["reasons"]) == (0, ["by gRPC: the server ended with -11 during a request"])


@pytest.mark.long
def test_a_server_that_is_killed_is_an_error(validate, dead_server):
    """Linux kills a server for lack of memory, so another try may succeed."""
    dead_server.process.poll = lambda: -9
    with pytest.raises(GraftError, match="was killed during a request"):
        validate()
