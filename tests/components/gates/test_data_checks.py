"""Problems that make data unfit for training, and warnings about data that is fit."""

import re

import pytest
from data_reports import make_broken, make_report
from image_files import CLASSES

from components.gates.data_checks import check_data, check_listing, find_warnings
from components.records.quarantine import GONE, LeftOut


def check(report=None, quarantine=(), classes=CLASSES, limit=0.05, min_accuracy=None):
    return "\n".join(check_data(report or make_report(), list(quarantine), classes, limit, min_accuracy))


def test_good_data_passes():
    """No problem, and no warning."""
    assert check() == ""
    assert find_warnings(make_report()) == []


def test_an_unknown_class_is_named():
    """A folder outside the list, with the list it is not in and what to do."""
    problem = check(make_report(train={"cat": 70, "dog": 70, "wolf": 5}))
    assert "the folder wolf is not among the classes cat, dog" in problem
    assert "--classes" in problem


def test_an_unknown_class_in_one_split_alone_is_named():
    """The class may be in any split."""
    assert "wolf" in check(make_report(test={"cat": 15, "dog": 15, "wolf": 1}))


def test_a_vanished_class_is_named():
    """The class list has the class, and no folder has its name."""
    problem = check(classes=["cat", "dog", "wolf"])
    assert "vanished class: no image of 'wolf' is left: there is no such folder" in problem


def test_a_class_that_was_left_out_altogether_is_named_with_the_number_of_its_files():
    """The folder is there, but no image of it was good."""
    quarantine = [LeftOut(path=f"wolf/{i}.jpg", label="wolf", reason="duplicate of a", broken=False) for i in range(4)]
    assert "no image of 'wolf' is left: all of its 4 files were left out" in check(
        quarantine=quarantine, classes=["cat", "dog", "wolf"]
    )


def test_a_renamed_class_is_both_unknown_and_vanished():
    """Both are said at once, so that the user sees what happened."""
    report = make_report({"cat": 70, "hound": 70}, {"cat": 15, "hound": 15}, {"cat": 15, "hound": 15})
    problem = check(report)
    assert "the folder hound is not among" in problem
    assert "no image of 'dog' is left" in problem


def test_one_class_is_refused():
    """A classifier needs two classes."""
    problem = check(make_report({"cat": 70}, {"cat": 15}, {"cat": 15}), classes=["cat"])
    assert "only one class (cat)" in problem


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_refused(split):
    """Nothing can be trained, chosen or judged on it."""
    assert f"the split '{split}' is empty" in check(make_report(**{split: {}}))


def test_a_class_without_a_training_image_is_refused():
    """The model could not learn that class."""
    assert "no training image of the class dog" in check(make_report(train={"cat": 70}))


def test_files_that_vanished_are_no_reason_to_allow_more_broken_ones():
    """The folder is not at rest: the message says so, and does not name the limit as the way out."""
    gone = [LeftOut(path=f"cat/{i}.jpg", label="cat", reason=GONE, broken=True) for i in range(30)]
    problem = check(quarantine=[*gone, *make_broken(1, "dog")])
    assert "31 of 200 files (15.5 %) are broken" in problem
    assert "30 of them vanished while the folder was read: run again when the folder is at rest." in problem
    assert "raise max_bad_fraction" not in problem
    assert "raise max_bad_fraction" in check(quarantine=make_broken(31))


def test_a_class_of_two_images_is_refused():
    """Three splits need an image each; the message names the class and how many there are."""
    problem = check(make_report({"cat": 70, "dog": 2}, {"cat": 15}, {"cat": 15}))
    assert "fewer than 3 images in the class dog (2)" in problem
    assert "Add images of it, or remove its folder." in problem
    assert "cat" not in problem


def test_too_few_files_are_said_before_one_is_read_in_the_same_words():
    """Files by class are enough to know, and the gate would only repeat it later."""
    (problem,) = check_listing({"cat": 100, "dog": 2, "wolf": 1, "fox": 3})
    assert "fewer than 3 images in the class dog (2), wolf (1)" in problem
    report = make_report({"cat": 70, "dog": 2, "wolf": 1, "fox": 1}, {"cat": 15, "fox": 1}, {"cat": 15, "fox": 1})
    assert problem == check(report, classes=["cat", "dog", "wolf", "fox"])
    assert check_listing({"cat": 3, "dog": 3}) == []


def test_a_class_of_three_images_passes():
    """One in each split."""
    report = make_report({"cat": 70, "dog": 1}, {"cat": 15, "dog": 1}, {"cat": 15, "dog": 1})
    assert check(report, min_accuracy=0.9) == ""


def test_too_many_broken_files_are_refused_naming_the_first_ten():
    """How many of how many, which limit, the first ten with a reason each, and how many more there are."""
    problem = check(quarantine=make_broken(13))
    assert "13 of 200 files (6.5 %) are broken; max_bad_fraction allows 5.0 %" in problem
    assert "raise max_bad_fraction" in problem
    assert "  cat/00.jpg: empty file" in problem
    assert "  cat/09.jpg: empty file" in problem
    assert "cat/10.jpg" not in problem
    assert problem.endswith("and 3 more")


def test_ten_broken_files_are_all_named():
    """The message does not count further files."""
    problem = check(make_report(files=100), make_broken(10))
    assert "  cat/09.jpg: empty file" in problem
    assert "more" not in problem


