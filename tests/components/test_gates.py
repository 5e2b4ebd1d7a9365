"""The gate stops a run on data that should not be trained on, in one message."""

import json
import pathlib

import numpy as np
import pytest
from image_files import CLASSES
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from components.artifacts import DataVerdict, IngestReport
from components.gates import (
    DataGate,
    DriftGate,
    check_data,
    check_listing,
    class_totals,
    find_warnings,
    read_anomalies,
)
from components.moments import Moments
from schema.errors import DataError


def make_report(train=None, val=None, test=None, files=200, oriented=0):
    """What ExampleGen reports; by default of 100 good images in each of two classes."""
    counts = {
        "train": {"cat": 70, "dog": 70} if train is None else train,
        "val": {"cat": 15, "dog": 15} if val is None else val,
        "test": {"cat": 15, "dog": 15} if test is None else test,
    }
    return {"files": files, "oriented": oriented, "contradictions": 0, "counts": counts}


def make_broken(count, label="cat"):
    return [
        {"path": f"{label}/{i:02d}.jpg", "label": label, "reason": "empty file", "broken": True} for i in range(count)
    ]


def check(report=None, quarantine=(), classes=CLASSES, limit=0.05):
    return "\n".join(check_data(report or make_report(), list(quarantine), classes, limit))


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
    """It need not be in train."""
    assert "wolf" in check(make_report(test={"cat": 15, "dog": 15, "wolf": 1}))


def test_a_vanished_class_is_named():
    """It is in the list, and there is no folder."""
    problem = check(classes=["cat", "dog", "wolf"])
    assert "vanished class: no image of 'wolf' is left: there is no such folder" in problem


def test_a_class_that_was_left_out_altogether_is_named_with_the_number_of_its_files():
    """The folder is there, but no image of it was good."""
    quarantine = [
        {"path": f"wolf/{i}.jpg", "label": "wolf", "reason": "duplicate of a", "broken": False} for i in range(4)
    ]
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
    """There is nothing to tell apart."""
    problem = check(make_report({"cat": 70}, {"cat": 15}, {"cat": 15}), classes=["cat"])
    assert "only one class (cat)" in problem


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_refused(split):
    """Nothing can be trained, chosen or judged on it."""
    assert f"the split '{split}' is empty" in check(make_report(**{split: {}}))


def test_a_class_without_a_training_image_is_refused():
    """It could not be learnt."""
    assert "no training image of the class dog" in check(make_report(train={"cat": 70}))


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
    assert check(make_report({"cat": 70, "dog": 1}, {"cat": 15, "dog": 1}, {"cat": 15, "dog": 1})) == ""


def test_too_many_broken_files_are_refused_naming_the_first_ten():
    """How many of how many, which limit, the first ten with a reason each, and how many more there are."""
    problem = check(quarantine=make_broken(13))
    assert "13 of 200 files (6.5%) are broken; max_bad_fraction allows 5.0%" in problem
    assert "raise max_bad_fraction" in problem
    assert "  cat/00.jpg: empty file" in problem
    assert "  cat/09.jpg: empty file" in problem
    assert "cat/10.jpg" not in problem
    assert problem.endswith("and 3 more")


def test_ten_broken_files_are_all_named():
    """There are no more, so none are counted."""
    problem = check(make_report(files=100), make_broken(10))
    assert "  cat/09.jpg: empty file" in problem
    assert "more" not in problem


def test_files_that_were_left_out_are_not_broken():
    """A hundred duplicates do not stop a run."""
    quarantine = [q | {"broken": False} for q in make_broken(100)]
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
    """By what one more wrong answer changes, of all and of the rarest class."""
    few = make_report(train={"cat": 42, "dog": 43}, val={"cat": 9, "dog": 9}, test={"cat": 9, "dog": 9})
    assert find_warnings(few) == ["few images to test (18): one more wrong answer lowers the accuracy by 5.6 points."]
    test = {"cat": 15, "dog": 3, "fox": 4}
    fewer = make_report(train={"cat": 70, "dog": 30, "fox": 30}, val={"cat": 15, "dog": 15, "fox": 15}, test=test)
    assert find_warnings(fewer) == [
        "few images to test (22): one more wrong answer lowers the accuracy by 4.5 points and the recall of dog, which "
        "has 3, by 33 points."
    ]


def test_many_images_to_test_are_not_warned_of_but_for_a_rare_class():
    """However few there are to train."""
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
    assert check(report) == ""
    assert find_warnings(report) == ["no val image of the class dog.", "no test image of the class cat."]


def test_exif_orientations_are_warned_of():
    """How many images carry one, and that it is ignored."""
    warnings = find_warnings(make_report(oriented=7))
    assert len(warnings) == 1
    assert warnings[0].startswith("7 images carry an EXIF orientation, which is ignored")


def test_class_totals_are_summed_over_the_splits():
    """A class counts even if it is in one split alone."""
    totals = class_totals({"train": {"dog": 3, "cat": 1}, "val": {}, "test": {"cat": 2, "ant": 1}})
    assert list(totals.items()) == [("ant", 1), ("cat", 3), ("dog", 3)]


