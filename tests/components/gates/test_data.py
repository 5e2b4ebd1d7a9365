"""DataGate and DriftGate stop a run on unfit data with one message."""

import pathlib

import numpy as np
import pytest
from data_reports import make_broken, make_report
from image_files import CLASSES
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from components.artifacts import DataVerdict, IngestReport
from components.embedder.moments import Moments
from components.gates.data import DataGate, DataGateSettings, DriftGate, DriftGateSettings, read_anomalies
from components.gates.data_checks import find_warnings
from components.records.gate_verdict import GateVerdict
from components.records.quarantine import write_quarantine
from components.run_parameters import NOT_GIVEN
from schema.errors import DataError


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
DRIFTED = "the label mix drifted: 90 % of the images are cat, and 50 % of those of version 7 were"


@pytest.fixture
def run_gate(tmp_path, write_statistics):
    """Returns a function that runs the component on a report, a quarantine, anomalies and statistics of images.

    Gives the verdict.
    """

    def run(report, quarantine=(), images=EVEN, brightness=120, live="", force=0, min_accuracy=NOT_GIVEN, **anomalies):
        artifacts = {
            "report": IngestReport(),
            "statistics": standard_artifacts.ExampleStatistics(),
            "anomalies": standard_artifacts.ExampleAnomalies(),
        }
        verdict = DataVerdict()
        for name, artifact in (artifacts | {"verdict": verdict}).items():
            artifact.uri = str(tmp_path / name)
            (tmp_path / name).mkdir()
        report.write(str(tmp_path / "report"))
        write_quarantine(str(tmp_path / "report"), quarantine)
        write_anomalies(tmp_path / "anomalies", **anomalies)
        write_statistics(tmp_path / "statistics", images, brightness)
        DataGate.EXECUTOR_SPEC.executor_class().Do(
            {name: [artifact] for name, artifact in artifacts.items()},
            {"verdict": [verdict]},
            {
                "settings": DataGateSettings(
                    live=live, classes=CLASSES, max_bad_fraction=0.05, orientation="ignore"
                ).model_dump_json(),
                "model_dir": str(tmp_path / "serving"),
                "min_accuracy": min_accuracy,
                "max_label_drift": 0.3,
                "max_brightness_drift": 0.3,
                "force": force,
                "code_digest": "",
            },
        )
        return GateVerdict.read(str(tmp_path / "verdict"))

    return run


@pytest.fixture
def push_version(tmp_path, write_statistics, serve):
    """Returns a function that makes a live version of these images; gives its identity."""

    def push(images=EVEN, number=7, classes=CLASSES):
        folder = write_statistics(tmp_path / f"statistics of {number}", images)
        statistics = pathlib.Path(folder, "Split-train/FeatureStats.pb").read_bytes()
        record = {"classes": classes} if classes else {}
        return serve(tmp_path / "serving", {"FeatureStats.pb": statistics}, number, **record).identity

    return push


def test_the_gate_lets_good_data_pass_with_its_warnings(run_gate):
    """A verdict is written, for the report."""
    report = make_report(oriented=2)
    assert run_gate(report, make_broken(10)).warnings == find_warnings(report, "ignore") != find_warnings(report)


def test_the_gate_stops_a_run_on_bad_data(run_gate, tmp_path):
    """One DataError with all lines, and no verdict."""
    with pytest.raises(DataError, match="13 of 200 files") as error:
        run_gate(make_report(), make_broken(13))
    assert len(str(error.value).splitlines()) == 12
    assert not (tmp_path / "verdict/gate_verdict.json").exists()


def test_the_gate_stops_a_run_whose_model_could_not_pass(run_gate):
    """Unless the user says what accuracy is enough."""
    few = make_report(test={"cat": 2, "dog": 1})
    with pytest.raises(DataError, match=r"too few test images \(3\) to show that a model is better than chance"):
        run_gate(few)


def test_with_a_bound_of_the_users_few_test_images_will_do(run_gate):
    """Then no interval has to lie above the share of the largest class."""
    assert run_gate(make_report(test={"cat": 2, "dog": 1}), min_accuracy=0.5).warnings


def test_the_gate_stops_a_run_on_an_anomaly(run_gate):
    """ExampleValidator itself stops no run."""
    with pytest.raises(DataError, match="val: label: Unexpected value: wolf"):
        run_gate(make_report(), val=make_anomaly("label", "Unexpected value: wolf"))


