"""What a run says at its end."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from pipeline.load import load_config
from pipeline.report import print_report, render_json
from pipeline.run import Outcome

CONFIG = load_config(None, {"data": "photos", "weights": "random"})
EVALUATION = {
    "images": 40,
    "accuracy": 0.9,
    "accuracy_interval": [0.77, 0.96],
    "min_accuracy": 0.6,
    "blessed": True,
    "failures": [],
    "baseline": None,
    "classes": {"cats [indoor]": {}, "dogs": {}, "owls": {}},
}
OUTCOME = Outcome(
    run_id="20261124T000000",
    components=[],
    ingest={
        "counts": {split: {"cats [indoor]": 10, "dogs": 10} for split in ("train", "val", "test")},
        "spans": [],
        "broken": 2,
        "left_out": 1,
    },
    warnings=["uneven [classes]"],
    embedding={"images": 40, "computed": 4, "note": "no [room]"},
    evaluation=EVALUATION,
    history={"kept": "head", "epochs": [{"phase": "head"}, {"phase": "fine-tune"}]},
    pushed_version=7,
    pushed_now=True,
    removed_versions=[1, 2],
)


def report(**evaluation):
    console = Console(file=io.StringIO(), width=100)
    print_report(dataclasses.replace(OUTCOME, evaluation=EVALUATION | evaluation), CONFIG, console)
    return console.file.getvalue()


def test_everything_that_matters_is_said():
    """Names and warnings with brackets are no markup."""
    printed = report()
    for text in (
        "60 images of 2 classes (cats [indoor] 30, dogs 30): 20 to train, 20 to validate, 20 to test",
        "Note: uneven [classes]",
        "Embedded: 4 images; 36 were in the store",
        "Note: no [room]",
        "Left out: 2 broken, 1 duplicates or contradictions",
        "quarantine.jsonl",
        "kept the head alone (better on val)",
        "Accuracy: 0.900 on 40 test images (95 % confidence 0.770 to 0.960)",
        "The base has random weights",
        "Pushed:   ",
        "Removed:  version 1, 2 (keep_versions is 10)",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("baseline", "text"),
    [
        (None, "yes: 0.900 where 0.600 is needed\n"),
        (
            {"compared": True, "classes": list(EVALUATION["classes"]), "images": 40, "accuracy": 0.85},
            "yes: 0.900 where 0.600 is needed, and version 3 has 0.850\n",
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
    assert text in report(baseline=baseline)


def test_other_programs_get_the_same():
    """And where things are."""
    tree = json.loads(render_json(OUTCOME, CONFIG))
    assert tree["model"] == "graft-out/serving/graft/7"
    assert tree["report"] == "graft-out/runs/20261124T000000"
    assert tree["evaluation"]["accuracy"] == 0.9
