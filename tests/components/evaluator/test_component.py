"""The versions that a candidate is compared with, and what the executor hands to the verdict."""

import json
import pathlib
import shutil
import types

import pytest
import tensorflow as tf
from data_reports import write_counts
from tfx.components.evaluator import constants
from tfx.types import standard_artifacts

from components.artifacts import IngestReport
from components.evaluator import component
from components.evaluator.best_version import find_best
from components.evaluator.component import EvaluatorExecutor, count_labels
from components.evaluator.verdict import Bounds, Verdict
from components.evaluator.version_predictions import VersionPredictions
from components.example_files import name_file
from components.records.embedding import EmbeddingSummary
from components.records.ingest import Majority
from components.run_parameters import NOT_GIVEN
from schema.errors import UsageError
from serving.releases import releases, versions

BOUNDS = ("min_accuracy", "max_accuracy_drop", "min_recall")


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

    Gives what TFMA would get as its baseline, and the blessing.
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
    seen = {"failures": []}

    def evaluate_models(make_pipeline, files, models, config, output):
        if "baseline" in models:
            seen["baseline"] = pathlib.Path(models["baseline"], "number").read_text()

    def judge(predictions, majority, bounds, best, problems, calibration):
        seen.update(majority=majority, bounds=bounds, best=best, problems=problems, calibration=calibration)
        return Verdict(10, 9, 0.5, "", seen["failures"], None, None)

    def predict_test(version, *args):
        return types.SimpleNamespace(version=version.number, problem="", add_to=lambda kept: version.number)

    monkeypatch.setattr(component, "evaluate_models", evaluate_models)
    monkeypatch.setattr(component, "read_kept", lambda *args: None)
    monkeypatch.setattr(component, "_write_predictions", lambda *args: None)
    monkeypatch.setattr(component, "judge", judge)
    monkeypatch.setattr(component, "try_predict_test", predict_test)
    monkeypatch.setattr(component, "measure_calibration", lambda *args: None)
    monkeypatch.setattr(component, "write_summary", lambda *args, **kwargs: None)

    def run(baseline, failures=(), **properties):
        seen["failures"] = list(failures)
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
        shutil.rmtree(tmp_path / "blessing", ignore_errors=True)
        (tmp_path / "blessing").mkdir()
        inputs = {name: artifacts[name] for name in ("examples", "embeddings", "report", "model")}
        outputs = {name: artifacts[name] for name in ("evaluation", "blessing")}
        defaults = {"model_dir": str(tmp_path / "serving"), "baseline": baseline, "best": "none"}
        defaults |= {"classes": '["cat", "dog"]', **dict.fromkeys(BOUNDS, NOT_GIVEN)}
        EvaluatorExecutor().Do(inputs, outputs, defaults | properties)
        return seen.get("baseline"), artifacts["blessing"][0]

    run.seen = seen
    return run


def test_a_candidate_is_compared_with_the_version_that_was_live_when_the_run_began(evaluate, tmp_path):
    """The identity in the properties decides; "" means the version that is live now, "none" means no comparison."""
    [before, _] = versions.find_versions(str(tmp_path / "serving"))
    assert evaluate(before.identity)[0] == "7"
    assert evaluate("")[0] == "8"


def test_a_candidate_is_compared_with_nothing_where_nothing_was_live(evaluate):
    """A version that became live since is not compared."""
    assert evaluate(versions.NOT_LIVE)[0] is None


def test_a_candidate_is_compared_with_the_best_version_of_the_start_of_the_run(evaluate, tmp_path):
    """By its identity; "" looks it up, and without one the judge gets none."""
    [before, _] = versions.find_versions(str(tmp_path / "serving"))
    write_record(tmp_path / "serving/7", 0.9)
    write_record(tmp_path / "serving/8", 0.8)
    for best, expected in ((before.identity, 7), ("", 7), ("none", None)):
        evaluate("", best=best)
        assert evaluate.seen["best"] == expected


