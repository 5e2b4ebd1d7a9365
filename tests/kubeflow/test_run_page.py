"""The last task of a run on Kubeflow: what its page shows of a pushed model and of a refused one."""

import dataclasses
import json
import math
import os
import pathlib
import re

import numpy as np
import pytest
from data_reports import NOTHING
from example_outcome import HISTORY, RESULT, SERVING
from made_up_evaluation import EVALUATION
from made_up_parameters import PARAMETERS
from markdown_it import MarkdownIt
from run_folders import make_config, make_evaluation, write_images, write_predictions
from sklearn.metrics import auc, roc_auc_score, roc_curve
from strict_page import check_artifact
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as entrypoint

from components.evaluator.answers import select
from components.records.evaluation import Baseline, ClassMetrics
from components.records.gate_verdict import GateVerdict
from components.records.predictions import Predictions, no_baseline
from components.records.push import PushOutcome
from kubeflow.run_page import component, metrics, roc, sources, summary
from kubeflow.run_page.component import RunPageExecutor, RunPageSpec

EVIL = "<script>alert(1)</script> [x](http://e.vil) **b** `c` | \x1b[2J\u202e"
CLASSES = ("cats", EVIL)


def make_probabilities(labels, classes=CLASSES, seed=0):
    """Makes probabilities that are mostly right, float32 [num_images, num_classes]."""
    truth = np.eye(len(classes))[[list(classes).index(label) for label in labels]]
    scores = np.random.default_rng(seed).random(truth.shape) + truth
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def write_artifacts(root, data, refused=False):
    """Writes the inputs of the RunPage; returns the folder of each."""
    folders = {key: root / key for key in RunPageSpec.INPUTS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    names = dict(zip(("0", "1"), CLASSES, strict=True))  # of the folders, which can have no such name
    images = [(path, names[name], digest) for path, name, digest in write_images(data, names, 10)]
    labels = [label for _, label, _ in images]
    candidate = make_probabilities(labels)
    live = Baseline(version=6, compared=True, classes=list(CLASSES), images=20, accuracy=0.5, candidate_accuracy=0.9)
    failures = ["it is worse than the live version (6) beyond chance"] if refused else []
    changes = {"baseline": live, "blessed": not refused, "failures": failures}
    make_evaluation(CLASSES, labels, candidate, **changes).write(str(folders["evaluation"]))
    write_predictions(folders["evaluation"], CLASSES, images, candidate, candidate)
    write_predictions(folders["model_run"], CLASSES, images, candidate, split="val")
    HISTORY.write(str(folders["model_run"]))
    counts = {split: dict.fromkeys(CLASSES, 10) for split in ("train", "val", "test")}
    NOTHING.model_copy(update={"files": 60, "counts": counts}).write(str(folders["report"]))
    (folders["report"] / "quarantine.jsonl").write_text("")
    RESULT.decision.write(str(folders["decision"]))
    for gate in ("data_verdict", "drift_verdict"):
        GateVerdict(warnings=[]).write(str(folders[gate]))
    if not refused:
        SERVING.write(str(folders["infra_blessing"]))
    return {key: str(folder) for key, folder in folders.items()}


def run_page(root, refused=False):
    """Runs the executor; returns its output artifacts by key."""
    data = root / "photos"
    folders = write_artifacts(root / "inputs", data, refused)
    record = {"config": make_config("photos").model_dump(), "resolved": {"classes": list(CLASSES), "baseline": ""}}
    inputs = {key: [RunPageSpec.INPUTS[key].type()] for key in folders}
    outputs = {key: [parameter.type()] for key, parameter in RunPageSpec.OUTPUTS.items()}
    for key, [artifact] in outputs.items():
        artifact.uri = str(root / "outputs" / key)
        os.makedirs(artifact.uri)
    for key, [artifact] in inputs.items():
        artifact.uri = folders[key]
    outcome = PushOutcome() if refused else PushOutcome(version=7, new=True)
    inputs["pushed_model"][0].set_string_custom_property(PushOutcome.PROPERTY, outcome.model_dump_json())
    parameters = dataclasses.asdict(PARAMETERS) | {"data": str(data), "model_dir": str(root / "serving")}
    RunPageExecutor().Do(inputs, outputs, {**parameters, "record": json.dumps(record)})
    return {key: artifact for key, [artifact] in outputs.items()}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """Outputs of a run that pushed a model."""
    return run_page(tmp_path_factory.mktemp("pushed"))


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Outputs of a run whose model was refused; of the report, only the headline, for the charts take half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(component, "render", lambda files, outcome: outcome.headline)
        return run_page(tmp_path_factory.mktemp("refused"), refused=True)


def read(artifact):
    return pathlib.Path(artifact.uri).read_text(encoding="utf-8")


def test_outputs_pass_the_checks_of_kubeflows_page(pushed, refused):
    """The outputs are in the form in which TFX's entry point hands them to the launcher."""
    for outputs in (pushed, refused):
        for key, artifact in outputs.items():
            written = entrypoint.to_runtime_artifact(artifact, {})
            written.type.schema_title = artifact.type_name
            check_artifact(key, written, pathlib.Path(artifact.uri))


def test_numbers_are_those_of_the_evaluation(pushed):
    found = {name: value.double_value for name, value in pushed["metrics"].mlmd_artifact.custom_properties.items()}
    assert (found["test_images"], found["blessed"], found["live_accuracy"]) == (20, 1, 0.5)
    assert found["log_loss"] == 0.3
    assert "live_p_value" not in found  # it is None


def test_report_has_the_outcome_and_pictures_of_a_mounted_folder(pushed):
    page = read(pushed["page"])
    assert "Pushed as version 7, which is live: accuracy" in page
    assert "data:image/jpeg;base64," in page
    assert EVIL not in page
    assert "<script" not in page
    assert "./graft" not in re.findall(r'<section class="outcome.*?</section>', page, re.DOTALL)[0]


def test_a_refused_model_has_its_reason_on_both_pages(refused):
    """The ServingValidator has written nothing then."""
    reason = "it is worse than the live version (6) beyond chance"
    assert f"Not pushed: {reason}." in read(refused["page"])
    assert f"# Not pushed: {reason}." in read(refused["summary"]).replace("\\", "")
    assert refused["metrics"].get_float_custom_property("blessed") == 0


def test_names_of_classes_stay_text_in_markdown(pushed):
    """Read by an implementation of CommonMark with HTML, links and tables on; the page reads another."""
    text = read(pushed["summary"])
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    assert set(re.findall(r"<(\w+)", html)) <= {"h1", "h2", "ul", "li"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [x](http://e.vil) **b** `c` | \\x1b[2J\\u202e" in html
    assert "95 % interval" in text
    assert "the live version 6 has 0.500, and this model 0.900 on the same 20 images" in text


@pytest.mark.parametrize(
    "name", ["# a", "- a", "1. a", "&lt;b&gt;", "a\nb", "a  \\", "http://e.vil", "~~a~~", "x" * 300]
)
def test_escaped_text_is_read_as_it_was(name):
    html = MarkdownIt("commonmark").render(f"- {summary.escape(name)}")
    shown = name.replace("\n", "\\n") if len(name) < 200 else "x" * 199 + "…"
    plain = re.sub(r"</?(ul|li)>|\n", "", html)
    assert plain == shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def make_answers(labels, classes, candidate):
    names = ["test"] * len(labels)
    return select(
        Predictions(list(classes), None, None, names, names, names, labels, candidate, no_baseline(len(labels)))
    )


@pytest.mark.parametrize(("classes", "images"), [(("a", "b"), 12), (("a", "b"), 3000), (("a", "b", "c"), 900)])
@pytest.mark.parametrize("decimals", [1, 7])
def test_curve_is_that_of_scikit_learn(classes, images, decimals):
    """Each point is one of its full curve, at the same threshold; up to 100 points, the area is the same."""
    labels = [classes[i % len(classes)] for i in range(images)]
    candidate = make_probabilities(labels, classes).round(decimals)
    answers = make_answers(labels, classes, candidate)
    positive = np.eye(len(classes))[answers.truth].ravel() if len(classes) > 2 else answers.truth
    scores = candidate.ravel() if len(classes) > 2 else candidate[:, 1]
    found = roc.compute_roc(answers)
    false, recall, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    theirs = {t: (f, r) for t, f, r in zip(thresholds[1:].tolist(), false[1:], recall[1:], strict=True)}
    points = list(zip(found.thresholds.tolist(), found.false_positives, found.recall, strict=True))
    assert points[0] == (scores.max() + 1, 0, 0)
    assert all(theirs[t] == (f, r) for t, f, r in points[1:])
    assert (points[-1][1:], np.isfinite(found.thresholds).all()) == ((1, 1), True)
    assert len(points) <= roc.MOST_POINTS
    assert auc(found.false_positives, found.recall) == pytest.approx(roc_auc_score(positive, scores), abs=2e-3)


@pytest.mark.parametrize(
    ("labels", "change"),
    [(["a", "a"], None), (["a", "b"], math.nan), (["a", "other"], None), ([], None)],
    ids=["one class", "not finite", "unknown class", "no image"],
)
def test_there_is_no_curve_without_images_of_both_kinds_and_finite_probabilities(labels, change):
    candidate = np.full([len(labels), 2], 0.5, np.float32)
    if change:
        candidate[0, 0] = change
    assert roc.compute_roc(make_answers(labels, ("a", "b"), candidate)) is None


def make_wide(count):
    """Makes an evaluation of many classes, of which those from the 10th on have one mistake more than the first ten."""
    matrix = np.eye(count, dtype=int) * 5
    for index in range(10, count):
        matrix[index, index - 1 if index > 10 else count - 1] = 1
    kinds = dict.fromkeys((f"class {i}" for i in range(count)), ClassMetrics(
        images=6, precision=None, recall=None, auc=None, calibration=None))  # fmt: skip
    return EVALUATION.model_copy(update={"classes": kinds, "confusion_matrix": matrix.tolist()})


def test_matrix_of_many_classes_has_the_fifty_with_the_most_mistakes():
    """Still a square, in the order of the classes; the summary says so."""
    wide = make_wide(60)
    made = metrics.make_confusion_matrix(wide)
    assert [spec["displayName"] for spec in made["annotationSpecs"]] == [f"class {i}" for i in range(10, 60)]
    assert {len(row["row"]) for row in made["rows"]} == {len(made["rows"])} == {50}
    assert made["rows"][1]["row"][:2] == [1, 5]
    [line] = [line for line in summary._describe_charts(wide, None) if "most mistakes" in line]
    assert "the images of 10 classes" in line


def test_rows_of_the_matrix_are_true_classes():
    made = metrics.make_confusion_matrix(EVALUATION)
    assert [row["row"] for row in made["rows"]] == EVALUATION.confusion_matrix


def test_numbers_that_are_unknown_or_not_finite_are_left_out():
    kinds = dict.fromkeys(EVALUATION.classes, ClassMetrics(
        images=0, precision=None, recall=None, auc=None, calibration=None))  # fmt: skip
    bare = EVALUATION.model_copy(
        update={"calibration": None, "logistic_regression": None, "acceptance": None, "accuracy": math.nan,
                "classes": kinds}
    )  # fmt: skip
    assert set(metrics.list_numbers(bare)) == {
        "accuracy_low", "accuracy_high", "accuracy_needed", "test_images", "blessed",
    }  # fmt: skip


def test_configuration_has_the_values_of_the_run():
    """A bound that is not given is None, and so is a window without an end."""
    config = make_config("photos").model_dump()
    parameters = dataclasses.asdict(PARAMETERS) | {"data": "gs://b/p", "window_days": 30, "force": 1}
    filled = sources.fill_config(config, parameters, "2026-11-23").model_dump()
    assert (filled["data"], filled["window_days"], filled["window_end"]) == ("gs://b/p", 30, "2026-11-23")
    assert (filled["min_accuracy"], filled["min_recall"], filled["min_new_images"]) == (0.9, None, None)
    assert filled["force"] is True
    assert sources.fill_config(config, dataclasses.asdict(PARAMETERS), "newest").model_dump()["window_end"] is None


def test_predictions_that_would_not_fit_the_memory_are_left_out(tmp_path, monkeypatch):
    folders = write_artifacts(tmp_path, tmp_path / "photos")
    problems = []
    assert len(sources._read_predictions(folders, problems)) == 40
    monkeypatch.setattr(sources, "MOST_PROBABILITIES", 79)
    assert sources._read_predictions(folders, problems) is None
    assert problems == ["predictions.parquet has more than 79 probabilities, too many for this page"]
