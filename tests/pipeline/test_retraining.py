"""A schedule on this machine, as one story: window of days, early ends, canary and rollback.

The head alone is trained but for one run: nothing but new images goes through the base, not even to evaluate.
"""

import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from kept_predictions import check_baseline, check_kept
from outcomes import find_output, list_executed
from PIL import Image

from components.embedder.artifact import read_embeddings
from components.records.embedding import EmbeddingSummary
from components.records.push import Rejection
from pipeline.workspace.manifest import SkippedRun
from schema.errors import DataError, UsageError
from serving.releases.models_config import read_labels
from serving.releases.releases import promote, roll_back

pytestmark = pytest.mark.slow

DAYS = ("2026-11-21", "2026-11-22")
LABELS = "012"
HEAD = {"fine_tune_epochs": 0, "head_epochs": 10}
CANARY = {"head_learning_rate": 2e-3}


@pytest.fixture(scope="module")
def photos(digits, tmp_path_factory):
    """Two days of 30 images of each of three digits."""
    return add_days(digits, tmp_path_factory.mktemp("photos"), {DAYS[0]: slice(0, 30)})


def add_days(digits, folder, days, labels=LABELS):
    for date, chosen in days.items():
        for label in labels:
            (folder / date / label).mkdir(parents=True)
            for image in sorted((digits / label).iterdir())[chosen]:
                shutil.copy(image, folder / date / label)
    return folder


@pytest.fixture(scope="module")
def run_nightly(run, photos):
    """A run over the last 30 days."""
    return lambda **changed: run(data=str(photos), **HEAD | {"window_days": 30} | changed)


@pytest.fixture(scope="module")
def run_by_hand(run, photos):
    """A run over all days, whether there is a new image or not."""
    return lambda **changed: run(data=str(photos), **HEAD | changed)


@pytest.fixture(scope="module")
def first(run_nightly):
    return run_nightly()


@pytest.fixture(scope="module")
def second(first, run_nightly, photos, digits):
    add_days(digits, photos, {DAYS[1]: slice(30, 60)})
    return run_nightly(warm_start=True)


@pytest.fixture(scope="module")
def canary(second, run_by_hand, pushed_versions):
    before = pushed_versions()
    return *run_by_hand(**CANARY, canary=True), before


@pytest.fixture(scope="module")
def promoted(canary, run_by_hand, workspace):
    """The version that is live, and the same run once more."""
    return promote(str(workspace / "serving/graft")), *run_by_hand(**CANARY)


@pytest.fixture(scope="module")
def rolled_back(promoted, run_by_hand, workspace):
    """The version that was withdrawn, and the same run once more."""
    return roll_back(str(workspace / "serving/graft")), *run_by_hand(**CANARY)


@pytest.fixture(scope="module")
def fine_tuned(rolled_back, run_by_hand):
    return run_by_hand(fine_tune_epochs=1, fine_tune_learning_rate=1e-4, head_epochs=1)[0]


def test_new_images_are_trained_on_and_compared_with_the_live_model(first, second):
    """The second night's model has seen both days."""
    outcome, _ = second
    assert outcome.result.decision.new_images == 90
    assert outcome.result.evaluation.baseline.version == first[0].result.pushed_version
    assert sum(sum(by_label.values()) for by_label in outcome.result.ingest.counts.values()) == 180
    assert outcome.result.pushed_now


def test_a_warm_start_begins_where_the_live_head_ended(first, second):
    """Its first epoch is better than that of a head which knows nothing."""
    cold, warm = (outcome.history.epochs[0] for outcome, _ in (first, second))
    assert warm.loss < cold.loss


def read_eval_config(outcome):
    return pathlib.Path(find_output(outcome, "Evaluator", "evaluation"), "eval_config.json").read_text()


def test_only_new_images_go_through_the_base(first, second):
    """The images of all three splits are counted."""
    assert first[0].result.embedding.computed == first[0].result.embedding.images == 90
    assert second[0].result.embedding.computed == 90
    assert second[0].result.embedding.images == 180


def test_evaluation_on_embeddings_is_that_of_the_exported_model(second):
    """The model that was pushed, asked with the images themselves: the same confusion matrix, as for the baseline."""
    outcome, _ = second
    examples = find_output(outcome, "ExampleGen", "examples")
    files = sorted(map(str, pathlib.Path(examples, "Split-test").iterdir()))
    records = tf.constant([record.numpy() for record in tf.data.TFRecordDataset(files)])
    model = pathlib.Path(find_output(outcome, "Trainer", "model"), "Format-Serving")
    answer = tf.saved_model.load(str(model)).signatures["examples"](examples=records)
    embedded = find_output(outcome, "Embedder", "embeddings")
    labels = read_embeddings(embedded, "test", list(LABELS)).labels
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (labels, answer["probabilities"].numpy().argmax(axis=1)), 1)
    assert outcome.result.evaluation.confusion_matrix == matrix.tolist()
    assert outcome.result.evaluation.baseline.compared
    assert "embedded_examples" in read_eval_config(outcome)


def test_predictions_of_each_image_are_kept(first, second, workspace):
    """A live version that is a head on embeddings predicts `val`, too."""
    check_kept(second[0], workspace)
    check_baseline(second[0], workspace, first[0].result.pushed_version, ["test", "val"])


