"""Graphs of equal computations have equal digests, in any process; other graphs have other digests."""

import functools
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.transform.graph_digest import digest_output
from components.transform.preprocessing import preprocess_images

pytestmark = pytest.mark.slow

SETTINGS = {
    "constant": 3,
    "unit": "BYTE",
    "operation": tf.abs,
    "condition": 2,
    "branch": 5,
    "limit": 4,
    "body": 6,
    "classes": ["cat", "dog"],
}


def serve(text, settings):
    """A graph with functions in functions, and two outputs.

    Args:
        text: string [batch].
        settings: as above.
    Returns:
        `value`, int32 [batch], of all but the classes; `label`, bool [batch], of the classes alone.
    """

    def to_value(element):
        length = tf.strings.length(element, unit=settings["unit"])
        length = tf.cond(length > settings["condition"], lambda: length + settings["branch"], lambda: length)
        _, total = tf.while_loop(
            lambda i, total: i < settings["limit"], lambda i, total: (i + 1, total * settings["body"]), (0, length)
        )
        return settings["operation"](total)

    value = tf.map_fn(to_value, text, fn_output_signature=tf.int32) + settings["constant"]
    return {"value": value, "label": tf.reduce_any(tf.equal(text[:, tf.newaxis], settings["classes"]), axis=1)}


def save(folder, function, *names):
    """Exports a function of strings [batch] with the given names; returns the folder."""
    module = tf.Module()
    specs = [tf.TensorSpec([None], tf.string, name) for name in names or ["text"]]
    module.serve = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return str(folder)


def export(folder, **changes):
    """Exports `serve`; returns the folder."""
    return save(folder, lambda text: serve(text, SETTINGS | changes))


def export_switch(folder, last=3):
    """Exports a choice between three branches; returns the folder."""

    def choose(text):
        return {"value": tf.switch_case(tf.size(text), [lambda: 1, lambda: 2, lambda: last])}

    return save(folder, choose)


def read_graph(folder):
    """Reads the graph of a SavedModel, with its library of functions."""
    content = saved_model_pb2.SavedModel.FromString(pathlib.Path(folder, "saved_model.pb").read_bytes())
    return content.meta_graphs[0].graph_def


def list_functions(folder):
    """Lists the names of the branches and loop bodies of a SavedModel."""
    names = [function.signature.name for function in read_graph(folder).library.function]
    return {name for name in names if name.startswith("map_while_")}


