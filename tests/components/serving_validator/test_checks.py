"""Checks on a served model; each problem is described in words."""

import copy

import numpy as np
import pytest
from image_files import CLASSES

from components.serving_validator.checks import (
    check_agreement,
    check_heat_maps,
    check_metadata,
    check_outputs,
    read_image_size,
)


def make_outputs(probabilities, labels=(b"cat", b"dog"), classes=(b"cat", b"dog"), accepted=()):
    """Outputs in the form that gRPC delivers."""
    count = len(probabilities)
    return {
        "probabilities": np.array(probabilities, np.float32),
        "label": np.array(labels, object),
        "classes": np.array([classes] * count, object),
        "accepted": np.array(accepted or [True] * count),
        "score": np.array(probabilities, np.float32).max(axis=1),
    }


EXPECTED = make_outputs([[0.9, 0.1], [0.2, 0.8]])


def tensor(dtype, *sizes):
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": str(s)} for s in sizes], "unknown_rank": False}}


PREDICTION = {
    "probabilities": tensor("DT_FLOAT", -1, 2),
    "label": tensor("DT_STRING", -1),
    "classes": tensor("DT_STRING", -1, 2),
    "accepted": tensor("DT_BOOL", -1),
}
SIGNATURES = {
    "serving_default": {"inputs": {"image_bytes": tensor("DT_STRING", -1)}, "outputs": {**PREDICTION}},
    "examples": {"inputs": {"examples": tensor("DT_STRING", -1)}, "outputs": PREDICTION},
    "transform_features": {
        "inputs": {"examples": tensor("DT_STRING", -1)},
        "outputs": {"label_index": tensor("DT_INT64", -1, 1)},
    },
    "explain": {
        "inputs": {"image_bytes": tensor("DT_STRING", -1)},
        "outputs": PREDICTION
        | {
            "heatmap": tensor("DT_FLOAT", -1, 7, 7),
            "resize": tensor("DT_STRING", -1),
            "orientation": tensor("DT_STRING", -1),
        },
    },
    "pixels": {"inputs": {"pixels": tensor("DT_FLOAT", -1, 224, 224, 3)}, "outputs": {}},
    "__saved_model_init_op": {"inputs": {}, "outputs": {"__saved_model_init_op": {"tensor_shape": {}, "dtype": 0}}},
}


@pytest.fixture
def signatures():
    """Signatures of the contract, which a test may change."""
    return copy.deepcopy(SIGNATURES)


def check(signatures):
    return check_metadata({"metadata": {"signature_def": {"signature_def": signatures}}})


def test_signatures_of_the_contract_are_fine(signatures):
    """And others beside them."""
    assert check(signatures) == []


def test_a_signature_that_is_missing_is_named(signatures):
    """Clients choose a signature by name."""
    del signatures["examples"]
    assert check(signatures) == ["there is no signature examples"]


@pytest.mark.parametrize(
    ("output", "value", "said"),
    [
        ("label", tensor("DT_INT64", -1), "label (DT_INT64, rank 1)"),
        ("label", tensor("DT_STRING", -1, 1), "label (DT_STRING, rank 2)"),
        ("label", {"dtype": "DT_STRING", "tensor_shape": {"unknown_rank": True}}, "label (DT_STRING, rank None)"),
        ("name", tensor("DT_STRING", -1), "name (DT_STRING, rank 1)"),
    ],
)
def test_a_tensor_of_another_name_type_or_rank_is_named(signatures, output, value, said):
    """With what was expected."""
    signatures["serving_default"]["outputs"][output] = value
    [problem] = check(signatures)
    assert problem.startswith(
        "the outputs of serving_default are accepted (DT_BOOL, rank 1), classes (DT_STRING, rank 2), "
    )
    assert said in problem.partition("; expected ")[0]
    assert "label (DT_STRING, rank 1)" in problem.partition("; expected ")[2]


