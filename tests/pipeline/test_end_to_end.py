"""The whole pipeline on real images, as one story: each run finds what the runs before it have left."""

import collections
import importlib.metadata
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from kept_predictions import check_baseline, check_kept
from outcomes import find_output, list_executed
from tensorflow_serving.apis import prediction_log_pb2

from components import progress
from components.records.image_list import IMAGES, read_image_list
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore
from components.transform.samples import get_image
from pipeline.compare.compare import compare
from pipeline.compare.nearest import open_embeddings
from pipeline.compare.sides import find_side
from pipeline.workspace.workspace import Workspace, find_trained_model
from serving.client.predict import predict_files
from serving.process.cores import count_cores

ROOT = pathlib.Path(__file__).parents[2]
WORSE = {"head_learning_rate": 1e-9}
ALL = [
    "ExampleGen",
    "SchemaGen",
    "RetrainingGate",
    "StatisticsGen",
    "ExampleValidator",
    "DataGate",
    "Transform",
    "Embedder",
    "DriftGate",
    "Trainer",
    "Evaluator",
    "ServingValidator",
    "Pusher",
]
GATES = ["RetrainingGate", "DataGate", "DriftGate"]


def read_records(files):
    return list(tf.data.TFRecordDataset(sorted(map(str, files))).as_numpy_iterator())


