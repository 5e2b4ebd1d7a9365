"""Comparison of a candidate with a live version of other classes."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from data_reports import write_counts
from tfx.types import standard_artifacts

from components import progress
from components.artifacts import IngestReport
from components.evaluator.comparison import compare_models, describe_compared, describe_uncompared, measure_drop
from components.evaluator.component import EvaluatorExecutor
from components.records.embedding import EmbeddingSummary
from components.records.predictions import PREDICTIONS, read_predictions
from serving.releases.versions import Version

pytestmark = pytest.mark.slow


class Table(tf.Module):
    """Model with the signatures of a pushed model and a table of predictions by "image", a word."""

    def __init__(self, classes, answers):
        super().__init__()
        self.classes = tf.constant(classes)
        self.images = tf.constant(list(answers))
        self.rows = tf.Variable(list(answers.values()), dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve_images(self, image_bytes):
        probabilities = tf.gather(self.rows, tf.argmax(image_bytes[:, tf.newaxis] == self.images, axis=1))
        return {
            "probabilities": probabilities,
            "label": tf.gather(self.classes, tf.argmax(probabilities, axis=1)),
            "classes": tf.tile(self.classes[tf.newaxis], [tf.size(image_bytes), 1]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples):
        return self.serve_images(self._parse(examples, "image"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_labels(self, examples):
        matches = self._parse(examples, "label")[:, tf.newaxis] == self.classes
        return {"label_index": tf.argmax(matches, axis=1)[:, tf.newaxis]}

    def _parse(self, examples, name):
        return tf.io.parse_example(examples, {name: tf.io.FixedLenFeature([], tf.string)})[name]


def save_table(folder, classes, answers):
    """Writes a SavedModel that gives each image these probabilities; returns its path."""
    table = Table(classes, answers)
    signatures = {
        "serving_default": table.serve_images,
        "examples": table.serve_examples,
        "transform_features": table.transform_labels,
    }
    tf.saved_model.save(table, str(folder), signatures=signatures)
    return str(folder)


@pytest.fixture
def write_examples(tmp_path, serialize):
    """Returns a function that writes test examples, as "image label" each; gives the path of the file."""

    def write(*examples):
        folder = tmp_path / "examples" / "Split-test"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
            for number, (image, label) in enumerate(map(str.split, examples)):
                writer.write(serialize(image.encode(), label, f"{label}/{number}.jpg"))
        return str(folder / "data_tfrecord-00000-of-00001")

    return write


def test_an_added_class_counts_for_neither(tmp_path, write_examples):
    """The candidate chooses among the common classes for each cat; images of birds are not used."""
    file = write_examples("tom cat", "rex dog", "tweety bird")
    live = save_table(tmp_path / "1", ["cat", "dog"], {"tom": [0.4, 0.6], "rex": [0.2, 0.8]})
    answers = {"tom": [0.3, 0.2, 0.5], "rex": [0.1, 0.8, 0.1], "tweety": [1, 0, 0]}
    candidate = save_table(tmp_path / "2", ["cat", "dog", "bird"], answers)
    counts = {"cat": 1, "dog": 1, "bird": 1}
    expected = describe_compared(1, ["cat", "dog"], images=2, accuracy=0.5, candidate_accuracy=1.0)
    assert compare_models(candidate, Version(1, live, {}), [file], ["cat", "dog"], counts) == expected


def test_a_lost_class_counts_for_neither(tmp_path, write_examples):
    """The live version is not punished for taking a cat for a wolf, which the candidate cannot."""
    file = write_examples("tom cat", "rex dog")
    live = save_table(tmp_path / "1", ["wolf", "dog", "cat"], {"tom": [0.5, 0.1, 0.4], "rex": [0.6, 0.3, 0.1]})
    candidate = save_table(tmp_path / "2", ["cat", "dog"], {"tom": [0.9, 0.1], "rex": [0.7, 0.3]})
    expected = describe_compared(1, ["cat", "dog"], images=2, accuracy=1.0, candidate_accuracy=0.5)
    assert compare_models(candidate, Version(1, live, {}), [file], ["cat", "dog"], {"cat": 1, "dog": 1}) == expected


def test_the_order_of_the_classes_does_not_matter(tmp_path, write_examples):
    """The same answers from outputs in another order are as good; over more than one batch."""
    file = write_examples(*(["tom cat", "rex dog", "bob dog"] * 20))
    answers = {"tom": [0.9, 0.1], "rex": [0.2, 0.8], "bob": [0.6, 0.4]}
    live = save_table(tmp_path / "1", ["cat", "dog"], answers)
    candidate = save_table(tmp_path / "2", ["dog", "cat"], {image: row[::-1] for image, row in answers.items()})
    compared = compare_models(candidate, Version(1, live, {}), [file], ["dog", "cat"], {"cat": 20, "dog": 40})
    assert (compared.images, measure_drop(compared)) == (60, 0)
    assert compared.accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [[], ["cat"], ["bird", "fish"]])
def test_without_two_common_classes_and_an_image_of_them_nothing_is_compared(classes):
    """None or one in common, or two that no test image shows: the models are not even loaded."""
    assert compare_models(
        "nowhere", Version(1, "nowhere", {}), [], classes, {"cat": 1, "dog": 1}
    ) == describe_uncompared(1, classes)


def test_the_comparison_says_how_far_it_is(tmp_path, write_examples):
    """The progress counts the images done and all images."""
    file = write_examples(*(["tom cat", "rex dog", "tweety bird"] * 20))
    model = save_table(tmp_path / "1", ["cat", "dog"], {"tom": [0.9, 0.1], "rex": [0.2, 0.8]})
    events = []
    with progress.listen(events.append):
        compare_models(model, Version(1, model, {}), [file], ["cat", "dog"], {"cat": 20, "dog": 20, "bird": 20})
    assert [(event.step, event.done, event.total) for event in events] == [
        ("images compared", 32, 40),
        ("images compared", 8, 40),
    ]


@pytest.fixture
def evaluate(tmp_path, write_examples):
    """Returns a function that runs the Evaluator; gives the summary, the blessing's files and its property."""
    write_examples(*(["tom cat", "rex dog"] * 5))
    serving = tmp_path / "serving"

    def evaluate_models(live, candidate, **thresholds):
        path = save_table(serving / "7", *live)
        os.makedirs(os.path.join(path, "assets.extra"))
        with open(os.path.join(path, "assets.extra", "graft.json"), "w") as file:
            json.dump({"classes": live[0]}, file)
        examples, model = standard_artifacts.Examples(), standard_artifacts.Model()
        examples.uri, examples.split_names = str(tmp_path / "examples"), '["test"]'
        embeddings = standard_artifacts.Examples()
        embeddings.uri = str(tmp_path)
        EmbeddingSummary(kind=None, trunk=None, images=0, computed=0, note="").write(embeddings.uri)
        report = IngestReport()
        report.uri = str(tmp_path / "report")
        (tmp_path / "report").mkdir()
        write_counts(tmp_path / "report", {"test": {"cat": 5, "dog": 5}})
        model.uri = str(tmp_path / "model")
        save_table(tmp_path / "model" / "Format-Serving", *candidate)
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = str(tmp_path / "evaluation"), str(tmp_path / "blessing")
        os.makedirs(blessing.uri)
        properties = {
            "classes": json.dumps(candidate[0]),
            "model_dir": str(serving),
            "baseline": "",
            "min_accuracy": 0.0,
            "max_accuracy_drop": 0.0,
            "example_splits": '["test"]',
            "module_path": "components.evaluator.extractors",
        }
        EvaluatorExecutor().Do(
            {"examples": [examples], "embeddings": [embeddings], "model": [model], "report": [report]},
            {"evaluation": [evaluation], "blessing": [blessing]},
            properties | thresholds,
        )
        summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
        return summary, os.listdir(blessing.uri), blessing.get_int_custom_property("blessed")

    evaluate_models.read_kept = lambda: read_predictions(str(tmp_path / "evaluation" / PREDICTIONS))
    return evaluate_models