def run_apart(code, *arguments):
    """Runs code with this module's names in a new process; returns its output."""
    code = f"import runpy, sys; globals().update(runpy.run_path({__file__!r})); a = sys.argv[1:]; {code}"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": "-1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports `serve` unchanged; returns the folder."""
    return export(tmp_path_factory.mktemp("exported"))


def test_two_exports_in_one_process_have_one_digest(exported, tmp_path):
    """TensorFlow numbers the names of functions, so the two exports have no name in common."""
    again = export(tmp_path)
    assert list_functions(exported).isdisjoint(list_functions(again))
    assert digest_output(exported, "value") == digest_output(again, "value")
    assert digest_output(exported, "label") == digest_output(again, "label")


def test_exports_of_two_processes_have_one_digest(exported, tmp_path):
    """The processes have traced different numbers of functions before."""
    digest = run_apart("export(a[0]); print(digest_output(export(a[1]), 'value'))", tmp_path / "1", tmp_path / "2")
    assert digest == digest_output(exported, "value")


@pytest.mark.parametrize(
    "change",
    [
        {"constant": 4},
        {"unit": "UTF8_CHAR"},
        {"operation": tf.negative},
        {"condition": 3},
        {"branch": 4},
        {"limit": 5},
        {"body": 5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_computes_something_else_has_another_digest(exported, tmp_path, change):
    """A constant, an attribute or an operation, at the top, in a branch or in a loop; the other digest stays."""
    changed = export(tmp_path, **change)
    assert digest_output(changed, "value") != digest_output(exported, "value")
    assert digest_output(changed, "label") == digest_output(exported, "label")


def test_what_another_output_is_computed_by_is_of_no_concern(exported, tmp_path):
    """The class list changes only the digest of the output that depends on it."""
    changed = export(tmp_path, classes=["cat", "dog", "猫"])
    assert digest_output(changed, "value") == digest_output(exported, "value")
    assert digest_output(changed, "label") != digest_output(exported, "label")


def test_outputs_of_one_operation_have_digests_of_their_own(tmp_path):
    """Two outputs of one operation differ, though operation and inputs are equal."""

    def split(text):
        first, second = tf.split(text, 2)
        return {"first": first, "second": second}

    folder = save(tmp_path, split)
    assert digest_output(folder, "first") != digest_output(folder, "second")


def test_the_same_of_another_input_has_another_digest(tmp_path):
    """Inputs count by their names in the signature, arguments by their order."""

    def measure(left, right):
        longer = tf.strings.length(left) - tf.strings.length(right)
        return {"left": tf.strings.length(left), "right": tf.strings.length(right), "longer": longer, "less": -longer}

    def measure_swapped(left, right):
        return measure(right, left)

    folder = save(tmp_path / "1", measure, "left", "right")
    swapped = save(tmp_path / "2", measure_swapped, "left", "right")
    assert digest_output(folder, "left") != digest_output(folder, "right")
    assert digest_output(folder, "left") == digest_output(swapped, "right")
    assert digest_output(folder, "longer") != digest_output(swapped, "longer")


def test_what_a_loop_carries_is_told_apart_by_its_order(tmp_path):
    """A loop that swaps two values in each step is not one that leaves them."""

    def export_loop(folder, step):
        def loop(text):
            count = tf.size(text)
            return {"value": tf.while_loop(lambda i, left, right: i < count, step, (0, count + 1, count + 2))[1]}

        return save(tmp_path / folder, loop)

    stay = export_loop("stay", lambda i, left, right: (i + 1, left, right))
    swap = export_loop("swap", lambda i, left, right: (i + 1, right, left))
    assert digest_output(stay, "value") != digest_output(swap, "value")


def test_names_and_hints_are_of_no_concern(tmp_path):
    """Names and device hints do not change the computation."""

    def measure(text):
        return {"value": tf.strings.length(text) + 1}

    def measure_there(text):
        with tf.compat.v1.colocate_with(text):
            return {"value": tf.add(tf.strings.length(text, name="size"), 1, name="more")}

    folders = [save(tmp_path / function.__name__, function) for function in (measure, measure_there)]
    assert "_class" in str(read_graph(folders[1]))
    assert digest_output(folders[0], "value") == digest_output(folders[1], "value")


def test_a_choice_of_many_branches_is_digested_as_one_of_two(tmp_path):
    """Branches count by their computation, not by the names of their functions."""
    folder = export_switch(tmp_path / "1")
    assert digest_output(folder, "value") == digest_output(export_switch(tmp_path / "2"), "value")
    assert digest_output(folder, "value") != digest_output(export_switch(tmp_path / "3", last=4), "value")


@pytest.mark.long
def test_another_branch_of_many_in_another_process_has_another_digest(tmp_path):
    """The functions have equal names, for both processes have traced equally many."""
    digests = [
        run_apart("print(digest_output(export_switch(a[0], int(a[1])), 'value'))", tmp_path / str(last), last)
        for last in (3, 4)
    ]
    assert digests[0] != digests[1]


def test_an_unknown_output_is_a_key_error(exported):
    """The error names the output."""
    with pytest.raises(KeyError, match="pixel"):
        digest_output(exported, "pixel")


def export_chain(folder, names, length=500):
    """Exports a chain of operations on named variables, longer than Python's stack; returns the folder."""
    module = tf.Module()
    module.weights = [tf.Variable(float(i), name=name) for i, name in enumerate(names)]

    def to_value(text):
        value = tf.cast(tf.size(text), tf.float32)
        for i in range(length):
            value += module.weights[i % len(names)]
        return {"value": value}

    module.serve = tf.function(to_value, input_signature=[tf.TensorSpec([None], tf.string, "text")], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return str(folder)


@pytest.mark.long
def test_variables_count_by_their_place_and_not_by_name(tmp_path):
    """Names of layers are numbered; and a deep network is digested without recursion."""
    digest = digest_output(export_chain(tmp_path / "1", ["a", "b"]), "value")
    assert digest_output(export_chain(tmp_path / "2", ["dense_7/kernel", "a"]), "value") == digest
    assert digest_output(export_chain(tmp_path / "3", ["a"]), "value") != digest


def test_what_is_no_saved_model_is_said(tmp_path):
    """For any content of the file; an empty file parses as a SavedModel without a graph."""
    for content in (b"graph", b""):
        (tmp_path / "saved_model.pb").write_bytes(content)
        with pytest.raises(ValueError, match="expected a SavedModel of one graph"):
            digest_output(str(tmp_path), "value")


@pytest.fixture(scope="module")
def transform(tmp_path_factory):
    """Returns a function that makes a transform graph as TFX does and returns the folder of its SavedModel."""
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

    from components.schema_gen import read_schema
    from components.transform.preprocessing import preprocessing_fn

    def analyze(classes, image_size):
        folder = tmp_path_factory.mktemp("transform")
        config = {"classes": classes, "image_size": image_size, "max_megapixels": 1.0}
        config |= {"orientation": "exif", "resize": "stretch"}
        row = {
            "image": [b"not decoded"],
            "label": [b"cat"],
            "path": [b"cat/0.jpg"],
            "digest": [b"0"],
            "brightness": [99.0],
        }
        with tft_beam.Context(temp_dir=str(folder / "tmp")):
            transform_fn = ([row], DatasetMetadata(read_schema(classes))) | tft_beam.AnalyzeDataset(
                functools.partial(preprocessing_fn, custom_config=config)
            )
            _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
        return str(folder / "graph/transform_fn")

    return analyze


@pytest.fixture(scope="module")
def known(transform_graph):
    """Returns the folder of the SavedModel in the transform graph of the tests."""
    return os.path.join(transform_graph, "transform_fn")


@pytest.mark.long
def test_a_transform_graph_made_again_has_the_same_digests(known, transform, classes, image_size):
    """The next run makes the graph again and must find its stored embeddings."""
    again = transform(classes, image_size)
    for output in ("pixels", "label_index"):
        assert digest_output(again, output) == digest_output(known, output)
    assert digest_output(known, "pixels") != digest_output(known, "label_index")


@pytest.mark.long
def test_pixels_do_not_depend_on_the_classes(known, transform, classes, image_size):
    """After a new class, stored embeddings stay valid."""
    changed = transform([*classes, "horse"], image_size)
    assert digest_output(changed, "pixels") == digest_output(known, "pixels")
    assert digest_output(changed, "label_index") != digest_output(known, "label_index")


@pytest.mark.long
def test_pixels_of_another_size_have_another_digest(known, transform, classes, image_size):
    """The size is a constant in a loop over the images; the digest of the labels stays the same."""
    changed = transform(classes, 2 * image_size)
    assert digest_output(changed, "pixels") != digest_output(known, "pixels")
    assert digest_output(changed, "label_index") == digest_output(known, "label_index")


@pytest.mark.long
def test_pixels_of_another_geometry_have_another_digest(tmp_path):
    """Stored embeddings of images that lie on their side, or that are cut to a square, are not mixed with others."""

    def digest(folder, orientation, resize):
        module = tf.Module()
        signature = [tf.TensorSpec([None], tf.string, name="image")]
        serve = tf.function(
            lambda image: {"pixels": preprocess_images(image, 32, 1.0, orientation, resize)}, input_signature=signature
        )
        tf.saved_model.save(module, str(folder), signatures=serve)
        return digest_output(str(folder), "pixels")

    settings = [("exif", "stretch"), ("ignore", "stretch"), ("exif", "crop"), ("exif", "pad"), ("exif", "stretch")]
    digests = [digest(tmp_path / str(index), *setting) for index, setting in enumerate(settings)]
    assert digests[0] == digests[-1]
    assert len(set(digests)) == 4
