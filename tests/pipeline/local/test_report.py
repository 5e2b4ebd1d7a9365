"""The report at the end of a run."""

import io
import json
import re

import pytest
from example_outcome import CONFIG, OUTCOME, SERVING, change_result
from made_up_evaluation import EVALUATION
from rich.console import Console

from components.evaluator.comparison import describe_uncompared
from components.records.evaluation import Baseline
from components.records.push import Rejection
from pipeline.config.load import load_config
from pipeline.local.report import print_report, render_json


def report(**evaluation):
    return report_of(evaluation=EVALUATION.model_copy(update=evaluation))


def report_of(config=CONFIG, **changes):
    console = Console(file=io.StringIO(), width=100)
    print_report(change_result(**changes), config, console)
    return console.file.getvalue()


def test_everything_that_matters_is_said():
    """Names and warnings with brackets are no markup."""
    printed = report()
    for text in (
        "60 images of 2 classes (cats [indoor] 30, dogs 30): 20 to train, 20 to validate, 20 to test",
        "Note:     uneven [classes]",
        "Embedded: 4 images; 36 more are stored from earlier runs",
        "Note:     no [room]",
        "Left out: 2 broken files, 1 copy of an image, 3 files of images that stand in two classes; ",
        "quarantine.jsonl says why",
        "Ignored:  2 side files (.xmp)",
        "Training: 2 of 5 epochs (stopped early) of the head, "
        "1 of 5 epochs (stopped early) of fine-tuning from conv5_block1; random weights",
        "Kept:     the head alone, of its epoch 1: loss 0.200, accuracy 0.900 on val",
        "(fine-tuned loss 0.300, accuracy 0.925)",
        "Heads:    tried on val: no hidden layer, loss 0.250, accuracy 0.850; "
        "1 hidden layer (1024), loss 0.200, accuracy 0.900 (kept)",
        "Accuracy: 0.900 on 40 test images (95 % confidence 0.770 to 0.960)",
        "a logistic regression on the embeddings has 0.950 on 40 test images, and 0.875 on val",
        "temperature 1.5 from val: log loss 0.300 (0.200 to 0.400), before 0.400 (0.200 to 0.600)",
        "calibration error 0.040 (0.020 to 0.060), before 0.060 (0.030 to 0.090)",
        "accepts 38 of 40 test images: 0.950 (0.835 to 0.986) where coverage is 0.95",
        "The base has random weights",
        "Served:   16 images by gRPC and REST, with the answers of the evaluation; median 31.4 ms, 612 MB",
        "Pushed:   ",
        "Removed:  version 1, 2 (keep_versions is 10)",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("baseline", "text"),
    [
        (None, "good enough: 0.900 where 0.600 is needed\n"),
        (
            {"compared": True, "classes": list(EVALUATION.classes), "images": 40, "accuracy": 0.85},
            "good enough: 0.900 where 0.600 is needed, and version 3 has 0.850\n",
        ),
        (
            {"compared": True, "classes": ["cats [indoor]", "dogs"], "images": 30, "accuracy": 0.85},
            "; on the 2 classes that both know (cats [indoor], dogs; 30 images) it has 0.880 and version 3 0.850\n",
        ),
        (
            {"compared": False, "classes": ["dogs"], "images": 0, "accuracy": None},
            "; not compared with version 3, which shares too few classes with it\n",
        ),
    ],
)
def test_comparison_with_the_live_version_says_on_what(baseline, text):
    """All classes, those that both know, or none."""
    if baseline:
        baseline |= {"version": 3, "candidate_accuracy": 0.88 if baseline["compared"] else None}
    assert text in report(baseline=Baseline(**baseline) if baseline else None)


LIVE = Baseline(
    version=3, compared=True, classes=list(EVALUATION.classes), images=40, accuracy=0.85, candidate_accuracy=0.9,
    lost=1, won=3, p_value=0.9375,
)  # fmt: skip


def test_comparisons_have_the_images_that_one_model_alone_gets_right():
    """Of the live version, and of the best kept one if there is another."""
    text = (
        "and version 3 has 0.850 (3 right by this model alone, 1 by that version alone; if both were equally good, "
        "that version would have 1 or more of these 4 with a probability of 0.94 by McNemar's exact one-sided test)"
    )
    assert f"{text}\n" in unwrap(report(baseline=LIVE))
    best = LIVE.model_copy(update={"version": 2, "accuracy": 0.95})
    both = unwrap(report(baseline=LIVE, best=best))
    assert f"{text}; the best kept version 2 has 0.950 (3 right by this model alone, 1 by that" in both
    gone = describe_uncompared(2, [], "which was removed during the run")
    assert "; not compared with the best kept version 2, which was removed during" in unwrap(
        report(baseline=LIVE, best=gone)
    )