def test_the_same_answer_is_fine():
    """By REST texts are no bytes, and probabilities float64; batches differ in the last bits."""
    assert check_outputs(EXPECTED, EXPECTED, CLASSES) == ""
    by_rest = make_outputs([[0.9000049, 0.0999951], [0.2, 0.8]], ("cat", "dog"), ("cat", "dog"))
    assert check_outputs(by_rest, EXPECTED, CLASSES) == ""
    assert check_agreement(by_rest, EXPECTED) == ""


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        (make_outputs([[0.9, 0.1]], (b"cat",)), "probabilities has the shape [1, 2]; expected [2, 2]"),
        (make_outputs([[0.9, 0.1], [0.2, 0.8]], (b"cat",)), "label has the shape [1]; expected [2]"),
        (
            make_outputs([[0.9, 0.1], [0.2, 0.8]], classes=(b"dog", b"cat")),
            "the classes are dog, cat; expected cat, dog",
        ),
        (make_outputs([[0.9, 0.1], [0.2, 0.7]]), "the probabilities of an image add up to 0.9; expected 1"),
        (make_outputs([[0.9, 0.1], [np.nan, 0.8]]), "the probabilities of an image add up to nan; expected 1"),
        (
            make_outputs([[0.9, 0.1], [0.3, 0.7]]),
            "probabilities are off by up to 0.1 from those of `examples` in this process",
        ),
        (
            make_outputs([[0.9, 0.1], [0.2, 0.8]], (b"cat", b"cat")),
            "an image is labelled 'cat' where 'dog' is the most probable",
        ),
        (
            make_outputs([[0.9, 0.1], [0.2, 0.8]], (b"\xff", b"dog")),
            "an image is labelled '\ufffd' where 'cat' is the most probable",
        ),
    ],
)
def test_another_answer_is_described(outputs, problem):
    """Only the first problem is described, because it may cause the others."""
    assert check_outputs(outputs, EXPECTED, CLASSES) == problem


@pytest.mark.parametrize(
    ("accepted", "threshold", "problem"),
    [
        ([True, True], None, ""),
        ([True, False], None, "an image is not accepted; the threshold is none"),
        ([True, False], 0.85, ""),
        ([True, True], 0.85, "an image is accepted with the score 0.8000; the threshold is 0.8500"),
        ([True, True], 0.800001, ""),
        ([True, False], 0.799999, ""),
    ],
)
def test_an_image_is_accepted_if_its_score_reaches_the_threshold(accepted, threshold, problem):
    """Either answer is right where the score is within the tolerance of the threshold."""
    outputs = make_outputs([[0.9, 0.1], [0.2, 0.8]], accepted=accepted)
    assert check_outputs(outputs, EXPECTED, CLASSES, threshold=threshold) == problem


@pytest.mark.parametrize(("score", "near"), [(-120.01, True), (-121, False), (float("nan"), False)])
def test_the_tolerance_of_a_squared_distance_is_a_share_of_it(score, near):
    """Accepted below the threshold: a rounding, or wrong; NaN is never accepted."""
    expected = {**EXPECTED, "score": np.float32([-20, score])}
    problem = check_outputs(make_outputs([[0.9, 0.1], [0.2, 0.8]]), expected, CLASSES, threshold=-120.0)
    assert problem == ("" if near else f"an image is accepted with the score {score:.4f}; the threshold is -120.0000")
    refused = make_outputs([[0.9, 0.1], [0.2, 0.8]], accepted=[True, False])
    assert check_outputs(refused, expected, CLASSES, threshold=-120.0) == ""


def test_another_build_may_round_otherwise():
    """A larger tolerance holds for another build; larger differences are rejected there, too."""
    rounded = make_outputs([[0.9005, 0.0995], [0.2, 0.8]])
    assert check_outputs(rounded, EXPECTED, CLASSES).startswith("probabilities are off by up to 0.0005")
    assert check_outputs(rounded, EXPECTED, CLASSES, tolerance=1e-3) == ""
    assert check_outputs(rounded, EXPECTED, CLASSES, tolerance=1e-4) != ""


def test_of_two_classes_as_probable_either_may_be_the_label():
    """A batch of another size may tip the scales."""
    even = make_outputs([[0.5, 0.5]], (b"dog",))
    assert check_outputs(even, make_outputs([[0.500001, 0.499999]], (b"cat",)), CLASSES) == ""


def test_disagreement_is_measured():
    """Two answers may differ although each is close enough to a third."""
    assert check_agreement(make_outputs([[0.9, 0.1]]), make_outputs([[0.8, 0.2]])) == "differ by up to 0.1"


def test_a_heat_map_has_a_cell_for_32_pixels_of_what_the_network_sees(signatures):
    """Or for the rest, as in ResNet50, whose convolutions of stride 2 round up."""
    assert read_image_size({"metadata": {"signature_def": {"signature_def": signatures}}}) == 224
    for side, size in ((7, 224), (2, 48), (1, 32)):
        assert check_heat_maps(np.ones((3, side, side)), 3, size) == ""
        assert "has the shape [3, 4, 4]" in check_heat_maps(np.ones((3, 4, 4)), 3, size)
    assert check_heat_maps(np.ones((2, 7, 7)), 3, 224) == "heatmap has the shape [2, 7, 7]; expected [3, 7, 7]"


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001, 1.001])
def test_a_heat_map_is_finite_and_from_0_to_1(value):
    heat_maps = np.zeros((2, 7, 7), np.float32)
    assert check_heat_maps(heat_maps, 2, 224) == ""
    heat_maps[1, 2, 3] = value
    assert check_heat_maps(heat_maps, 2, 224) == f"a heat map has the value {value:.4g}; expected 0 to 1"