def test_a_best_version_that_is_gone_is_named_with_the_reason(evaluate, monkeypatch):
    """The verdict on the live version stands; only a live version that is gone stops the run."""
    monkeypatch.setattr(VersionPredictions, "add_to", lambda self, kept: self.version)
    evaluate("", best="5:abc")
    assert evaluate.seen["best"] == 5
    assert evaluate.seen["problems"] == {5: "which is gone or cannot be read"}


@pytest.mark.parametrize(("failures", "name", "value"), [([], "BLESSED", 1), (["poor"], "NOT_BLESSED", 0)])
def test_the_verdict_becomes_the_blessing(evaluate, tmp_path, failures, name, value):
    """One file, and the properties of TFX's own executor. No baseline: it is in no metadata store."""
    _, blessing = evaluate("", failures)
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == [name]
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == value
    model = blessing.get_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY)
    assert model == str(tmp_path / "model")
    assert not blessing.has_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY)


def test_the_judge_gets_the_bounds_that_are_given_and_the_largest_class(evaluate):
    """-1 is none. Of all images 12 of 20 are dogs, and of the test images 8 of 9."""
    evaluate("", min_recall=0.5)
    assert evaluate.seen["bounds"] == Bounds(None, None, 0.5)
    assert evaluate.seen["majority"] == Majority("dog", 8 / 9, "test")


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [-0.5, 1.01, float("nan")])
def test_a_bound_out_of_range_is_refused(evaluate, name, value):
    """A run on Kubeflow takes any number."""
    with pytest.raises(UsageError, match=rf"{name}: expected a number from 0 to 1, or -1 for none, got"):
        evaluate("", **{name: value})


@pytest.fixture
def keep_versions(tmp_path):
    """Returns a function that makes versions of recorded accuracies, and gives the best one's number."""

    def find(accuracies, classes=("cat", "dog"), live=None, **others):
        for number, accuracy in accuracies.items():
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "saved_model.pb").touch()
            write_record(folder, accuracy, others.get(f"classes_{number}", ["cat", "dog"]))
        for number in others.get("canaries", []):
            releases.mark_canary(str(tmp_path / str(number)))
        live = live or versions.find_live(str(tmp_path))
        best = find_best(str(tmp_path), list(classes), live)
        return best.number if best else None

    return find


def write_record(folder, accuracy, classes=("cat", "dog")):
    """Writes the fields of a record that the choice goes by, in the form of 0.2.0."""
    (folder / "assets.extra").mkdir(exist_ok=True)
    metrics = {} if accuracy is None else {"accuracy": accuracy}
    text = json.dumps({"classes": list(classes), "metrics": metrics})
    (folder / "assets.extra/graft.json").write_text(text)


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ({}, None),
        ({3: 0.9}, None),
        ({1: 0.95, 2: 0.97, 3: 0.9}, 2),
        ({1: 0.95, 2: 0.95, 3: 0.9}, 2),
        ({1: 0.9, 2: 0.9, 3: 0.9}, None),
        ({1: 0.8, 2: None, 3: 0.9}, None),
        ({1: 0.8, 2: 0.7, 3: None}, 1),
    ],
)
def test_the_best_version_has_the_highest_recorded_accuracy(keep_versions, accuracies, best):
    """The newest of several; none where the live version is as good."""
    assert keep_versions(accuracies) == best


def test_a_canary_a_withdrawn_version_and_one_of_other_classes_are_not_the_best(keep_versions, tmp_path):
    """The order of the classes does not matter."""
    (tmp_path / "withdrawn-4").mkdir()
    (tmp_path / "withdrawn-4/saved_model.pb").touch()
    write_record(tmp_path / "withdrawn-4", 1.0)
    others = {"classes_1": ["cat", "dog", "owl"], "classes_2": ["dog", "cat"], "canaries": [8]}
    assert keep_versions({1: 0.99, 2: 0.92, 8: 0.98, 9: 0.9}, **others) == 2
