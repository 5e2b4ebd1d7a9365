"""`./graft tensorboard`: logs of a workspace, by run and phase."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from ports import pick_port

from pipeline.local.tensorboard import find_logs, link_logs, make_command, serve_logs
from pipeline.workspace.manifest import RunManifest
from pipeline.workspace.workspace import Workspace
from schema.errors import UsageError
from serving.releases.record import RunConfig, RunResolved

FIRST, CACHED = "20261127T010000-000Z-aaaa", "20261127T020000-000Z-bbbb"


@pytest.fixture
def workspace(tmp_path):
    """A workspace: execution 7 of the Trainer belongs to two runs, the second from the cache; 9 has no manifest."""
    for execution in ("7", "9"):
        for phase in ("head", "fine-tune"):
            (tmp_path / f"pipeline/Trainer/model_run/{execution}/tensorboard/{phase}/train").mkdir(parents=True)
    for run_id in (FIRST, CACHED):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        model = "pipeline/Trainer/model/7/Format-Serving"
        start = {"run_id": run_id, "config": RunConfig(), "resolved": RunResolved(), "seconds": {}}
        RunManifest(**start, trained_model=model).write(str(tmp_path / "runs" / run_id))
    return Workspace(tmp_path)


def test_logs_are_named_by_the_run_that_trained(workspace):
    """A run that took the model from the cache adds no name; a training without a manifest is listed, too."""
    root = workspace.root / "pipeline/Trainer/model_run"
    assert find_logs(workspace) == {FIRST: root / "7/tensorboard", "unfinished-9": root / "9/tensorboard"}


def test_tensorboard_reads_the_logs_below_the_names_of_the_runs(workspace, tmp_path_factory):
    """Each run has both phases."""
    folder = tmp_path_factory.mktemp("links")
    link_logs(find_logs(workspace), folder)
    found = {os.path.relpath(path, folder) for path, folders, _ in os.walk(folder, followlinks=True) if not folders}
    phases = ("head/train", "fine-tune/train")
    assert found == {f"{name}/{phase}" for name in (FIRST, "unfinished-9") for phase in phases}


def test_tensorboard_listens_on_this_machine_alone():
    """Other machines on the network cannot read the logs."""
    command = make_command("logs", 6006)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--bind_all" not in command


def test_without_a_training_the_workspace_is_named(tmp_path):
    """No server is started."""
    with pytest.raises(UsageError, match="no run has trained here"):
        serve_logs(str(tmp_path), 6006, print)


@pytest.mark.long
def test_tensorboard_shows_both_phases_by_run(workspace):
    """TensorBoard itself lists the runs; SIGINT ends it with exit code 0."""
    import tensorflow as tf

    for folder in (workspace.artifacts / "Trainer/model_run").glob("*/tensorboard/*/train"):
        with tf.summary.create_file_writer(str(folder)).as_default():
            tf.summary.scalar("epoch_loss", 0.5, step=0)
    port = pick_port()
    call = f"serve_logs({str(workspace.root)!r}, {port}, print)"
    code = f"from pipeline.local.tensorboard import serve_logs; exit({call})"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline, runs = time.monotonic() + 120, []
        while time.monotonic() < deadline and len(runs) < 4:
            with contextlib.suppress(OSError):
                runs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs", timeout=5))
            time.sleep(0.5)
        phases = ("fine-tune/train", "head/train")
        assert sorted(runs) == [f"{name}/{phase}" for name in (FIRST, "unfinished-9") for phase in phases]
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()