def write_anomalies(folder, **by_split):
    """Writes what ExampleValidator writes: a proto in each split's folder."""
    for split in ("train", "val", "test"):
        (folder / f"Split-{split}").mkdir(parents=True)
        proto = by_split.get(split, anomalies_pb2.Anomalies())
        (folder / f"Split-{split}" / "SchemaDiff.pb").write_bytes(proto.SerializeToString())
    return str(folder)


def make_anomaly(feature, description):
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info[feature].description = description
    return anomalies


def test_anomalies_are_a_line_each(tmp_path):
    """With the split and the feature; those of the data set as a whole as well."""
    train = make_anomaly("label", "Unexpected value: wolf")
    train.anomaly_info["digest"].description = "Column dropped"
    test = anomalies_pb2.Anomalies()
    test.dataset_anomaly_info.description = "Too few examples"
    assert read_anomalies(write_anomalies(tmp_path, train=train, test=test)) == [
        "train: digest: Column dropped",
        "train: label: Unexpected value: wolf",
        "test: Too few examples",
    ]


def test_no_anomaly_is_no_line(tmp_path):
    """Three empty protos, as for data that fits the schema."""
    assert read_anomalies(write_anomalies(tmp_path)) == []


EVEN, UNEVEN = {"cat": 50, "dog": 50}, {"cat": 90, "dog": 10}
DRIFTED = "the label mix drifted: 90% of the images are cat, and 50% of those of version 7 were"


@pytest.fixture
def run_gate(tmp_path, write_statistics):
    """Returns a function that runs the component on a report, a quarantine, anomalies and statistics of images.

    Gives the verdict.
    """

    def run(report, quarantine=(), images=EVEN, brightness=120, live="", force=0, **anomalies):
        artifacts = {
            "report": IngestReport(),
            "statistics": standard_artifacts.ExampleStatistics(),
            "anomalies": standard_artifacts.ExampleAnomalies(),
        }
        verdict = DataVerdict()
        for name, artifact in (artifacts | {"verdict": verdict}).items():
            artifact.uri = str(tmp_path / name)
            (tmp_path / name).mkdir()
        (tmp_path / "report/report.json").write_text(json.dumps(report))
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in quarantine)
        (tmp_path / "report/quarantine.jsonl").write_text(lines, encoding="utf-8")
        write_anomalies(tmp_path / "anomalies", **anomalies)
        write_statistics(tmp_path / "statistics", images, brightness)
        DataGate.EXECUTOR_SPEC.executor_class().Do(
            {name: [artifact] for name, artifact in artifacts.items()},
            {"verdict": [verdict]},
            {
                "classes": json.dumps(CLASSES),
                "max_bad_fraction": 0.05,
                "model_dir": str(tmp_path / "serving"),
                "live": live,
                "max_label_drift": 0.3,
                "max_brightness_drift": 0.3,
                "force": force,
                "code_digest": "",
            },
        )
        return json.loads((tmp_path / "verdict/verdict.json").read_text())

    return run


@pytest.fixture
def push_version(tmp_path, write_statistics, serve):
    """Returns a function that makes a live version of these images; gives its identity."""

    def push(images=EVEN, number=7, classes=CLASSES):
        folder = write_statistics(tmp_path / f"statistics of {number}", images)
        statistics = pathlib.Path(folder, "Split-train/FeatureStats.pb").read_bytes()
        return serve(tmp_path / "serving", {"FeatureStats.pb": statistics}, number, classes=classes).identity

    return push


def test_the_gate_lets_good_data_pass_with_its_warnings(run_gate):
    """A verdict is written, for the report."""
    report = make_report(oriented=2)
    assert run_gate(report, make_broken(10)) == {"warnings": find_warnings(report)}


def test_the_gate_stops_a_run_on_bad_data(run_gate, tmp_path):
    """One DataError with all lines, and no verdict."""
    with pytest.raises(DataError, match="13 of 200 files") as error:
        run_gate(make_report(), make_broken(13))
    assert len(str(error.value).splitlines()) == 12
    assert not (tmp_path / "verdict/verdict.json").exists()


def test_the_gate_stops_a_run_on_an_anomaly(run_gate):
    """ExampleValidator by itself stops nobody."""
    with pytest.raises(DataError, match="val: label: Unexpected value: wolf"):
        run_gate(make_report(), val=make_anomaly("label", "Unexpected value: wolf"))


def test_a_file_name_with_a_line_separator_does_not_break_the_gate(run_gate):
    """U+2028 and U+0085 end no line of the quarantine: JSON lines end at a newline alone."""
    entry = make_broken(1)[0] | {"path": "cat/a\u2028b\u0085c.jpg"}
    assert run_gate(make_report(), [entry]) == {"warnings": []}


