"""Predictions of images by a pushed model."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from schema.errors import UsageError
from serving.client.predict import (
    Prediction,
    describe_model,
    find_model,
    is_accepted,
    load_signature,
    predict_files,
    print_predictions,
)


class RedOrBlue(tf.Module):
    """Model with the signature of a pushed model: predicts the share of red against blue."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        images = tf.map_fn(
            lambda e: tf.reduce_mean(tf.cast(tf.io.decode_image(e, 3, expand_animations=False), tf.float32), [0, 1]),
            image_bytes,
            fn_output_signature=tf.TensorSpec([3], tf.float32),
        )
        probabilities = tf.nn.softmax(tf.gather(images, [0, 2], axis=1) / 100)
        classes = tf.constant(["red", "blå"])
        return {
            "probabilities": probabilities,
            "label": tf.gather(classes, tf.argmax(probabilities, axis=1)),
            "classes": tf.tile(classes[tf.newaxis], [tf.shape(probabilities)[0], 1]),
        }


def save_model(path):
    module = RedOrBlue()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return str(path)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Returns a workspace with one pushed version."""
    folder = tmp_path_factory.mktemp("workspace")
    save_model(folder / "serving/graft/5")
    return folder


@pytest.fixture(scope="module")
def model(workspace):
    return str(workspace / "serving/graft/5")


@pytest.fixture(scope="module")
def paint(tmp_path_factory):
    """Returns a function that writes an image of one colour and returns its path."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")

    def write(name, colour):
        Image.new("RGB", (9, 7), colour).save(folder / name)
        return str(folder / name)

    return write


@pytest.fixture
def pictures(paint):
    """Returns a red PNG, a blue JPEG and a red GIF."""
    return [paint("1.png", (250, 0, 0)), paint("2.jpg", (0, 0, 250)), paint("3.gif", (200, 0, 10))]


def test_good_images_are_predicted_in_the_order_given(model, pictures):
    """The label is the most probable class; the probabilities are by class name."""
    predictions = list(predict_files(model, pictures))
    assert [(p.path, p.label, p.problem) for p in predictions] == [
        (pictures[0], "red", ""),
        (pictures[1], "blå", ""),
        (pictures[2], "red", ""),
    ]
    for prediction in predictions:
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert max(prediction.probabilities, key=prediction.probabilities.get) == prediction.label


def test_no_image_gives_no_prediction(model):
    """Degenerate input."""
    assert list(predict_files(model, [])) == []


def test_a_bad_file_is_reported_and_the_others_are_predicted(model, pictures, tmp_path):
    """Each at its place; a batch does not fail as a whole."""
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("no image")
    empty.write_bytes(b"")
    paths = [pictures[0], str(text), pictures[1], str(empty), str(tmp_path / "missing.jpg")]
    predictions = list(predict_files(model, paths))
    assert [(p.path, p.label, p.problem) for p in predictions] == [
        (paths[0], "red", ""),
        (paths[1], "", "not an image that TensorFlow reads; expected JPEG, PNG, GIF or BMP"),
        (paths[2], "blå", ""),
        (paths[3], "", "not an image that TensorFlow reads; expected JPEG, PNG, GIF or BMP"),
        (paths[4], "", "no such file"),
    ]
    assert predictions[1].probabilities == {}


def test_a_folder_in_place_of_a_file_is_reported(model, pictures, tmp_path):
    """With a reason in words."""
    predictions = list(predict_files(model, [str(tmp_path), pictures[0]]))
    assert predictions[0].problem
    assert predictions[1].label == "red"


def test_more_images_than_a_batch_are_all_predicted(model, pictures, tmp_path):
    """70 of them, with a bad one in the second batch alone."""
    (tmp_path / "text.jpg").write_text("no image")
    paths = pictures[:2] * 20 + [str(tmp_path / "text.jpg")] + pictures[:1] * 29
    predictions = list(predict_files(model, paths))
    assert [p.path for p in predictions] == paths
    assert [p.label for p in predictions] == ["red", "blå"] * 20 + [""] + ["red"] * 29


def test_a_folder_of_versions_is_asked_by_its_newest(workspace, pictures):
    """DIR/graft serves as well as DIR/graft/5."""
    assert [p.label for p in predict_files(str(workspace / "serving/graft"), pictures[:1])] == ["red"]


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_a_model_is_refused(tmp_path, name):
    """The message names it and says what was expected."""
    with pytest.raises(UsageError, match=r"no model here\. Expected a folder with saved_model\.pb"):
        load_signature(str(tmp_path / name))
    with pytest.raises(UsageError, match="no model here"):
        list(predict_files(str(tmp_path / name), ["1.jpg"]))


def test_the_newest_model_of_a_workspace_is_found(tmp_path):
    """By version, whatever the name of the model."""
    for version in ("a/serving/graft/103", "b/serving/graft/99", "b/serving/flowers/101", "b/serving/other/102"):
        (tmp_path / version).mkdir(parents=True)
        if not version.endswith("102"):  # incomplete
            (tmp_path / version / "saved_model.pb").write_bytes(b"")
    found = find_model(str(tmp_path / "b"))
    assert found == str(tmp_path / "b/serving/flowers/101")