@pytest.fixture(scope="module")
def events():
    """Progress events of the components of the first run."""
    return []


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """Puts a stand-in for nvidia-smi on the PATH: a card that computes a quarter of the time."""
    program = tmp_path_factory.mktemp("bin") / "nvidia-smi"
    program.write_text("#!/bin/sh\nwhile :; do echo 25; sleep 0.1; done\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        yield


@pytest.fixture(scope="module")
def first(run, pushed_versions, events, card):
    with progress.listen(events.append):
        outcome, printed = run()
    return outcome, printed, pushed_versions()


@pytest.fixture(scope="module")
def again(first, run, workspace, pushed_versions):
    config = workspace / "serving/models.config"
    config.write_text(config.read_text().replace(f'"{workspace}/', '"/somewhere else/'))  # as if it had been moved here
    outcome, printed = run()
    return outcome, printed, pushed_versions()


@pytest.fixture(scope="module")
def one_new_image(again, run, digits, small_digits, pushed_versions):
    shutil.copy(sorted((digits / "3").iterdir())[-1], small_digits / "3")
    outcome, printed = run()
    return outcome, printed, pushed_versions()


@pytest.fixture(scope="module")
def worse(one_new_image, run, pushed_versions):
    outcome, printed = run(**WORSE)
    return outcome, printed, pushed_versions()


@pytest.fixture(scope="module")
def worse_after_rollback(worse, run, workspace, pushed_versions):
    shutil.rmtree(workspace / "serving")
    outcome, printed = run(**WORSE)
    return outcome, printed, pushed_versions()


@pytest.fixture(scope="module")
def good_after_rollback(worse_after_rollback, run, pushed_versions):
    outcome, printed = run()
    return outcome, printed, pushed_versions()


@pytest.fixture(scope="module")
def worse_once_more(good_after_rollback, run, pushed_versions):
    outcome, printed = run(**WORSE)
    return outcome, printed, pushed_versions()


def test_first_run_executes_everything_and_pushes(first):
    """A fresh workspace: every component runs, and one version is live."""
    outcome, _, versions = first
    assert list_executed(outcome) == ALL
    assert versions == [outcome.result.pushed_version]
    assert outcome.result.pushed_now


def test_model_has_learnt_something(first):
    """Four classes: chance is about 0.25, and digits are easy."""
    outcome, _, _ = first
    assert outcome.result.evaluation.accuracy > 0.6


def test_first_run_says_what_came_of_it(first, workspace, small_digits):
    """Each component with its time; data, accuracy with its interval, verdict, where the model is, and what next."""
    outcome, printed, _ = first
    for name in ALL:
        assert re.search(rf"^  {name} +[0-9.]+ s$", printed, re.MULTILINE), printed
    assert "120 images of 4 classes (0 30, 1 30, 2 30, 3 30)" in printed
    low, high = outcome.result.evaluation.accuracy_interval
    assert f"{outcome.result.evaluation.accuracy:.3f} on " in printed
    assert f"(95 % confidence {low:.3f} to {high:.3f})" in printed
    assert "The base has random weights" in printed
    assert f"Pushed:   {workspace}/serving/graft/{outcome.result.pushed_version}\n" in printed
    command = shlex.join(["./graft", "predict", str(min((small_digits / "0").iterdir()))])
    assert f"Next:     {command} --model {workspace}/serving/graft\n" in printed


@pytest.mark.slow
def test_run_that_did_nothing_says_so(again):
    """Each component unchanged, and the model that is live."""
    _, printed, _ = again
    assert printed.count(" unchanged") == len(ALL)
    assert "(pushed before; nothing new)" in printed


@pytest.mark.slow
def test_refused_candidate_says_why_and_can_be_asked(worse, workspace, small_digits):
    """The report names the version that stays live, what to try, and how to ask the refused model."""
    outcome, printed, versions = worse
    assert "Verdict:  not good enough: it is worse than the live version" in printed
    assert f"Not pushed; version {versions[-1]} stays live." in printed
    assert "Try:      The base has random weights" in printed
    image = str(min((small_digits / "0").iterdir()))
    command = f"{shlex.join(['./graft', 'predict', image])} --out {workspace} --run {outcome.result.run_id}"
    assert f"Next:     {command}\n" in printed
    [answer] = predict_files(find_trained_model(str(workspace), outcome.result.run_id), [image])
    assert set(answer.probabilities) == set("0123")


def test_evaluator_counts_each_test_image_once(first, events):
    """Behind the predictions, in batches of 32 at the most."""
    counted = [event.done for event in events if event.step == "images evaluated"]
    assert sum(counted) == sum(first[0].result.ingest.counts["test"].values())
    assert max(counted) <= 32


def test_components_say_what_they_do_where_they_count_nothing(first, events):
    """In this order; the Embedder and the Trainer build the base, the Trainer exports."""
    steps = list(dict.fromkeys(event.step for event in events if not event.done and not event.note))
    assert steps == [
        "listing the images",
        "dividing the images into splits",
        "building the base",
        "images embedded",
        "building the network",
        "reading the training data",
        "evaluating on the validation images",
        "building the network to fine-tune",
        "measuring the distances of the classes",
        "exporting the model",
        "writing warm-up requests",
        "drawing the training curves",
        "counting the test images",
        "loading the model",
        "fitting a logistic regression to compare with",
        "starting the model server",
        "predicting without a server",
        "stopping the model server",
        "copying the model",
    ]


def test_model_was_served_before_it_was_pushed(first):
    """By gRPC and by REST; the report says how it did."""
    outcome, printed, _ = first
    assert outcome.result.serving.blessed
    assert (outcome.result.serving.images, outcome.result.serving.reasons) == (16, [])
    assert re.search(
        r"^Served:   16 images by gRPC and REST, with the answers of the evaluation; median ", printed, re.MULTILINE
    )


def test_pushed_model_warms_a_server_up_with_images_of_the_test_split(first, workspace):
    """Which is never trained on; and it names its classes."""
    extra = workspace / "serving" / "graft" / str(first[0].result.pushed_version) / "assets.extra"
    assert json.loads((extra / "classes.json").read_text()) == list("0123")
    logs = read_records([extra / "tf_serving_warmup_requests"])
    requests = [prediction_log_pb2.PredictionLog.FromString(log).predict_log.request for log in logs]
    assert [request.model_spec.name for request in requests] == ["graft"] * 3
    asked = tf.make_ndarray(requests[1].inputs["image_bytes"])
    test = pathlib.Path(find_output(first[0], "ExampleGen", "examples"), "Split-test").iterdir()
    assert asked.shape == (8,)
    assert set(asked) <= {get_image(record) for record in read_records(test)}


def test_both_phases_are_in_the_history(first):
    """The head first, then fine-tuning; one of them is what was exported."""
    phases = [row.phase for row in first[0].history.epochs]
    assert phases == sorted(phases, key=["head", "fine-tune"].index)
    assert phases.count("fine-tune") == 1
    assert first[0].history.kept in phases


def test_every_image_is_in_one_split(first):
    """All 120 images, each once, and every class in every split."""
    counts = first[0].result.ingest.counts
    assert sum(sum(by_label.values()) for by_label in counts.values()) == 120
    assert all(set(by_label) == set("0123") for by_label in counts.values())


def test_evaluation_agrees_with_the_confusion_matrix(first):
    """Accuracy, precision and recall are those of the matrix, whose rows are the test images of a class."""
    outcome, _, _ = first
    matrix = outcome.result.evaluation.confusion_matrix
    images = sum(map(sum, matrix))
    assert images == sum(outcome.result.ingest.counts["test"].values())
    assert outcome.result.evaluation.accuracy == pytest.approx(sum(matrix[i][i] for i in range(4)) / images)
    for index, (name, metrics) in enumerate(outcome.result.evaluation.classes.items()):
        assert metrics.images == outcome.result.ingest.counts["test"][name]
        assert metrics.recall == pytest.approx(matrix[index][index] / metrics.images)
        assert 0 <= metrics.auc <= 1
        assert metrics.calibration > 0


def test_predictions_of_each_image_are_kept(first, workspace):
    """They are the exported model's; no version was live."""
    assert not check_kept(first[0], workspace).has_baseline().any()


@pytest.mark.slow
def test_predictions_of_the_live_version_are_kept(one_new_image, again, workspace):
    """A fine-tuned live version predicts only `test`: `val` would need another pass of its base."""
    check_kept(one_new_image[0], workspace)
    outcome, version = one_new_image[0], again[0].result.pushed_version
    check_baseline(outcome, workspace, version, ["test"] if again[0].history.kept == "fine-tune" else ["test", "val"])


def test_no_file_of_the_version_names_a_folder_of_the_machine(first, workspace, small_digits):
    """Record and card travel with the model; the manifest, which names folders, stays."""
    version = workspace / "serving" / "graft" / str(first[0].result.pushed_version)
    contents = {path.name: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    assert {"graft.json", "model_card.md", "saved_model.pb"} <= contents.keys()
    folders = [str(folder).encode() for folder in (workspace.parent, small_digits.parent)]
    assert [name for name, content in contents.items() if any(folder in content for folder in folders)] == []
    assert json.loads(contents["graft.json"])["config"]["data"] == small_digits.name


def test_model_card_is_beside_the_version_in_the_folder_of_the_run_and_on_the_page(first, workspace):
    """It has the figures of the run, by class and by brightness."""
    result, folder = first[0].result, workspace / "runs" / first[0].result.run_id
    card = (folder / "model_card.md").read_text()
    version = workspace / "serving" / "graft" / str(result.pushed_version)
    assert card == (version / "assets.extra/model_card.md").read_text()
    assert f"| this version | {result.evaluation.accuracy:.3f} |" in card
    assert "### By brightness\n\nMean pixel value" in card
    assert "To be filled in" in (folder / "report.html").read_text(encoding="utf-8")


def test_peak_memory_of_each_component_is_in_the_manifest(first):
    """Each component needs TensorFlow, which takes more than 100 MB."""
    result = first[0].result
    assert result.peak_mb.keys() == result.seconds.keys()
    assert min(result.peak_mb.values()) > 100


def test_device_of_each_component_that_computes_is_in_the_manifest_and_in_the_log(first):
    """This machine has no card: nothing is compiled with XLA."""
    computations = first[0].result.computations
    computing = {"ExampleGen", "StatisticsGen", "Embedder", "Trainer", "Evaluator", "ServingValidator"}
    assert computations.keys() == computing & first[0].result.seconds.keys()
    assert {computation.device for computation in computations.values()} == {"CPU"}
    trained = computations["Trainer"]
    assert (trained.precision, trained.xla, trained.cores) == ("float32", False, count_cores())
    assert (computations["ExampleGen"].precision, computations["ExampleGen"].xla) == ("", None)


def test_the_share_of_time_that_the_card_waited_is_in_the_manifest(first):
    assert first[0].result.card_waited == {"Embedder": 0.75, "Trainer": 0.75}


def test_evaluation_is_sliced_by_class(first):
    """TFMA's own files hold the overall figure and a slice for each class."""
    import tensorflow_model_analysis as tfma

    slices = {key for key, _ in tfma.load_eval_result(find_output(first[0], "Evaluator", "evaluation")).slicing_metrics}
    assert slices == {()} | {(("label", name),) for name in "0123"}


def test_report_and_curves_are_kept_with_the_run(first, workspace):
    """The folder of the run holds what a person looks at."""
    folder = workspace / "runs" / first[0].result.run_id
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["pushed_version"] == first[0].result.pushed_version
    assert 'class="outcome good"' in (folder / "report.html").read_text(encoding="utf-8")
    assert manifest["run_seconds"] > sum(manifest["seconds"].values())
    assert (folder / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    assert manifest["libraries"]["keras"] == importlib.metadata.version("keras")
    listed = collections.Counter((image.split, image.label) for image in read_image_list(str(folder / IMAGES)))
    counts = first[0].result.ingest.counts
    assert listed == {(split, name): n for split, by_class in counts.items() for name, n in by_class.items()}


def test_a_version_is_compared_with_its_run(first, workspace):
    """By its number; its test images are found, and the embeddings of all images."""
    version, run_id = first[0].result.pushed_version, first[0].result.run_id
    sides = [find_side(Workspace(workspace), name, None) for name in (f"v{version}", run_id)]
    found = compare(Workspace(workspace), *sides)
    assert (found.before.run_id, found.test.images) == (run_id, first[0].result.evaluation.images)
    assert (found.flips, found.notes, found.data.classes) == ([], [], [])
    rows, _ = open_embeddings(Workspace(workspace), sides[1].manifest)
    assert (rows.find([bytes.fromhex(image.digest) for image in sides[1].images]) >= 0).all()


def test_pushed_model_answers_in_a_process_with_tensorflow_alone(first, workspace, small_digits):
    """What a client of another language or machine would do."""
    image = next((small_digits / "2").iterdir())
    code = f"""
import sys, tensorflow as tf
model = tf.saved_model.load({str(workspace / "serving" / "graft" / str(first[0].result.pushed_version))!r})
answer = model.signatures["serving_default"](image_bytes=tf.constant([open({str(image)!r}, "rb").read()]))
assert answer["probabilities"].shape == (1, 4), answer
assert abs(float(tf.reduce_sum(answer["probabilities"])) - 1) < 1e-5
assert [name.decode() for name in answer["classes"][0].numpy()] == list("0123")
assert not [m for m in sys.modules if m.split(".")[0] in ("tfx", "tensorflow_transform")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.slow
def test_same_run_again_executes_nothing_and_pushes_nothing(again, first):
    """The same data, settings and code: every output is used again."""
    outcome, _, versions = again
    assert list_executed(outcome) == []
    assert versions == first[2]
    assert outcome.result.pushed_version == first[0].result.pushed_version
    assert not outcome.result.pushed_now


@pytest.mark.slow
def test_run_that_pushes_nothing_lets_models_config_follow_its_folder(again, workspace):
    """A workspace that was moved is served from where it is now."""
    text = (workspace / "serving/models.config").read_text()
    assert "/somewhere else" not in text
    assert f'base_path: "{workspace}/serving/graft"' in text


@pytest.mark.slow
def test_one_setting_changed_runs_what_depends_on_it(worse):
    """A learning rate concerns the Trainer and what is behind it; the gates look at what is live by now."""
    assert list_executed(worse[0]) == [*GATES, "Trainer", "Evaluator", "ServingValidator", "Pusher"]


@pytest.mark.slow
def test_worse_candidate_is_not_pushed(worse, one_new_image):
    """Far below the live version: evaluated, refused, and the reason is said."""
    outcome, _, versions = worse
    assert not outcome.result.evaluation.blessed
    assert outcome.result.evaluation.baseline.version == one_new_image[0].result.pushed_version
    worse_than_live, drop, *others = outcome.result.evaluation.failures
    assert "beyond chance: of " in worse_than_live
    assert "below the live version's" in drop
    assert all("the best kept version" in failure for failure in others)  # and none for a class
    assert outcome.result.pushed_version is None
    assert versions == one_new_image[2]


@pytest.mark.slow
def test_one_new_image_runs_ingest_and_what_follows(one_new_image):
    """Everything but the schema, which knows only of the classes."""
    outcome, _, _ = one_new_image
    assert list_executed(outcome) == [name for name in ALL if name != "SchemaGen"]
    assert sum(sum(by_label.values()) for by_label in outcome.result.ingest.counts.values()) == 121


@pytest.mark.slow
def test_one_new_image_is_all_that_goes_through_the_base(one_new_image, first):
    """Neither for its embedding nor for what fine-tuning starts from is an image computed twice; the report says so."""
    counts = first[0].result.ingest.counts
    assert first[0].result.embedding.computed == sum(sum(by_label.values()) for by_label in counts.values())
    fitted = first[0].result.evaluation.logistic_regression
    assert (fitted.test_images, fitted.val_images) == (sum(counts["test"].values()), sum(counts["val"].values()))
    outcome, printed, _ = one_new_image
    assert (outcome.result.embedding.computed, outcome.result.embedding.trunk_computed) == (1, 0)
    assert outcome.result.embedding.images == first[0].result.embedding.images + 1
    assert f"Embedded: 1 image; {first[0].result.embedding.images} more are stored from earlier runs" in printed


@pytest.mark.slow
def test_unchanged_run_embeds_nothing(again):
    """The report has no line about embeddings."""
    assert (again[0].result.embedding.computed, again[0].result.embedding.trunk_computed) == (0, 0)
    assert "Embedded:" not in again[1]


@pytest.mark.slow
def test_retraining_keeps_the_salt(one_new_image, first):
    """An image that was tested on must not be trained on later."""
    assert one_new_image[0].result.ingest.salt == first[0].result.ingest.salt


@pytest.mark.slow
@pytest.mark.long
def test_rollback_leaves_no_stale_refusal(worse_after_rollback):
    """With nothing live any more, the candidate that was refused is judged anew, and pushed."""
    outcome, _, versions = worse_after_rollback
    assert list_executed(outcome) == [*GATES, "Evaluator", "ServingValidator", "Pusher"]
    assert outcome.result.evaluation.baseline is None
    assert versions == [outcome.result.pushed_version]


@pytest.mark.slow
@pytest.mark.long
def test_version_that_is_gone_is_pushed_again(good_after_rollback, worse_after_rollback):
    """The model was pushed once and its version removed; it comes back as a newer one."""
    outcome, _, versions = good_after_rollback
    assert outcome.result.pushed_now
    assert versions == [*worse_after_rollback[2], outcome.result.pushed_version]


@pytest.mark.slow
@pytest.mark.long
def test_rollback_leaves_no_stale_blessing(worse_once_more, good_after_rollback):
    """Blessed while nothing was live; against the good version that is live now, refused."""
    outcome, _, versions = worse_once_more
    assert not outcome.result.evaluation.blessed
    assert versions == good_after_rollback[2]


@pytest.mark.slow
@pytest.mark.long
def test_store_says_what_it_holds_and_drops_what_is_unused(worse_once_more, one_new_image, workspace, capsys):
    """`./graft embeddings`: size, hit rate; a store of other weights goes with --prune, what is in use stays."""
    from rich.console import Console

    from pipeline.workspace.embedding_store import print_store, prune_store

    images = one_new_image[0].result.embedding.images
    other = EmbeddingStore(str(workspace / "embeddings"), FeatureKey("embedding", "other", "graph", (4,), "float32"))
    with other.append() as append:
        append([b"1" * 32], np.zeros((1, 4), np.float32))

    def show():
        console = Console(file=io.StringIO(), width=120)
        print_store(str(workspace), console)
        return console.file.getvalue()

    before = show()
    assert re.search(rf"^ *embedding +{images} +[\d.]+ .B +yes", before, re.MULTILINE), before
    counts = one_new_image[0].result.ingest.counts
    tuned = sum(sum(counts[split].values()) for split in ("train", "val"))
    assert re.search(rf"^ *conv4_block6_out +{tuned} +[\d.]+ .B +yes", before, re.MULTILINE), before
    assert re.search(r"^ *embedding +1 +[\d.]+ .B +no; --prune removes it", before, re.MULTILINE), before
    assert re.search(r"^Hit rate, all \d+ such runs: \d\d\.\d %", before, re.MULTILINE), before
    pruned = prune_store(str(workspace))
    assert pruned.rows == 1
    assert pruned.freed > 0
    assert "no; --prune" not in show()
    assert not pathlib.Path(other.folder).exists()


@pytest.mark.slow
@pytest.mark.long
def test_nothing_is_left_half_written(worse_once_more, workspace):
    """No staging folder, no temporary file."""
    names = [path.name for path in pathlib.Path(workspace).rglob("*")]
    assert not [name for name in names if "staging" in name or name.startswith("_temporary") or name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.long
def test_model_that_is_too_slow_in_a_server_is_not_pushed(worse_once_more, good_after_rollback, run, pushed_versions):
    """However good: nothing is trained or evaluated for it, and what was live is live."""
    outcome, printed = run(max_latency_ms=0.001)
    assert list_executed(outcome) == ["RetrainingGate", "ServingValidator", "Pusher"]
    assert re.search(
        r"^Served:   no: an image took .*; max_latency_ms allows 0\.001\. Not pushed", printed, re.MULTILINE
    )
    assert (outcome.result.pushed_version, pushed_versions()) == (None, good_after_rollback[2])
    assert outcome.result.reasons == outcome.result.serving.reasons


@pytest.mark.slow
@pytest.mark.long
def test_number_of_versions_to_keep_concerns_the_pusher_alone(
    worse_once_more, good_after_rollback, run, pushed_versions
):
    """Old versions go, and the report says which; the live model is not evaluated against itself.

    But for artifacts that are torn: they are made again, with what is made of them, and the report names them.
    """
    made = good_after_rollback[0]
    torn = [pathlib.Path(find_output(made, "StatisticsGen", "statistics"), "Split-train/FeatureStats.pb")]
    torn += [pathlib.Path(find_output(made, "DriftGate", "verdict"), "gate_verdict.json")]
    for file in torn:
        os.truncate(file, file.stat().st_size // 2)
    outcome, printed = run(keep_versions=1)
    assert list_executed(outcome) == ["StatisticsGen", "ExampleValidator", "DataGate", "DriftGate", "Pusher"]
    assert all(f"{file}: damaged; made again" in printed for file in torn)
    assert pushed_versions() == [good_after_rollback[0].result.pushed_version]
    assert outcome.result.removed_versions == good_after_rollback[2][:-1] != []
    assert f"Removed:  version {outcome.result.removed_versions[0]} (keep_versions is 1)" in printed


@pytest.mark.slow
@pytest.mark.long
def test_other_program_reads_what_came_of_a_run(
    warm_python, worse_once_more, good_after_rollback, workspace, small_digits, settings
):
    """One JSON object on the standard output and nothing else; the settings come from a graft.toml."""
    values = {**settings, "data": str(small_digits), "out": str(workspace)}
    (workspace.parent / "graft.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    command = [warm_python.program, ROOT, "run", "--json", "--require-push"]
    done = subprocess.run(command, cwd=workspace.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    outcome = json.loads(done.stdout)
    version = good_after_rollback[0].result.pushed_version
    assert outcome["model"] == str(workspace / "serving" / "graft" / str(version))
    # The Pusher looks anew: the run before has made the statistics again, which are an input of it.
    assert (outcome["pushed_version"], outcome["pushed_now"], outcome["cached"]) == (version, False, ALL[:-1])
    assert outcome["evaluation"]["blessed"]
    assert (pathlib.Path(outcome["report"]) / "manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.long
def test_quiet_run_prints_nothing(warm_python, worse_once_more, workspace):
    """Unless it has something to complain of."""
    command = [warm_python.program, ROOT, "run", "--quiet"]
    done = subprocess.run(command, cwd=workspace.parent, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
