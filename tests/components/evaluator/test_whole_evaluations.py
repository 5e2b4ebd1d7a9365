"""Whole runs of the Evaluator against live and kept versions, with models that are tables."""

import json
import os

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from data_reports import write_counts
from tfx.types import standard_artifacts

from components import progress
from components.artifacts import IngestReport
from components.embedder.artifact import ImageRow, write_embeddings
from components.evaluator.component import EvaluatorExecutor
from components.evaluator.eval_config import BASELINE, CANDIDATE, make_eval_config
from components.evaluator.extractors import make_extractors
from components.evaluator.tfma_job import ReadExamples, evaluate_models
from components.evaluator.version_predictions import VersionPredictions, predict_test, try_predict_test
from components.example_files import name_file
from components.records.embedding import EmbeddingSummary
from components.records.predictions import PREDICTIONS, read_predictions
from components.run_parameters import NOT_GIVEN
from schema.features import EMBEDDING_SIZE
from serving.releases.record import VersionRecord
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

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_embedded(self, examples):
        """Gives the first numbers of an embedding as the probabilities."""
        spec = {"embedding": tf.io.FixedLenFeature([EMBEDDING_SIZE], tf.float32)}
        probabilities = tf.io.parse_example(examples, spec)["embedding"][:, : tf.size(self.classes)]
        return {
            "probabilities": probabilities,
            "classes": tf.tile(self.classes[tf.newaxis], [tf.size(examples), 1]),
        }

    def _parse(self, examples, name):
        return tf.io.parse_example(examples, {name: tf.io.FixedLenFeature([], tf.string)})[name]


