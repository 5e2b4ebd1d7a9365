"""Advice after a refused model."""

import pytest
from example_outcome import CONFIG, HISTORY, make_epoch
from made_up_evaluation import EVALUATION

from components.records.evaluation import Baseline
from pipeline.config.load import load_config
from pipeline.report.advice import advise

REFUSED = EVALUATION.model_copy(
    update={
        "blessed": False,
        "accuracy": 0.4,
        "accuracy_interval": (0.3, 0.5),
        "min_accuracy": 0.6,
        "classes": dict.fromkeys(("cats", "dogs"), EVALUATION.classes["dogs"]),
        "confusion_matrix": [[10, 10], [10, 10]],
    }
)
TRAINED = load_config(None, {"data": "photos"})  # from ImageNet's weights


def advise_on(config=TRAINED, history=HISTORY, **evaluation):
    return advise(REFUSED.model_copy(update=evaluation), history, config)


def make_history(best):
    """Returns a history with three epochs of the head, and a given best epoch."""
    return HISTORY.model_copy(update={"epochs": [make_epoch("head", i + 1, i == best) for i in range(3)]})


def test_a_model_that_is_good_enough_needs_no_advice():
    assert advise_on(blessed=True) == []


def test_random_weights_come_first():
    """They are the likeliest of all reasons."""
    assert advise_on(CONFIG)[0].startswith("The base has random weights")
    assert not any("random weights" in sentence for sentence in advise_on())


def test_an_accuracy_that_may_be_good_enough_asks_for_images():
    """Said if the threshold lies within its confidence interval, and only then."""
    [sentence] = advise_on(accuracy_interval=[0.2, 0.65])
    assert sentence.startswith("Few test images: on 40 an accuracy of 0.200 to 0.650 is likely, which includes the 0.6")
    assert not any("Few test images" in sentence for sentence in advise_on())


LIVE = Baseline(
    version=7, compared=True, classes=["cats", "dogs"], images=40, accuracy=0.6, candidate_accuracy=0.4, lost=9, won=1,
    p_value=0.01,
)  # fmt: skip


def test_images_that_the_live_version_alone_gets_right_are_to_be_looked_at():
    """With their number; not where this model has as many."""
    [sentence] = advise_on(baseline=LIVE)
    assert sentence.startswith("Version 7 alone is right on 9 test images: look for them among the mistakes")
    assert advise_on(baseline=LIVE.model_copy(update={"won": 9})) == advise_on()


def test_a_better_kept_version_can_be_made_live():
    """The command, and the other way out. Not for a reason that has nothing to do with that version."""
    best = LIVE.model_copy(update={"version": 5})
    [sentence] = advise_on(best=best, failures=["it is worse than the best kept version (5) beyond chance: ..."])
    assert "has 0.600 on the same test images: make it live with ./graft releases promote 5" in sentence
    assert advise_on(best=best) == advise_on()


def test_a_class_that_is_never_predicted_is_named():
    [sentence, *_] = advise_on(confusion_matrix=[[20, 0], [20, 0]])
    assert sentence.startswith("The model predicts dogs for no test image: add images of this class")


@pytest.mark.parametrize(("best", "said"), [(2, True), (1, False)])
def test_a_loss_that_was_still_falling_asks_for_more_epochs(best, said):
    """The last epoch is the best one."""
    [sentence] = advise_on(history=make_history(best))
    assert ("still falling in the last epoch of the head: try --head-epochs 10." in sentence) is said


def test_without_a_usual_reason_the_images_are_to_be_looked_at():
    """A run always gives some advice."""
    assert advise_on() == ["None of the usual reasons: look at the confused images, and at their labels."]