@pytest.mark.parametrize(
    ("interval", "told"),
    [((0.4, 0.96), "may be no better than the constant answer of that class"), ((0.51, 0.96), "")],
)
def test_a_model_that_may_be_no_better_than_a_constant_answer_is_called_so(interval, told):
    """A `min_accuracy` below the share of the largest class lets it pass."""
    printed = unwrap(report(accuracy_interval=interval))
    assert ("Be careful: 0.500 of the test images are of the class “cats [indoor]”" in printed) == bool(told)
    assert told in printed


def unwrap(printed):
    """Joins the lines of a long text."""
    return re.sub(r"\n {10}", " ", printed)


def test_canary_is_said_to_be_one_and_how_to_make_it_live():
    """It is not what `predict` asks by itself."""
    canary = report_of(canary=True)
    assert "Canary:   graft-out/serving/graft/7\n" in canary
    assert "Pushed:" not in canary
    assert "Next:     ./graft predict IMAGE --model graft-out/serving/graft/7\n" in canary
    assert "\n          ./graft releases promote --out graft-out --model graft\n" in canary
    assert "(pushed before; nothing new)" in report_of(canary=True, pushed_now=False)


def test_next_command_asks_this_model_also_after_a_run_of_ones_own(tmp_path, monkeypatch):
    """The demo's: `predict` asks that by itself only until another run begins here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graft-demo").mkdir()
    demo = report_of(load_config(None, {"data": "photos", "out": "graft-demo"}))
    assert "Next:     ./graft predict IMAGE --model graft-demo/serving/graft\n" in demo
    assert "Next:     ./graft predict IMAGE\n" in report_of()


def test_first_version_of_all_is_live_though_a_canary_was_asked_for():
    """And the report says why."""
    printed = report_of(load_config(None, {"data": "photos", "canary": True}))
    assert "Pushed:   graft-out/serving/graft/7  (live: there was nothing to try it beside as a canary)" in printed


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("withdrawn", "withdrawn before as version 5; `releases promote` makes it live again."),
        ("canary", "the same model is the canary, version 5; `releases promote` makes it live."),
    ],
)
def test_model_that_is_held_back_says_why_and_how_to_make_it_live(state, reason):
    """It is good enough, and is not pushed all the same."""
    printed = report_of(
        held_back=Rejection(version=5, state=state), pushed_version=None, pushed_now=False, live_version=4
    )
    assert "Verdict:  good enough" in printed
    assert " ".join(printed.split()).count(f"Pushed: no: {reason} Version 4 stays live.") == 1
    assert "Next:     ./graft releases promote 5 --out graft-out --model graft\n" in printed
    assert "predict" not in printed


def test_model_that_a_server_did_not_serve_is_not_pushed_and_says_why():
    """Every reason, and none of the Evaluator's line is lost; the run's own model can be asked."""
    serving = SERVING.model_copy(update={"blessed": False, "reasons": ["by gRPC: [gone]", "too slow"]})
    printed = report_of(serving=serving, pushed_version=None, pushed_now=False)
    assert "Verdict:  good enough: 0.900" in printed
    assert "Served:   no: by gRPC: [gone]; too slow. Not pushed; no version is live yet.\n" in printed
    assert "Next:     ./graft predict IMAGE --out graft-out --run 20261124T000000\n" in printed
    assert change_result(serving=serving).result.reasons == serving.reasons


def test_model_that_the_evaluator_refused_was_not_served():
    """The report has no line about a server."""
    printed = report_of(serving=None, evaluation=EVALUATION.model_copy(update={"blessed": False, "failures": ["poor"]}))
    assert "Verdict:  not good enough: poor. Not pushed; no version is live yet." in printed
    assert "Served:" not in printed


def test_other_programs_get_the_same():
    """The JSON has the paths as well."""
    tree = json.loads(render_json(OUTCOME, CONFIG))
    assert tree["model"] == "graft-out/serving/graft/7"
    assert tree["report"] == "graft-out/runs/20261124T000000"
    assert tree["evaluation"]["accuracy"] == 0.9
    assert tree["serving"] == SERVING.model_dump()


@pytest.mark.parametrize("p_value", [0.5, 0.01])
def test_a_better_logistic_regression_is_noted_if_that_is_no_chance(p_value):
    """One note behind the lines on the accuracy, with both accuracies and what to try."""
    fitted = EVALUATION.logistic_regression.model_copy(update={"p_value": p_value})
    printed = report(logistic_regression=fitted)
    note = "Note:     A logistic regression on the embeddings is right on 0.950"
    assert printed.count(note) == (p_value < 0.05)
    assert printed.find(note) == -1 or printed.index("calibration error") < printed.index(note)


def test_a_report_of_an_earlier_run_has_no_logistic_regression():
    """Nor has a run with augmentation."""
    assert "logistic" not in report(logistic_regression=None)