PERFECT = (["cat", "dog"], {"tom": [0.9, 0.1], "rex": [0.2, 0.8]})
HALF_RIGHT = (["dog", "cat", "bird"], {"tom": [0.6, 0.3, 0.1], "rex": [0.8, 0.1, 0.1]})


def test_a_candidate_of_other_classes_that_is_worse_is_not_blessed(evaluate):
    """File, property and summary show the refusal, even if the accuracy reaches TFMA's bound."""
    summary, files, blessed = evaluate(live=PERFECT, candidate=HALF_RIGHT, max_accuracy_drop=0.4)
    assert (files, blessed) == (["NOT_BLESSED"], 0)
    assert summary["blessed"] is False
    [failure] = summary["failures"]
    assert failure.startswith("test accuracy on the 2 classes that both know is 0.500 below the live version's; ")
    assert summary["baseline"] == {
        "version": 7,
        "compared": True,
        "classes": ["dog", "cat"],
        "images": 10,
        "accuracy": 1.0,
        "candidate_accuracy": 0.5,
        "problem": "",
    }
    kept = evaluate.read_kept()
    assert (len(kept), sorted(set(kept.path)) == kept.path) == (10, True)
    assert (kept.baseline_version, kept.classes, kept.baseline_classes) == (7, HALF_RIGHT[0], PERFECT[0])
    words = [{"cat": "tom", "dog": "rex"}[label] for label in kept.label]
    np.testing.assert_allclose(kept.candidate, [HALF_RIGHT[1][word] for word in words], rtol=1e-6)
    np.testing.assert_allclose(kept.baseline, [PERFECT[1][word] for word in words], rtol=1e-6)


@pytest.mark.long
def test_a_candidate_that_misses_two_thresholds_is_told_both(evaluate):
    """TFMA's refusal stays, with its reason."""
    summary, files, blessed = evaluate(live=PERFECT, candidate=HALF_RIGHT, min_accuracy=0.6)
    assert (files, blessed) == (["NOT_BLESSED"], 0)
    assert [failure.partition(" that both know")[0] for failure in summary["failures"]] == [
        "test accuracy 0.500 is below the 0.600 that is needed (min_accuracy)",
        "test accuracy on the 2 classes",
    ]


def test_a_live_version_of_no_common_class_is_named_but_not_compared(evaluate):
    """The candidate is judged by its accuracy alone."""
    summary, files, _ = evaluate(live=(["bird", "fish"], {"tweety": [1, 0]}), candidate=PERFECT)
    assert files == ["BLESSED"]
    assert summary["baseline"] == {
        "version": 7,
        "compared": False,
        "classes": [],
        "images": 0,
        "accuracy": None,
        "candidate_accuracy": None,
        "problem": "",
    }


def test_a_live_version_of_the_same_classes_is_described_in_the_same_words(evaluate):
    """TFMA compares them; readers of the summary need one shape only."""
    summary, files, _ = evaluate(live=PERFECT, candidate=(["cat", "dog"], {"tom": [0.1, 0.9], "rex": [0.2, 0.8]}))
    assert files == ["NOT_BLESSED"]
    assert summary["failures"] == ["test accuracy is 0.500 below the live version's; max_accuracy_drop allows 0.000"]
    assert summary["baseline"] == {
        "version": 7,
        "compared": True,
        "classes": ["cat", "dog"],
        "images": 10,
        "accuracy": 1.0,
        "candidate_accuracy": 0.5,
        "problem": "",
    }