def save_table(folder, classes, answers):
    """Writes a SavedModel that gives each image these probabilities; returns its path."""
    table = Table(classes, answers)
    signatures = {
        "serving_default": table.serve_images,
        "examples": table.serve_examples,
        "transform_features": table.transform_labels,
        "embedded_examples": table.serve_embedded,
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


IMAGES = 10  # of each class; 10 lost images are beyond chance for the best version, too
EMBEDDING_FREE = EmbeddingSummary(kind=None, trunk=None, images=0, computed=0, note="")


@pytest.fixture
def predict(tmp_path):
    """Returns a function that predicts the written examples with a version of these classes and answers."""
    EMBEDDING_FREE.write(str(tmp_path))

    def predict_with(classes, answers, asked):
        path = save_table(tmp_path / "1", classes, answers)
        version = Version(1, path, VersionRecord(classes=classes))
        return predict_test(version, asked, str(tmp_path / "examples" / "Split-test"), str(tmp_path))

    return predict_with


def test_images_of_the_classes_of_both_are_predicted_by_path(predict, write_examples):
    """In the order of the version's outputs, over more than one batch; an image of another class is not asked."""
    write_examples(*(["tom cat", "rex dog", "tweety bird"] * 20))
    events = []
    with progress.listen(events.append):
        found = predict(["dog", "cat"], {"tom": [0.2, 0.8], "rex": [0.7, 0.3]}, ["cat", "dog", "bird"])
    assert (found.version, found.classes, len(found.rows)) == (1, ["dog", "cat"], 40)
    np.testing.assert_allclose(found.rows["cat/0.jpg"], [0.2, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found.rows["dog/58.jpg"], [0.7, 0.3], rtol=1e-6)
    assert "bird/2.jpg" not in found.rows
    assert sum(event.done for event in events) == 40


@pytest.mark.parametrize(("key", "expected"), [("key", [0.25, 0.75]), ("another key", [1, 0])])
def test_stored_embeddings_replace_the_images_of_a_version_that_takes_them(
    predict, write_examples, tmp_path, key, expected
):
    """If it was trained on embeddings of this key; another version gets the images."""
    write_examples("tom cat")
    EMBEDDING_FREE.model_copy(update={"kind": "key"}).write(str(tmp_path))
    (tmp_path / "Split-test").mkdir()
    embedding = np.eye(1, EMBEDDING_SIZE, dtype=np.float32) * 0.25
    embedding[0, 1] = 0.75
    row = ImageRow(b"d" * 32, b"cat", b"cat/0.jpg")
    write_embeddings(str(tmp_path / "Split-test" / name_file(0, 1)), [row], embedding)
    (tmp_path / "1/assets.extra").mkdir(parents=True)
    (tmp_path / "1/assets.extra/embedding_kind.json").write_text(key)
    found = predict(["cat", "dog"], {"tom": [1, 0]}, ["cat", "dog"])
    np.testing.assert_allclose(found.rows["cat/0.jpg"], expected)


@pytest.mark.parametrize("classes", [["owl", "fish"], ["cat", "fish"]])
def test_with_fewer_than_two_common_classes_nothing_is_loaded(classes):
    """None or one in common."""
    version = Version(1, "nowhere", VersionRecord(classes=["cat", "dog"]))
    assert predict_test(version, classes, "nowhere", "nowhere") == VersionPredictions(1)


def test_a_kept_version_that_cannot_be_loaded_is_a_problem_and_no_error(tmp_path, write_examples):
    """The verdict on the live version stands without it."""
    write_examples("tom cat")
    EMBEDDING_FREE.write(str(tmp_path))
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "saved_model.pb").write_bytes(b"damaged")
    version = Version(5, str(tmp_path / "5"), VersionRecord(classes=["cat", "dog"]))
    found = try_predict_test(version, ["cat", "dog"], str(tmp_path / "examples" / "Split-test"), str(tmp_path))
    assert found == VersionPredictions(5, problem="which cannot be used; the log says why")


@pytest.fixture
def evaluate(tmp_path, write_examples):
    """Returns a function that runs the Evaluator; gives the summary, the blessing's files and its property."""
    write_examples(*(["tom cat", "rex dog"] * IMAGES))
    serving = tmp_path / "serving"

    def evaluate_models(live, candidate, best=None, **bounds):
        for number, table in {"7": live, "5": best}.items():
            if table:
                path = save_table(serving / number, *table)
                os.makedirs(os.path.join(path, "assets.extra"))
                metrics = {"accuracy": 0.9 if number == "7" else 0.95}
                with open(os.path.join(path, "assets.extra", "graft.json"), "w") as file:
                    json.dump({"classes": table[0], "metrics": metrics}, file)
        examples, model = standard_artifacts.Examples(), standard_artifacts.Model()
        examples.uri, examples.split_names = str(tmp_path / "examples"), '["test"]'
        embeddings = standard_artifacts.Examples()
        embeddings.uri = str(tmp_path)
        EMBEDDING_FREE.write(embeddings.uri)
        report = IngestReport()
        report.uri = str(tmp_path / "report")
        (tmp_path / "report").mkdir()
        write_counts(tmp_path / "report", {"test": {"cat": IMAGES, "dog": IMAGES}})
        model.uri = str(tmp_path / "model")
        save_table(tmp_path / "model" / "Format-Serving", *candidate)
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = str(tmp_path / "evaluation"), str(tmp_path / "blessing")
        os.makedirs(blessing.uri)
        properties = {
            "classes": json.dumps(candidate[0]),
            "model_dir": str(serving),
            "baseline": "",
            "best": "",
            "min_accuracy": 0.0,
            "max_accuracy_drop": NOT_GIVEN,
            "min_recall": NOT_GIVEN,
        }
        EvaluatorExecutor().Do(
            {"examples": [examples], "embeddings": [embeddings], "model": [model], "report": [report]},
            {"evaluation": [evaluation], "blessing": [blessing]},
            properties | bounds,
        )
        summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
        return summary, os.listdir(blessing.uri), blessing.get_int_custom_property("blessed")

    evaluate_models.read_kept = lambda: read_predictions(str(tmp_path / "evaluation" / PREDICTIONS))
    return evaluate_models


PERFECT = (["cat", "dog"], {"tom": [0.9, 0.1], "rex": [0.2, 0.8]})
HALF_RIGHT = (["dog", "cat", "bird"], {"tom": [0.6, 0.3, 0.1], "rex": [0.8, 0.1, 0.1]})


TFX_STEPS = 156  # of TFX 1.16's Evaluator with these settings and two models; transforms without others inside


@pytest.fixture
def pipelines(monkeypatch):
    """The protos of the pipelines that have run."""
    run, built = beam.Pipeline.run, []
    monkeypatch.setattr(
        beam.Pipeline, "run", lambda self, *args: built.append(self.to_runner_api()) or run(self, *args)
    )
    return built


def test_a_candidate_of_other_classes_that_is_worse_is_not_blessed(evaluate, pipelines):
    """File, property and summary show the refusal. The pipeline has at most half the steps of TFX's."""
    summary, files, blessed = evaluate(live=PERFECT, candidate=HALF_RIGHT, max_accuracy_drop=0.4)
    assert (files, blessed) == (["NOT_BLESSED"], 0)
    assert summary["blessed"] is False
    assert [failure.partition(";")[0] for failure in summary["failures"]] == [
        "it is worse than the live version on the 2 classes that both know (7) beyond chance: of 20 test images, 10 "
        "are right by that version alone and 0 by this model alone",
        "test accuracy on the 2 classes that both know is 0.500 below the live version's (10 of 20 images)",
    ]
    assert summary["baseline"] == {
        "version": 7,
        "compared": True,
        "classes": ["dog", "cat"],
        "images": 20,
        "accuracy": 1.0,
        "candidate_accuracy": 0.5,
        "problem": "",
        "lost": 10,
        "won": 0,
        "p_value": 2**-10,
    }
    [proto] = pipelines
    assert sum(not transform.subtransforms for transform in proto.components.transforms.values()) <= TFX_STEPS / 2
    kept = evaluate.read_kept()
    assert (len(kept), sorted(set(kept.path)) == kept.path) == (20, True)
    assert (kept.baseline_version, kept.classes, kept.baseline_classes) == (7, HALF_RIGHT[0], PERFECT[0])
    words = [{"cat": "tom", "dog": "rex"}[label] for label in kept.label]
    np.testing.assert_allclose(kept.candidate, [HALF_RIGHT[1][word] for word in words], rtol=1e-6)
    np.testing.assert_allclose(kept.baseline, [PERFECT[1][word] for word in words], rtol=1e-6)


@pytest.mark.long
def test_a_live_version_of_no_common_class_is_named_but_not_compared(evaluate):
    """The candidate is judged by its accuracy alone, which has to be better than chance."""
    live = (["bird", "fish"], {"tweety": [1, 0]})
    summary, files, blessed = evaluate(live=live, candidate=PERFECT, min_accuracy=NOT_GIVEN)
    assert (files, blessed, summary["failures"]) == (["BLESSED"], 1, [])
    assert summary["min_accuracy"] == 0.75
    assert summary["baseline"] == {
        "version": 7,
        "compared": False,
        "classes": [],
        "images": 0,
        "accuracy": None,
        "candidate_accuracy": None,
        "problem": "",
        "lost": None,
        "won": None,
        "p_value": None,
    }


@pytest.mark.long
def test_a_slide_is_told_from_the_best_kept_version(evaluate):
    """The live version of the same classes, which TFMA compares, is as bad; the best one is predicted besides."""
    half = (["cat", "dog"], {"tom": [0.1, 0.9], "rex": [0.2, 0.8]})
    summary, files, _ = evaluate(live=half, candidate=half, best=PERFECT)
    assert files == ["NOT_BLESSED"]
    [failure] = summary["failures"]
    assert failure.startswith(
        "it is worse than the best kept version (5) beyond chance: of 20 test images, 10 are right"
    )
    assert (summary["baseline"]["version"], summary["baseline"]["p_value"]) == (7, 1.0)
    assert (summary["best"]["version"], summary["best"]["accuracy"]) == (5, 1.0)
    assert evaluate.read_kept().baseline_version == 7


@pytest.mark.long
@pytest.mark.parametrize("two", [False, True])
def test_metrics_and_plots_are_those_that_tfma_writes(tmp_path, write_examples, two):
    """The oracle is `tfma.load_eval_results`, for one model and for two, with the same configuration."""
    file = write_examples(*(["tom cat", "rex dog"] * 20), "tom dog")
    models = {CANDIDATE: save_table(tmp_path / "1", *PERFECT)}
    if two:
        models[BASELINE] = save_table(tmp_path / "2", PERFECT[0], {"tom": [0.4, 0.6], "rex": [0.3, 0.7]})
    config = make_eval_config(2, two)
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    evaluate_models(beam.Pipeline, [file], models, config, ours)
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=two, rubber_stamp=True)
    shared = [
        tfma.default_eval_shared_model(
            models[BASELINE if m.is_baseline else CANDIDATE], model_name=m.name, eval_config=config
        )
        for m in config.model_specs
    ]
    shared = shared if two else shared[0]
    with beam.Pipeline() as pipeline:
        examples = pipeline | beam.Create([(file, None)]) | beam.GroupByKey() | beam.ParDo(ReadExamples())
        extractors = make_extractors(shared, config)
        _ = examples | tfma.ExtractEvaluateAndWriteResults(
            eval_shared_model=shared, eval_config=config, extractors=extractors, output_path=theirs
        )
    for model in config.model_specs:
        one, other = (tfma.load_eval_result(folder, model_name=model.name) for folder in (ours, theirs))
        assert len(one.slicing_metrics) == 3
        assert sorted(one.slicing_metrics, key=str) == sorted(other.slicing_metrics, key=str)
        assert sorted(one.plots, key=str) == sorted(other.plots, key=str)
        assert one[3:] == other[3:]
