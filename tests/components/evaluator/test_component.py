"""The threshold that depends on the data, and the version that a candidate is compared with."""

import json
import pathlib

import pytest
import tensorflow as tf
from data_reports import write_counts
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_executor
from tfx.types import standard_artifacts

from components.artifacts import IngestReport
from components.evaluator import component, summary
from components.evaluator.component import EvaluatorExecutor, count_labels
from components.evaluator.threshold import DEFAULT_MIN_ACCURACY, choose_threshold
from components.example_files import name_file
from components.records.embedding import EmbeddingSummary
from serving.releases import versions


def test_labels_are_counted_in_the_test_split_alone(tmp_path, serialize):
    """Over all of its files."""
    contents = {"test": ["cat cat dog", "猫"], "train": ["cat dog"], "val": ["dog"]}
    for split, shards in contents.items():
        (tmp_path / f"Split-{split}").mkdir()
        for index, labels in enumerate(shards):
            with tf.io.TFRecordWriter(str(tmp_path / f"Split-{split}" / name_file(index, len(shards)))) as writer:
                for label in labels.split():
                    writer.write(serialize(b"image", label))
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path), '["train", "val", "test"]'
    assert count_labels(examples) == {"cat": 2, "dog": 1, "猫": 1}


@pytest.fixture
def evaluate(tmp_path, serialize, monkeypatch):
    """Returns a function that runs the executor, without TFMA, against versions 7 and 8.

    Gives what TFX's executor found as its baseline, and the blessing.
    """
    for number in (7, 8):
        folder = tmp_path / f"serving/{number}"
        for name in ("saved_model.pb", "variables/variables.index", "number"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(str(number))
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra/graft.json").write_text(json.dumps({"classes": ["cat", "dog"]}))
    (tmp_path / "examples/Split-test").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(tmp_path / "examples/Split-test/data_tfrecord-00000-of-00001")) as writer:
        for label in ("cat", "dog"):
            writer.write(serialize(b"image", label))
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "report").mkdir()
    counts = {"train": {"cat": 7, "dog": 3}, "val": {"dog": 1}, "test": {"cat": 1, "dog": 8}}
    write_counts(tmp_path / "report", counts)
    EmbeddingSummary(kind=None, trunk=None, images=0, computed=0, note="").write(str(tmp_path / "embeddings"))
    seen = {}

    def bless(self, input_dict, output_dict, exec_properties):
        [blessing] = output_dict["blessing"]
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, 1)
        for baseline in input_dict.get("baseline_model", []):
            seen["baseline"] = pathlib.Path(baseline.uri, "Format-Serving/number").read_text()
            blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)

    def write_summary(uri, classes, threshold, live, comparison, refusals, fitted):
        seen["live"], seen["threshold"] = live, threshold

    monkeypatch.setattr(tfx_executor.Executor, "Do", bless)
    monkeypatch.setattr(component, "read_kept", lambda *args: None)
    monkeypatch.setattr(component, "_write_predictions", lambda *args: None)
    monkeypatch.setattr(summary, "write_summary", write_summary)

    def run(baseline, min_accuracy=0.5):
        kinds = {
            "examples": standard_artifacts.Examples,
            "embeddings": standard_artifacts.Examples,
            "report": IngestReport,
            "model": standard_artifacts.Model,
            "evaluation": standard_artifacts.ModelEvaluation,
            "blessing": standard_artifacts.ModelBlessing,
        }
        artifacts = {name: [kind()] for name, kind in kinds.items()}
        for name, [artifact] in artifacts.items():
            artifact.uri = str(tmp_path / name)
        artifacts["examples"][0].split_names = '["train", "val", "test"]'
        inputs = {name: artifacts[name] for name in ("examples", "embeddings", "report", "model")}
        outputs = {name: artifacts[name] for name in ("evaluation", "blessing")}
        properties = {"model_dir": str(tmp_path / "serving"), "baseline": baseline, "min_accuracy": min_accuracy}
        properties |= {"classes": '["cat", "dog"]', "max_accuracy_drop": 0.0}
        EvaluatorExecutor().Do(inputs, outputs, properties)
        return seen.get("baseline"), seen["live"], artifacts["blessing"][0]

    run.seen = seen
    return run


def test_a_candidate_is_compared_with_the_version_that_was_live_when_the_run_began(evaluate, tmp_path):
    """The identity in the properties decides; "" means the version that is live now, "none" means no comparison."""
    [before, _] = versions.find_versions(str(tmp_path / "serving"))
    assert evaluate(before.identity)[:2] == ("7", 7)
    assert evaluate("")[:2] == ("8", 8)


def test_a_candidate_is_compared_with_nothing_where_nothing_was_live(evaluate):
    """A version that became live since is not compared."""
    assert evaluate(versions.NOT_LIVE)[:2] == (None, None)


def test_the_blessing_names_no_artifact_that_there_is_not(evaluate):
    """The baseline comes from the serving folder, so its id is not in the metadata store."""
    _, _, blessing = evaluate("")
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
    assert not blessing.has_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY)


def test_the_default_threshold_looks_at_the_images_of_all_splits(evaluate):
    """The few images of `test` have another largest class here."""
    evaluate("", DEFAULT_MIN_ACCURACY)
    assert evaluate.seen["threshold"] == choose_threshold(DEFAULT_MIN_ACCURACY, {"cat": 8, "dog": 12})
