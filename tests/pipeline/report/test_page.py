"""The page of a run, for each outcome, and for hostile names of classes and files."""

import re

import pytest
import run_folders
from run_folders import RUN, make_workspace, write_failed, write_skipped, write_trained

from components.records.computation import Computation
from components.records.image_list import IMAGES, ListedImage, write_image_list
from components.records.predictions import read_predictions
from pipeline.report import data
from pipeline.report.drift import Drift
from pipeline.report.page import try_to_write_report, write_report
from pipeline.workspace.workspace import PAGE

EVIL = "<script>alert(1)</script> \x1b[2J\u202e"
WRITTEN = {
    "trained": (write_trained, "Pushed as version 7, which is live: accuracy"),
    "skipped": (write_skipped, "Nothing was trained: no new image."),
    "failed": (lambda *a: write_failed(*a, "7 files are broken. Mend them.\n  a.jpg: empty"), "7 files are broken."),
    "interrupted": (lambda *a: write_failed(*a, "KeyboardInterrupt()"), "The run was interrupted"),
    "interrupted in Beam": (
        lambda *a: write_failed(*a, """RuntimeError("KeyboardInterrupt [while running 'Embed']")"""),
        "The run was interrupted",
    ),
    "killed": (lambda *a: None, "This run has not ended, or its process was killed."),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Page of a run that trained a model."""
    return write_page(tmp_path_factory.mktemp("trained"), each=20)


def write_page(tmp_path, write=write_trained, **options):
    workspace = make_workspace(tmp_path)
    write(workspace, tmp_path / "data", **options)
    return write_report(workspace, RUN).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_run_has_a_page_that_begins_with_its_outcome(tmp_path, kind):
    """Each part of the page has figures or a sentence."""
    write, headline = WRITTEN[kind]
    page = write_page(tmp_path, write)
    [outcome] = re.findall(r'<h2 id="outcome-heading">(.*?)</h2>', page)
    assert headline in outcome
    parts = re.findall(r'<section class="part[ a-z]*" id="(\w+)"', page)
    assert sorted(parts) == sorted(
        [
            "changes",
            "accuracy",
            "confusion",
            "reliability",
            "mistakes",
            "training",
            "data",
            "components",
            "settings",
            "card",
        ]
    )
    assert page.index("What to do next") < page.index('id="changes"')


def test_the_page_asks_nothing_of_the_network_and_has_no_script(trained):
    assert not re.findall(r"https?:|url\((?!#)|<script|<link(?! rel=\"icon\" href=\"data:,\")|@import| on\w+=", trained)
    assert set(re.findall(r'(?:src|href)="([^":#]*)', trained)) <= {"data", ""}


def test_no_path_of_the_machine_is_told(tmp_path):
    """The page may leave the machine, so a folder is named without its path."""
    page = write_page(tmp_path, write_failed, failed=f"{tmp_path / 'data'}: no folder. Look at {tmp_path / 'out'}.")
    assert str(tmp_path) not in page
    assert "data: no folder" in page


def test_names_of_classes_and_files_are_shown_and_command_nothing(tmp_path):
    page = write_page(tmp_path, classes=("{{ 7 * 7 }}", EVIL.replace("/", "|")))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;|script&gt; \\x1b[2J\\u202e" in page
    assert "{{ 7 * 7 }}" in page


def test_mistakes_are_shown_with_truth_probabilities_and_picture(trained):
    shown = trained[trained.index("The most confident mistakes") : trained.index("The least certain images")]
    assert re.search(
        r'<img src="data:image/jpeg;base64,[^"]+" width="40" height="30" alt="Test image of \w+, predicted as', shown
    )
    assert re.search(r"predicted <b>(cats|dogs)</b>, is <b>(cats|dogs)</b>", shown)
    assert "(truth)" in shown


def test_each_image_of_the_page_has_a_text(trained):
    assert len(re.findall(r'<svg role="img" aria-label="[^"]+"', trained)) == trained.count("<svg") == 4
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', trained)) == trained.count("<img") > 0


def test_ids_are_unique(trained):
    ids = re.findall(r' id="([^"]+)"', trained)
    assert len(ids) == len(set(ids)) > 10


def test_the_page_of_a_hundred_classes_stays_small(tmp_path):
    """The matrix is a picture, and pictures have a budget."""
    page = write_page(tmp_path, classes=tuple(f"class {i}" for i in range(100)), each=1)
    assert len(page) < 1_500_000
    assert "Confusion matrix of 100 classes" in page


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path):
    workspace = make_workspace(tmp_path)
    write_trained(workspace, tmp_path / "data")
    (workspace.runs / RUN / "predictions.parquet").write_bytes(b"torn")
    page = write_report(workspace, RUN).read_text()
    assert "predictions.parquet cannot be read" in page
    assert "The predictions of each image are missing" in page
    assert "Confusion matrix" in page


def test_an_error_of_the_page_ends_no_run(tmp_path, caplog):
    workspace = make_workspace(tmp_path)
    try_to_write_report(workspace, "no such run")
    assert "could not be written" in caplog.text
    assert not list(tmp_path.rglob(PAGE))


def test_each_reason_of_a_refusal_is_a_sentence(tmp_path):
    refused = {"blessed": False, "failures": ["it is too bad", "it is worse than the live version"]}
    evaluation = run_folders.RESULT.evaluation.model_copy(update=refused)
    page = write_page(tmp_path, evaluation=evaluation)
    assert "Not pushed: it is too bad." in page
    assert "<li>Besides, it is worse than the live version.</li>" in page


def test_an_early_end_gives_its_reason_once(tmp_path):
    page = write_page(tmp_path, write_skipped, reason="nothing new: version 6 has seen all 40 images, and no others")
    assert "Nothing was trained: version 6 has seen all 40 images, and no others." in page


def test_a_model_below_the_largest_class_is_called_worse(tmp_path):
    """An interval below that share does not include it."""
    evaluation = run_folders.RESULT.evaluation.model_copy(update={"accuracy": 0.1, "accuracy_interval": (0.03, 0.2)})
    page = write_page(tmp_path, evaluation=evaluation)
    assert "The constant answer of that class is better than the model." in page


def test_a_refused_run_says_why_and_what_to_try(tmp_path):
    refused = run_folders.RESULT.evaluation.model_copy(
        update={"blessed": False, "failures": ["test accuracy 0.4 is below the 0.6 that is needed"]}
    )
    page = write_page(tmp_path, evaluation=refused, pushed_version=None, live_version=6)
    assert "Not pushed: test accuracy 0.4 is below the 0.6 that is needed." in page
    assert "Version 6 stays live." in page
    assert "The base has random weights" in page


DRIFT = Drift(
    label=0.05, label_class="cats", divergence=0.31, mean_brightness=99.0, live_mean_brightness=140.0, embedding=0.2
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Page of a run with model card, memory, sizes and drift."""
    folder = tmp_path_factory.mktemp("whole")
    workspace = make_workspace(folder)
    computations = {"Trainer": Computation(device="NVIDIA H200", precision="bfloat16", xla=False, cores=16)}
    peak_mb = {"ExampleGen": 512.4, "Trainer": 2048.0}
    write_trained(workspace, folder / "data", peak_mb=peak_mb, computations=computations)
    run = workspace.runs / RUN
    (run / "model_card.md").write_text("# Model card\n\n**To be filled in**: <b>license</b>.")
    digests = read_predictions(str(run / "predictions.parquet")).digest
    listed = (ListedImage("test", digest, "", "", 100 + i, 100 + i, i) for i, digest in enumerate(digests))
    write_image_list(str(run / IMAGES), listed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "measure_drift", lambda _: DRIFT)
        return write_report(workspace, RUN).read_text()


def test_memory_of_each_component_stands_beside_its_time(whole, trained):
    """A run of an earlier Graft has no such column."""
    assert '<td class="n">2,048 MB</td>' in whole
    assert "without child processes" in whole
    assert "without child processes" not in trained


def test_device_of_each_component_stands_beside_its_time(whole, trained):
    """With precision, XLA and cores; a run of an earlier Graft has no such column."""
    assert "<td>NVIDIA H200, bfloat16, without XLA, 16 cores</td>" in whole
    assert "computed on" in whole
    assert "computed on" not in trained


def test_the_model_card_is_shown_as_text(whole):
    assert "**To be filled in**: &lt;b&gt;license&lt;/b&gt;." in whole


def test_accuracy_is_shown_by_brightness_and_size(whole):
    assert "By brightness" in whole
    assert '<th scope="row" class="name">above 102 px, up to 105 px</th><td class="n">3</td>' in whole


def test_drift_stands_beside_the_limit_of_the_gate(whole):
    """The figures are those of the gates; a limit that is exceeded is named."""
    row = whole[whole.index('<th scope="row" class="name">brightness') :]
    row = row[: row.index("</tr>")]
    assert "Jensen-Shannon divergence of the histograms; the mean pixel value is 99.0, and was 140.0" in row
    assert ">0.310</td>" in row
    assert ">above</td>" in row


def test_the_logistic_regression_stands_beside_the_model_and_a_note_where_it_is_better(tmp_path, trained):
    """A row of the accuracies, its accuracy on val, and the heads that were tried."""
    assert "Logistic regression on the embeddings" in trained
    assert "180 images" in trained
    assert "0.875" in trained
    assert "1 hidden layer (1024)" in trained
    assert "Try --head-units auto" not in trained
    evaluation = run_folders.RESULT.evaluation
    fitted = evaluation.logistic_regression.model_copy(update={"p_value": 0.01})
    page = write_page(tmp_path, evaluation=evaluation.model_copy(update={"logistic_regression": fitted}))
    assert "Try --head-units auto" in page
