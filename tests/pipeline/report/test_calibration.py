"""Calibration and acceptance, in sentences."""

import pytest
from made_up_evaluation import EVALUATION

from pipeline.report.calibration import describe_calibration


def change(**fields):
    """Returns the evaluation with other fields of its calibration or acceptance."""
    changed = {name: getattr(EVALUATION, name).model_copy(update=values) for name, values in fields.items()}
    return EVALUATION.model_copy(update=changed)


def test_a_model_without_a_temperature_or_a_threshold_says_why():
    """The reasons of the Trainer; figures before and after are the same then."""
    found = describe_calibration(
        change(
            calibration={"temperature": 1.0, "problem": "val has images of one class only"},
            acceptance={"threshold": None, "problem": "val has 9 images, and a coverage of 0.95 needs 19"},
        )
    )
    assert found == [
        "probabilities as the network gives them, because val has images of one class only: log loss 0.300 (0.200 to "
        "0.400), calibration error 0.040 (0.020 to 0.060)",
        "all images are accepted, because val has 9 images, and a coverage of 0.95 needs 19",
    ]


def test_a_temperature_that_makes_the_calibration_error_worse_is_called_so():
    """It may make the log loss better all the same."""
    worse = {"ece": EVALUATION.calibration.ece_before, "ece_before": EVALUATION.calibration.ece}
    assert describe_calibration(change(calibration=worse))[1] == (
        "calibration error 0.060 (0.030 to 0.090), before 0.040 (0.020 to 0.060), so worse: the temperature is "
        "fitted to the log loss of val"
    )


@pytest.mark.parametrize("temperature", [0.05, 20.0])
def test_a_temperature_at_an_end_of_the_search_is_called_so(temperature):
    """The best one may lie behind that end."""
    shown = describe_calibration(change(calibration={"temperature": temperature}))[0]
    assert shown.startswith(f"temperature {temperature:g} from val, an end of the search from 0.05 to 20: log loss")


def test_an_evaluation_of_an_earlier_graft_has_no_sentences():
    """It has neither record."""
    assert describe_calibration(EVALUATION.model_copy(update={"calibration": None, "acceptance": None})) == []
