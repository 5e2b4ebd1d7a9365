"""Three nights of a schedule: the compiled pipeline, task by task as Kubeflow would run it, on real images."""

import pathlib
import shutil

import pytest
from strict_executor import StrictBackend

from pipeline.downloads.sample import write_digits
from serving.releases import versions

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
DAYS = {"2026-11-21": slice(0, 30), "2026-11-23": slice(30, 60)}
UNTIL_THE_GATE = {"ExampleGen", "SchemaGen", "RetrainingGate"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Folder of the cluster's state."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def spec(compile_digits, cluster):
    """The compiled pipeline, for folders of the cluster."""
    return compile_digits(cluster / "photos", cluster / "graft")


@pytest.fixture(scope="module")
def backend(cluster, warm_python):
    """Backend whose image has a Python with a small base."""
    path = f"{warm_python.small_base.parent}:/usr/bin:/bin"
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": path}
    return StrictBackend(cluster / "backend", environment, bucket=True)


@pytest.fixture(scope="module")
def run_night(cluster, backend, spec):
    """Adds the images of a day, if there are any, and runs that night's scheduled run."""
    write_digits(str(cluster / "digits"))

    def run(date):
        for label in "012" if date in DAYS else "":
            folder = cluster / "photos" / date / label
            folder.mkdir(parents=True)
            for image in sorted((cluster / "digits" / label).iterdir())[DAYS[date]]:
                shutil.copy(image, folder)
        lines = []
        ended = backend.run(spec, {"window_end": date, "window_days": 30}, lines.append)
        return ended, "\n".join(lines), versions.find_versions(str(cluster / "graft/serving/graft"))

    return run


@pytest.fixture(scope="module")
def first(run_night):
    return run_night("2026-11-21")


@pytest.fixture(scope="module")
def second(first, run_night):
    return run_night("2026-11-22")


@pytest.fixture(scope="module")
def third(second, run_night):
    return run_night("2026-11-23")


def list_states(ended, state):
    return {name for name, task in ended.tasks.items() if task.state == state}


def test_the_first_night_ends_in_a_pushed_model(first):
    """Each task in a process of its own, and nothing but what the backend hands it."""
    ended, log, found = first
    assert ended.state == "SUCCEEDED", log
    assert list_states(ended, "SUCCEEDED") == set(ended.tasks)
    assert len(found) == 1


def test_a_pushed_version_says_which_run_made_it(first):
    """As the backend names it, with the window and the accuracy."""
    ended, _, [version] = first
    assert version.record.run_id == ended.run_id
    assert version.record.window_end == "2026-11-21"
    assert version.record.metrics.accuracy > 0.5


def test_artifacts_lie_in_the_bucket(first, cluster):
    """Under the address that the backend gave them, not in a folder of the container."""
    ended, _, _ = first
    uri = ended.tasks["Trainer"].outputs["model"]["uri"]
    assert uri.startswith(f"minio://mlpipeline/v2/artifacts/graft/{ended.run_id}/Trainer/")
    model = cluster / "backend/bucket" / uri.removeprefix("minio://")
    assert (model / "Format-Serving/saved_model.pb").exists()


def test_nobody_else_may_write_into_the_stores(first, cluster):
    """Argo's umask is 0: what a task makes on a mounted folder would be of everybody."""
    modes = {path: path.stat().st_mode for path in (cluster / "graft").rglob("*") if path != cluster / "graft"}
    assert {path.name for path in modes} >= {"embeddings", "decoded", "saved_model.pb"}
    assert [str(path) for path, mode in modes.items() if mode & 0o022] == []


def test_a_night_without_new_images_ends_early_and_well(second):
    """Nothing is trained, the run has succeeded, and the log says why."""
    ended, log, found = second
    assert ended.state == "SUCCEEDED", log
    assert set(ended.tasks) - list_states(ended, "SKIPPED") == UNTIL_THE_GATE
    assert ended.tasks["RetrainingGate"].parameters == {"train": "false"}
    assert f"nothing new: version {found[-1].number} has seen all" in ended.tasks["RetrainingGate"].log
    assert len(found) == 1


@pytest.mark.long  # tests/pipeline/test_retraining.py does so on one machine
def test_a_night_with_new_images_trains_and_compares_with_the_live_model(third):
    """The baseline is what was live in the push destination."""
    ended, log, found = third
    assert ended.state == "SUCCEEDED", log
    assert list_states(ended, "CACHED") == set()
    baselines = [version.record.metrics.model_extra["baseline"] for version in found]
    assert baselines[0] is None
    assert baselines[1]["version"] == found[0].number
    assert sum(sum(by_label.values()) for by_label in found[1].record.counts.values()) == 180


@pytest.mark.long
def test_images_keep_their_split_from_night_to_night(third):
    """What was tested on is not trained on: the salt is that of the live version."""
    _, _, found = third
    assert found[0].record.salt == found[1].record.salt