def test_without_a_model_the_user_is_told_how_to_train_one(tmp_path):
    """UsageError names the workspace and the command."""
    with pytest.raises(UsageError, match=r"/b: no pushed model here\. Train one with: \./graft run photos/,"):
        find_model(str(tmp_path / "b"))


def test_predictions_are_printed_a_line_each_and_failures_counted(capsys):
    """The most probable class first; what could not be read goes to the standard error."""
    predictions = [
        Prediction("1.jpg", "dog", {"cat": 0.25, "dog": 0.75}),
        Prediction("2.jpg", problem="no such file"),
    ]
    assert print_predictions(predictions, as_json=False) == 1
    out, err = capsys.readouterr()
    assert out == "1.jpg: dog  (dog 0.750  cat 0.250)\n"
    assert err == "graft: 2.jpg: no such file\n"


def test_an_image_that_the_model_does_not_accept_is_none_of_these(capsys):
    """With the nearest class; as JSON in a field."""
    prediction = Prediction("1.jpg", "dog", {"cat": 0.45, "dog": 0.55}, accepted=False)
    assert print_predictions([prediction], as_json=False) == print_predictions([prediction], as_json=True) == 0
    text, line = capsys.readouterr().out.splitlines()
    assert text == "1.jpg: none of these; nearest dog  (dog 0.550  cat 0.450)"
    assert json.loads(line)["accepted"] is False


@pytest.mark.parametrize(("outputs", "accepted"), [({}, True), ({"accepted": np.array([True, False])}, False)])
def test_a_model_of_an_earlier_graft_accepts_all_images(outputs, accepted):
    """It has no such output; by gRPC, REST and in this process."""
    assert is_accepted(outputs, 1) is accepted


def test_predictions_are_printed_as_json_lines(capsys):
    """One object a line on the standard output, for another program to read; other scripts stay readable."""
    predictions = [Prediction("1.jpg", "猫", {"猫": 1.0}), Prediction("2.jpg", problem="no such file")]
    assert print_predictions(predictions, as_json=True) == 1
    out = capsys.readouterr().out
    assert [json.loads(line) for line in out.splitlines()] == [
        {"path": "1.jpg", "label": "猫", "accepted": True, "probabilities": {"猫": 1.0}},
        {"path": "2.jpg", "error": "no such file"},
    ]
    assert "猫" in out


def test_a_name_that_is_not_utf8_is_read_all_the_same(model, pictures, tmp_path, capfd):
    """Only printing it needs another spelling."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    try:
        shutil.copy(pictures[0], path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    [prediction] = predict_files(model, [path])
    assert prediction.label
    assert prediction.path == path
    print_predictions([prediction], as_json=True)
    assert json.loads(capfd.readouterr().out)["path"] == path
    print_predictions([prediction], as_json=False)
    assert "caf\\udce9.png: " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("my/out/serving/graft/17", "Model: graft, version 17, of the workspace my/out"),
        ("serving/graft/17", "Model: graft, version 17, of the workspace ."),
        ("/models/flowers", "Model: /models/flowers"),
        ("flowers", "Model: flowers"),
    ],
)
def test_a_model_is_named_by_where_it_lies(path, words):
    """Model, version and workspace; another folder as it is."""
    assert describe_model(path) == words


def test_a_model_is_named_with_its_classes(tmp_path):
    """The demo's model and one's own are told apart; of many classes some."""
    folder = tmp_path / "out/serving/graft/17"
    (folder / "assets.extra").mkdir(parents=True)
    record = folder / "assets.extra/graft.json"
    record.write_text('{"classes": ["cats", "dogs"]}')
    named = f"Model: graft, version 17, of the workspace {tmp_path}/out"
    assert describe_model(str(folder)) == f"{named}; classes: cats, dogs"
    record.write_text(json.dumps({"classes": list("0123456789")}))
    assert describe_model(str(folder)).endswith("; classes: 0, 1, 2, 3, 4 and 5 more")
    record.write_text("{")
    assert describe_model(str(folder)) == named


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("saved_model.pb", 99),
        ("saved_model.pb", 0),
        ("variables/variables.index", 9),
        ("variables/variables.index", None),
    ],
)
def test_a_model_that_is_torn_is_refused_in_one_line(model, tmp_path, name, size):
    """TensorFlow raises errors of many classes; the message names the folder."""
    shutil.copytree(model, tmp_path / "7")
    file = tmp_path / "7" / name
    file.unlink() if size is None else os.truncate(file, size)
    with pytest.raises(
        UsageError, match=r"/7: cannot be loaded, so it is damaged or no pushed model: .*Name another\."
    ) as e:
        load_signature(str(tmp_path / "7"))
    assert "\n" not in str(e.value)