def test_a_night_without_new_images_ends_early(second, run_nightly):
    """It says so, and which version is live."""
    outcome, printed = run_nightly(window_end="2026-11-23", warm_start=True)
    assert isinstance(outcome, SkippedRun)
    assert outcome.live_version == second[0].result.pushed_version
    assert f"Ended:    nothing new: version {outcome.live_version} has seen all" in printed
    assert f"graft/{outcome.live_version}\n" in printed


def test_too_few_new_images_end_a_run_early(second, run_nightly, photos, digits):
    """The number that is there and the number that is asked for."""
    folder = add_days(digits, photos, {"2026-11-24": slice(60, 61)})
    outcome, printed = run_nightly(window_end="2026-11-24", min_new_images=10, warm_start=True)
    shutil.rmtree(folder / "2026-11-24")
    assert isinstance(outcome, SkippedRun)
    assert "Ended:    3 images are new to version" in printed
    assert "min_new_images asks for 10" in printed


def test_a_window_older_than_the_live_models_is_refused(second, run_nightly):
    """Before anything is read; both dates are named."""
    with pytest.raises(UsageError, match=r"newest day is 2026-11-21, and that of the live version .* is 2026-11-22"):
        run_nightly(window_end="2026-11-21")


def test_other_images_stop_a_run_before_training(second, run_nightly, photos, digits, pushed_versions):
    """Dark ones, of a camera that broke, and nearly all of one class: both figures now and then, and the keys."""
    folder, before = photos / "2026-11-25", pushed_versions()
    for label, count in zip(LABELS, (90, 6, 6), strict=True):
        (folder / label).mkdir(parents=True)
        for image in sorted((digits / label).iterdir())[60 : 60 + count]:
            Image.fromarray(np.asarray(Image.open(image)) // 8).save(folder / label / image.name)
    with pytest.raises(DataError) as caught:
        run_nightly(window_end="2026-11-25", window_days=1)
    shutil.rmtree(folder)
    assert re.search("brightness drifted: the mean pixel value is .* max_brightness_drift", str(caught.value))
    assert re.search("label mix drifted: 8. % of the images are 0, and 3. % of those of version", str(caught.value))
    assert pushed_versions() == before


@pytest.mark.long  # tests/components/pusher and tests/pipeline/commands do so without a training
def test_canary_is_pushed_below_the_live_version(canary, workspace):
    """It is compared with the live version, and the report says how to make it live."""
    outcome, printed, before = canary
    assert outcome.result.canary
    assert outcome.result.pushed_now
    assert outcome.result.evaluation.baseline.version == before[-1]
    model_dir = workspace / "serving/graft"
    assert f"Canary:   {model_dir}/{outcome.result.pushed_version}\n" in printed
    assert f"./graft releases promote --out {workspace} --model graft\n" in printed
    assert outcome.result.pushed_version == before[-1] - 1


@pytest.mark.long  # tests/components/pusher and tests/pipeline/commands do so without a training
def test_promoted_canary_is_live_and_not_pushed_again(promoted, canary, workspace):
    """Under its new number, which the Pusher finds; nothing else runs."""
    live, outcome, printed = promoted
    assert live.number > canary[0].result.pushed_version
    assert list_executed(outcome) == ["Pusher"]
    assert (outcome.result.pushed_version, outcome.result.pushed_now, outcome.result.canary) == (
        live.number,
        False,
        False,
    )
    assert f"Live:     {workspace}/serving/graft/{live.number}  (pushed before; nothing new)\n" in printed


@pytest.mark.long  # tests/components/pusher and tests/pipeline/commands do so without a training
def test_model_that_was_rolled_back_is_held_back(rolled_back, canary, workspace, pushed_versions):
    """Blessed as before, and not pushed; what was live before the promotion is live."""
    withdrawn, outcome, printed = rolled_back
    assert list_executed(outcome) == ["Pusher"]
    assert outcome.result.evaluation.blessed
    assert (outcome.result.pushed_version, outcome.result.held_back) == (
        None,
        Rejection(version=withdrawn.number, state="withdrawn"),
    )
    assert (
        f"withdrawn before as version {withdrawn.number}; `releases promote` makes it live again. "
        f"Version {canary[2][-1]} stays live."
    ) in " ".join(printed.split())
    assert f"Next:     ./graft releases promote {withdrawn.number} --out {workspace} --model graft\n" in printed
    assert pushed_versions() == canary[2]
    assert read_labels(str(workspace / "serving/graft")) == {"stable": canary[2][-1]}


@pytest.mark.long  # tests/pipeline/test_end_to_end.py fine-tunes
def test_fine_tuned_model_is_evaluated_on_images(fine_tuned):
    """Its base is not the frozen one; the baseline, a head alone, is asked in the same way.

    The embeddings of `test` serve the logistic regression.
    """
    assert EmbeddingSummary.read(find_output(fine_tuned, "Embedder", "embeddings")).images == 180
    assert fine_tuned.result.evaluation.logistic_regression is not None
    assert "embedded_examples" not in read_eval_config(fine_tuned)
    assert fine_tuned.result.evaluation.baseline.compared
    assert fine_tuned.result.evaluation.images == sum(fine_tuned.result.ingest.counts["test"].values())


@pytest.mark.long
def test_fine_tuning_after_a_head_computes_what_it_starts_from_alone(fine_tuned):
    """Images to train and to validate go through the base once more; their embeddings stay."""
    counts = fine_tuned.result.ingest.counts
    assert fine_tuned.result.embedding.computed == sum(counts["train"].values()) + sum(counts["val"].values())