def test_the_gate_stops_a_run_on_images_that_drifted(run_gate, push_version, tmp_path):
    """Both problems at once, and no verdict."""
    push_version()
    with pytest.raises(DataError, match=DRIFTED) as error:
        run_gate(make_report(), images=UNEVEN, brightness=20)
    assert "\nthe brightness drifted: " in str(error.value)
    assert not (tmp_path / "verdict/verdict.json").exists()


def test_the_gate_lets_images_pass_that_have_not_drifted(run_gate, push_version):
    """As those of the live version."""
    push_version()
    assert run_gate(make_report()) == {"warnings": []}


def test_a_forced_run_is_warned_of_the_drift(run_gate, push_version):
    """Behind the other warnings: whoever forces it should know."""
    push_version()
    *warnings, drift = run_gate(make_report(oriented=2), images=UNEVEN, force=1)["warnings"]
    assert warnings == find_warnings(make_report(oriented=2))
    assert drift.startswith(DRIFTED)


def test_force_lets_no_bad_data_pass(run_gate):
    """It is about drift alone."""
    with pytest.raises(DataError, match="13 of 200 files"):
        run_gate(make_report(), make_broken(13), force=1)


def test_bad_data_is_said_before_the_drift_that_may_follow_from_it(run_gate, push_version):
    """One cause, one message."""
    push_version()
    with pytest.raises(DataError, match="13 of 200 files") as error:
        run_gate(make_report(), make_broken(13), images=UNEVEN)
    assert "drifted" not in str(error.value)


@pytest.mark.parametrize("classes", [["dog", "cat"], ["cat", "dog", "owl"], None])
def test_images_are_not_compared_with_those_of_a_model_of_other_classes(run_gate, push_version, classes):
    """Whoever names other classes has looked at the mix; a model of somebody else names none."""
    push_version(classes=classes)
    assert run_gate(make_report(), images=UNEVEN, brightness=20) == {"warnings": []}


def test_images_are_compared_with_those_of_the_version_that_was_live(run_gate, push_version):
    """When the run began, if that is known; another one has been pushed since."""
    identity = push_version(EVEN, 7)
    push_version(UNEVEN, 8)
    with pytest.raises(DataError, match=DRIFTED):
        run_gate(make_report(), images=UNEVEN, live=identity)


@pytest.mark.parametrize("live", ["", "none"])
def test_the_first_images_have_not_drifted(run_gate, live):
    """There is nothing to compare them with."""
    assert run_gate(make_report(), images=UNEVEN, live=live) == {"warnings": []}


@pytest.fixture
def run_drift_gate(tmp_path, serve):
    """Returns a function that runs the DriftGate on embeddings, given the mean now and that of the live version."""

    def run(mean, before=0.0, live="", force=0, classes=CLASSES):
        for name, value in (("embeddings", mean), ("before", before)):
            (tmp_path / name).mkdir()
            embeddings = np.random.default_rng(0).normal(value, 1, (60, 2048))
            Moments.of(embeddings, "{}").write(str(tmp_path / name))
        serve(tmp_path / "serving", {"moments.npz": (tmp_path / "before/moments.npz").read_bytes()}, classes=CLASSES)
        embeddings, verdict = standard_artifacts.Examples(), DataVerdict()
        embeddings.uri, verdict.uri = str(tmp_path / "embeddings"), str(tmp_path / "verdict")
        (tmp_path / "verdict").mkdir()
        DriftGate.EXECUTOR_SPEC.executor_class().Do(
            {"embeddings": [embeddings]},
            {"verdict": [verdict]},
            {
                "classes": json.dumps(classes),
                "model_dir": str(tmp_path / "serving"),
                "live": live,
                "max_embedding_drift": 0.5,
                "force": force,
                "code_digest": "",
            },
        )
        return json.loads((tmp_path / "verdict/verdict.json").read_text())

    return run


def test_the_drift_gate_stops_a_run_whose_embeddings_drifted(run_drift_gate, tmp_path):
    """Before the training, and without a verdict."""
    with pytest.raises(DataError, match=r"the mean embedding is 2\.0\d standard deviations from that of version 7"):
        run_drift_gate(2)
    assert not (tmp_path / "verdict/verdict.json").exists()


def test_the_drift_gate_lets_embeddings_pass_that_have_not_drifted(run_drift_gate):
    """With a verdict, for the report."""
    assert run_drift_gate(0.3) == {"warnings": []}


def test_the_drift_gate_warns_a_forced_run(run_drift_gate):
    """Whoever forces it should know."""
    [warning] = run_drift_gate(2, force=1)["warnings"]
    assert warning.startswith("the images drifted: ")


def test_the_drift_gate_compares_with_nothing_where_nothing_was_live(run_drift_gate):
    """When the run began: what came since is of another run."""
    assert run_drift_gate(2, live="none") == {"warnings": []}


def test_the_drift_gate_does_not_compare_with_a_model_of_other_classes(run_drift_gate):
    """Those are other images, and whoever names them has looked at them."""
    assert run_drift_gate(2, classes=["cat", "dog", "wolf"]) == {"warnings": []}
