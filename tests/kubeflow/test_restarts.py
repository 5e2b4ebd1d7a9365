"""A night on which the node of each task is lost behind its work: every task is started anew in an emptied folder."""

import pathlib
import shutil

import pytest
from strict_executor import StrictBackend

from components.records.push import PushOutcome
from pipeline.downloads.sample import write_digits
from serving.releases import versions

pytestmark = [pytest.mark.slow, pytest.mark.long]  # the Pusher's own tests are components/pusher/test_component.py

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Folder of the cluster's state, with images."""
    folder = tmp_path_factory.mktemp("cluster")
    write_digits(str(folder / "digits"))
    for label in "012":
        (folder / "photos" / label).mkdir(parents=True)
        for image in sorted((folder / "digits" / label).iterdir())[:30]:
            shutil.copy(image, folder / "photos" / label)
    return folder


@pytest.fixture(scope="module")
def ended(cluster, compile_digits, warm_python):
    """The run, and its log."""
    path = f"{warm_python.small_base.parent}:/usr/bin:/bin"
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": path}
    backend = StrictBackend(cluster / "backend", environment, bucket=True, restart=True)
    lines = []
    run = backend.run(compile_digits(cluster / "photos", cluster / "graft"), {}, lines.append)
    assert run.state == "SUCCEEDED", "\n".join(lines)
    return run


def test_every_task_succeeds_the_second_time(ended):
    """None meets what its first start left in the stores."""
    assert {task.state for task in ended.tasks.values()} == {"SUCCEEDED"}


def test_one_version_is_pushed_and_reported_as_new(ended, cluster):
    """By the second start of the Pusher, which pushed nothing."""
    [version] = versions.find_versions(str(cluster / "graft/serving/graft"))
    outcome = PushOutcome.read(ended.tasks["Pusher"].outputs["pushed_model"]["metadata"])
    assert (outcome.version, outcome.new, outcome.canary) == (version.number, True, False)
    assert version.record.run_id == ended.run_id
    assert not (cluster / "graft/serving/graft/not_pushed.json").exists()


@pytest.mark.usefixtures("ended")
def test_nothing_is_stored_twice(cluster):
    """The Embedder finds the rows of its first start."""
    rows = [path for path in (cluster / "graft/embeddings").rglob("*.arrow") if path.is_file()]
    assert len({path.read_bytes() for path in rows}) == len(rows) > 0
