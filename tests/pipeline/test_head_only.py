"""The head alone, retrained: nothing but new images goes through the base, not even to evaluate."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from components.embeddings import EmbeddingReport, read_embeddings
from serving.models_config import read_labels
from serving.releases import promote, roll_back

HEAD_ONLY = {"fine_tune_epochs": 0}
CANARY = {**HEAD_ONLY, "head_learning_rate": 2e-3}
CLASSES = list("0123")


@pytest.fixture(scope="module")
def first(run):
    return run(**HEAD_ONLY)[0]


@pytest.fixture(scope="module")
def retrained(first, run, digits, small_digits):
    """Two images more of each class."""
    for label in CLASSES:
        for image in sorted((digits / label).iterdir())[-2:]:
            shutil.copy(image, small_digits / label)
    return run(**HEAD_ONLY)[0]


@pytest.fixture(scope="module")
def fine_tuned(retrained, run):
    return run(fine_tune_learning_rate=1e-4, head_epochs=1)[0]


@pytest.fixture(scope="module")
def canary(fine_tuned, run, pushed_versions):
    before = pushed_versions()
    return *run(**CANARY, canary=True), before


@pytest.fixture(scope="module")
def promoted(canary, run, workspace):
    """The version that is live, and the same run once more."""
    return promote(str(workspace / "serving/graft")), *run(**CANARY)


@pytest.fixture(scope="module")
def rolled_back(promoted, run, workspace):
    """The version that was withdrawn, and the same run once more."""
    return roll_back(str(workspace / "serving/graft")), *run(**CANARY)


def outputs(outcome, name, key):
    [component] = (c for c in outcome.components if c.name == name)
    return component.outputs[key].uri


def test_only_new_images_go_through_the_base(first, retrained):
    """Of all three splits."""
    assert first.embedding["computed"] == first.embedding["images"] == 120
    assert retrained.embedding["computed"] == 8
    assert retrained.embedding["images"] == 128


def test_evaluation_on_embeddings_is_that_of_the_exported_model(retrained):
    """The model that was pushed, asked with the images themselves: the same confusion matrix, as for the baseline."""
    examples = outputs(retrained, "ExampleGen", "examples")
    files = sorted(map(str, pathlib.Path(examples, "Split-test").iterdir()))
    records = tf.constant([record.numpy() for record in tf.data.TFRecordDataset(files)])
    model = pathlib.Path(outputs(retrained, "Trainer", "model"), "Format-Serving")
    answer = tf.saved_model.load(str(model)).signatures["examples"](examples=records)
    embedded = outputs(retrained, "Embedder", "embeddings")
    labels = read_embeddings(embedded, "test", CLASSES).labels
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (labels, answer["probabilities"].numpy().argmax(axis=1)), 1)
    assert retrained.evaluation["confusion_matrix"] == matrix.tolist()
    assert retrained.evaluation["baseline"]["compared"]
    config = json.loads((pathlib.Path(outputs(retrained, "Evaluator", "evaluation")) / "eval_config.json").read_text())
    assert "embedded_examples" in json.dumps(config)


def test_fine_tuned_model_is_evaluated_on_images(fine_tuned):
    """Its base is not the frozen one; the baseline, a head alone, is asked in the same way."""
    assert EmbeddingReport.read(outputs(fine_tuned, "Embedder", "embeddings")).images < 128
    config = json.loads((pathlib.Path(outputs(fine_tuned, "Evaluator", "evaluation")) / "eval_config.json").read_text())
    assert "embedded_examples" not in json.dumps(config)
    assert fine_tuned.evaluation["baseline"]["compared"]
    assert fine_tuned.evaluation["images"] == sum(fine_tuned.ingest["counts"]["test"].values())


def test_fine_tuning_after_a_head_computes_what_it_starts_from_alone(fine_tuned, retrained):
    """Images to train and to validate go through the base once more; their embeddings stay."""
    counts = fine_tuned.ingest["counts"]
    assert fine_tuned.embedding["computed"] == sum(counts["train"].values()) + sum(counts["val"].values())


def executed(outcome):
    return [c.name for c in outcome.components if not c.cached]


def test_canary_is_pushed_below_the_live_version(canary, workspace):
    """It is compared with the live version, and the report says how to make it live."""
    outcome, printed, before = canary
    assert outcome.canary
    assert outcome.pushed_now
    assert outcome.evaluation["baseline"]["version"] == before[-1]
    model_dir = workspace / "serving/graft"
    assert f"Canary:   {model_dir}/{outcome.pushed_version}\n" in printed
    assert f"./graft releases promote --out {workspace} --model graft\n" in printed
    assert outcome.pushed_version == before[-1] - 1


def test_promoted_canary_is_live_and_not_pushed_again(promoted, canary, workspace):
    """Under its new number, which the Pusher finds; nothing else runs."""
    live, outcome, printed = promoted
    assert live.number > canary[0].pushed_version
    assert executed(outcome) == ["Pusher"]
    assert (outcome.pushed_version, outcome.pushed_now, outcome.canary) == (live.number, False, False)
    assert f"Live:     {workspace}/serving/graft/{live.number}  (pushed before; nothing new)\n" in printed


def test_model_that_was_rolled_back_is_held_back(rolled_back, canary, workspace, pushed_versions):
    """Blessed as before, and not pushed; what was live before the promotion is live."""
    withdrawn, outcome, printed = rolled_back
    assert executed(outcome) == ["Pusher"]
    assert outcome.evaluation["blessed"]
    assert (outcome.pushed_version, outcome.held_back) == (None, {"version": withdrawn.number, "state": "withdrawn"})
    assert f"./graft releases promote {withdrawn.number} makes it live again. What was live is live." in printed
    assert pushed_versions() == canary[2]
    assert read_labels(str(workspace / "serving/graft")) == {"stable": canary[2][-1]}