def test_files_that_were_left_out_are_not_broken():
    """A hundred duplicates do not stop a run."""
    quarantine = [file.model_copy(update={"broken": False}) for file in make_broken(100)]
    assert check(quarantine=quarantine) == ""


@pytest.mark.parametrize(("broken", "files", "limit"), [(10, 200, 0.05), (29, 100, 0.29), (57, 100, 0.57), (0, 9, 0.0)])
def test_exactly_as_many_broken_files_as_allowed_pass(broken, files, limit):
    """Whatever the limit is as a binary fraction: 0.29 * 100 is 28.999999999999996."""
    assert check(make_report(files=files), make_broken(broken), limit=limit) == ""


def test_one_more_broken_file_than_allowed_is_refused():
    """11 of 200 at 5 %; and a single one where none is allowed."""
    assert "11 of 200" in check(quarantine=make_broken(11))
    assert "1 of 200" in check(quarantine=make_broken(1), limit=0.0)


def test_broken_files_are_said_before_what_may_follow_from_them():
    """The class vanished because its files are broken; one cause, one message."""
    problem = check(quarantine=make_broken(60, "wolf"), classes=["cat", "dog", "wolf"])
    assert "60 of 200 files" in problem
    assert "vanished" not in problem


def test_few_images_to_test_are_warned_of():
    """The warning gives the effect of one wrong answer on the accuracy and on the rarest class's recall."""
    few = make_report(train={"cat": 42, "dog": 43}, val={"cat": 9, "dog": 9}, test={"cat": 9, "dog": 9})
    assert find_warnings(few) == ["few images to test (18): one more wrong answer lowers the accuracy by 5.6 points."]
    test = {"cat": 15, "dog": 3, "fox": 4}
    fewer = make_report(train={"cat": 70, "dog": 30, "fox": 30}, val={"cat": 15, "dog": 15, "fox": 15}, test=test)
    assert find_warnings(fewer) == [
        "few images to test (22): one more wrong answer lowers the accuracy by 4.5 points and the recall of dog, which "
        "has 3, by 33.3 points."
    ]


def test_many_images_to_test_are_not_warned_of_but_for_a_rare_class():
    """The number of training images does not matter."""
    assert find_warnings(make_report(train={"cat": 20, "dog": 20})) == []
    rare = make_report(test={"cat": 40, "dog": 4})
    assert find_warnings(rare) == [
        "few images to test (44): one more wrong answer lowers the recall of dog, which has 4, by 25 points."
    ]


def test_classes_of_very_different_size_are_warned_of():
    """More than five times as many: the numbers, and what can be done."""
    (warning,) = find_warnings(make_report(train={"cat": 321, "dog": 40}))
    assert warning.startswith("uneven classes: cat has 351 images and dog 70;")
    assert 'class_weights = "balanced"' in warning
    assert find_warnings(make_report(train={"cat": 320, "dog": 40})) == []


def test_a_class_that_is_absent_from_val_or_test_is_warned_of():
    """The data is fit for training all the same."""
    report = make_report(train={"cat": 70, "dog": 100}, val={"cat": 15}, test={"dog": 30})
    assert check(report, min_accuracy=0.9) == ""
    assert find_warnings(report) == ["no val image of the class dog.", "no test image of the class cat."]


def test_exif_orientations_are_warned_of_where_they_are_ignored():
    """The warning counts the images and says that the orientation is ignored, if it is."""
    assert find_warnings(make_report(oriented=7)) == []
    warnings = find_warnings(make_report(oriented=7), "ignore")
    assert len(warnings) == 1
    assert warnings[0].startswith("7 images have an EXIF orientation, which is ignored")


def test_class_totals_are_summed_over_the_splits():
    """A class counts even if it is in one split alone."""
    report = make_report(train={"dog": 3, "cat": 1}, val={}, test={"cat": 2, "ant": 1})
    assert list(report.images_by_class.items()) == [("ant", 1), ("cat", 3), ("dog", 3)]


@pytest.mark.parametrize(
    ("test", "train", "problem"),
    [
        ({"cat": 2, "dog": 2}, {"cat": 70, "dog": 70}, ""),
        (
            {"cat": 2, "dog": 1},
            {"cat": 70, "dog": 70},
            "too few test images \\(3\\) .*: 0.667 of test images .* needs 8 ",
        ),
        (
            {"cat": 30},
            {"cat": 70, "dog": 70},
            r"the test images \(30\) are all of the class cat: on them, no model is better",
        ),
    ],
)
def test_test_images_on_which_a_flawless_model_would_not_pass_are_refused(test, train, problem):
    """Before the training; with a min_accuracy the interval does not matter."""
    report = make_report(train=train, test=test)
    found = check(report)
    assert re.search(problem, found) if problem else found == ""
    assert check(report, min_accuracy=0.0) == ""


def test_too_few_test_images_are_refused_with_the_number_to_collect():
    """A share of 0.97 needs some 120 test images."""
    report = make_report({"cat": 679, "dog": 21}, {"cat": 97, "dog": 3}, {"cat": 97, "dog": 3})
    assert check(report) == (
        "too few test images (100) to show that a model is better than chance: 0.970 of all images are of the class "
        "cat, and a flawless model needs 125 test images for a 95 % interval above that. Add images, until 125 or more "
        "are tested, or set --min-accuracy."
    )