def test_a_file_name_with_a_line_separator_does_not_break_the_gate(run_gate):
    """U+2028 and U+0085 end no line of the quarantine: JSON lines end at a newline alone."""
    entry = make_broken(1)[0].model_copy(update={"path": "cat/a\u2028b\u0085c.jpg"})
    assert run_gate(make_report(), [entry]).warnings == []


def test_the_gate_stops_a_run_on_images_that_drifted(run_gate, push_version, tmp_path):
    """Both problems at once, and no verdict."""
    push_version()
    with pytest.raises(DataError, match=DRIFTED) as error:
        run_gate(make_report(), images=UNEVEN, brightness=20)
    assert "\nthe brightness drifted: " in str(error.value)
    assert not (tmp_path / "verdict/gate_verdict.json").exists()


def test_the_gate_lets_images_pass_that_have_not_drifted(run_gate, push_version):
    """The images are like those of the live version."""
    push_version()
    assert run_gate(make_report()).warnings == []


def test_a_forced_run_is_warned_of_the_drift(run_gate, push_version):
    """The drift is a warning behind the other warnings."""
    push_version()
    *warnings, drift = run_gate(make_report(oriented=2), images=UNEVEN, force=1).warnings
    assert warnings == find_warnings(make_report(oriented=2), "ignore")
    assert drift.startswith(DRIFTED)


def test_force_lets_no_bad_data_pass(run_gate):
    """--force applies to drift only."""
    with pytest.raises(DataError, match="13 of 200 files"):
        run_gate(make_report(), make_broken(13), force=1)


def test_bad_data_is_said_before_the_drift_that_may_follow_from_it(run_gate, push_version):
    """The bad data may be the cause of the drift."""
    push_version()
    with pytest.raises(DataError, match="13 of 200 files") as error:
        run_gate(make_report(), make_broken(13), images=UNEVEN)
    assert "drifted" not in str(error.value)


@pytest.mark.parametrize("classes", [["dog", "cat"], ["cat", "dog", "owl"], None])
def test_images_are_not_compared_with_those_of_a_model_of_other_classes(run_gate, push_version, classes):
    """Other classes mean other images; a model that is not Graft's has no class list."""
    push_version(classes=classes)
    assert run_gate(make_report(), images=UNEVEN, brightness=20).warnings == []


def test_images_are_compared_with_those_of_the_version_that_was_live(run_gate, push_version):
    """The live version at the start of the run is compared, not one that was pushed since."""
    identity = push_version(EVEN, 7)
    push_version(UNEVEN, 8)
    with pytest.raises(DataError, match=DRIFTED):
        run_gate(make_report(), images=UNEVEN, live=identity)


@pytest.mark.parametrize("live", ["", "none"])
def test_the_first_images_have_not_drifted(run_gate, live):
    """No version is live."""
    assert run_gate(make_report(), images=UNEVEN, live=live).warnings == []


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
                "settings": DriftGateSettings(live=live, classes=classes).model_dump_json(),
                "model_dir": str(tmp_path / "serving"),
                "max_embedding_drift": 0.5,
                "force": force,
                "code_digest": "",
            },
        )
        return GateVerdict.read(str(tmp_path / "verdict"))

    return run


def test_the_drift_gate_stops_a_run_whose_embeddings_drifted(run_drift_gate, tmp_path):
    """Before the training, and without a verdict."""
    with pytest.raises(DataError, match=r"the mean embedding is 2\.0\d standard deviations from that of version 7"):
        run_drift_gate(2)
    assert not (tmp_path / "verdict/gate_verdict.json").exists()


def test_the_drift_gate_lets_embeddings_pass_that_have_not_drifted(run_drift_gate):
    """With a verdict, for the report."""
    assert run_drift_gate(0.3).warnings == []


def test_the_drift_gate_warns_a_forced_run(run_drift_gate):
    """The drift is a warning in the verdict."""
    [warning] = run_drift_gate(2, force=1).warnings
    assert warning.startswith("the images drifted: ")


def test_the_drift_gate_compares_with_nothing_where_nothing_was_live(run_drift_gate):
    """No version was live when the run began; a later version belongs to another run."""
    assert run_drift_gate(2, live="none").warnings == []


def test_the_drift_gate_does_not_compare_with_a_model_of_other_classes(run_drift_gate):
    """Other classes mean other images."""
    assert run_drift_gate(2, classes=["cat", "dog", "wolf"]).warnings == []
