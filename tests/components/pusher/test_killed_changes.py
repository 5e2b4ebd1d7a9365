"""Pushes, rollbacks, promotions and removals that are killed at any step: served versions and labels stay valid."""

import os
import pathlib
import shutil

import killed_changes
import pytest
from forks import start_fork
from google.protobuf import text_format
from killed_changes import CHANGES, DONE, KILLED, write_model
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from components.pusher.push import push
from serving.releases import models_config, releases, versions
from serving.releases.record import VersionRecord

GRAPHS = {"3": b"3", "5": b"5", "8": b"8", "9": b"9", "withdrawn-7": b"7"}


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    """Skips syncs to disk, because no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def make_folder(tmp_path):
    """Returns a function that makes a serving folder with versions in each state, and a model to push."""
    write_model(tmp_path / "model", b"new")
    write_model(tmp_path / "first/graft/3", b"3")
    for name, graph in GRAPHS.items():
        shutil.rmtree(tmp_path / "first/graft" / name, ignore_errors=True)
        write_model(tmp_path / "first/graft" / name, graph)
    releases.mark_canary(str(tmp_path / "first/graft/8"))
    releases.keep(str(tmp_path / "first/graft"), 9)

    def make(name):
        shutil.copytree(tmp_path / "first", tmp_path / name)
        # A copy: its own path stands in models.config as soon as something is changed.
        return str(tmp_path / name / "graft")

    return make


def end(process):
    """Returns the exit code of a process, once it has ended."""
    process.join()
    return process.exitcode


def read_labels(model_dir):
    with open(models_config.find_file(model_dir)) as file:
        config = text_format.Parse(file.read(), ModelServerConfig())
    return dict(config.model_config_list.config[0].version_labels)


def graph_of(version):
    """Of a version that is there with all of its files."""
    files = sorted(os.path.relpath(p, version.path) for p in pathlib.Path(version.path).rglob("*") if p.is_file())
    assert {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"} <= set(files)
    return (pathlib.Path(version.path) / "saved_model.pb").read_bytes()


def look(model_dir):
    """Checks what holds at every moment; returns the graph that is live."""
    found = releases.read(model_dir)
    graphs = {version.number: graph_of(version) for version in found.numbered}
    assert set(read_labels(model_dir).values()) <= set(graphs)
    return graphs[found.live.number]


LONG = {
    "keep",
    "push of a canary",
    "rollback of the canary",
    "promotion of an older version",
    "promotion of a withdrawn version",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in CHANGES])
def test_killed_anywhere_no_label_means_a_version_that_is_gone(make_folder, name):
    """The live version is the old or the new one; the next change recovers and leaves no temporary files."""
    done = make_folder("done")
    before = look(done)
    CHANGES[name](done)
    after, kill_at, status = look(done), 0, KILLED
    while status == KILLED:
        model_dir = make_folder(f"killed at {kill_at}")
        status = end(start_fork(killed_changes.change_until, kill_at, name, model_dir))
        assert status in (KILLED, DONE)
        assert look(model_dir) in (before, after)
        releases.keep(model_dir, 9)
        assert look(model_dir) in (before, after)
        assert read_labels(model_dir) == releases.read(model_dir).labels
        assert not [name for name in os.listdir(model_dir) if name.startswith(".")]
        assert sorted(os.listdir(os.path.dirname(model_dir))) == [".lock", "graft", "models.config"]
        kill_at += 1
    assert look(model_dir) == after
    assert kill_at > 2


def test_what_a_living_process_stages_stays(make_folder):
    """A push does not remove the staging folder of another push that is running."""
    model_dir = make_folder("two")
    with versions.stage(model_dir) as staging:
        write_model(pathlib.Path(staging), b"slow")
        releases.keep(model_dir, 9)
        push(str(pathlib.Path(model_dir).parents[1] / "model"), model_dir, VersionRecord())
        assert os.path.exists(os.path.join(staging, "saved_model.pb"))
    assert not [name for name in os.listdir(model_dir) if name.startswith(".")]


@pytest.mark.parametrize(("processes", "pushes"), [(2, 4), pytest.param(2, 20, marks=pytest.mark.long)])
def test_pushes_of_two_pipelines_at_once_all_succeed(tmp_path, processes, pushes):
    """Each is whole and has a number of its own, and the label means the last one. Before, 39 of 40 failed."""
    model_dir = str(tmp_path / "serving/graft")
    started = [start_fork(killed_changes.push_many, model_dir, graph, pushes) for graph in range(processes)]
    assert [end(process) for process in started] == [DONE] * processes
    found = releases.read(model_dir)
    assert all(version.record.pushed_version == version.number for version in found.numbered)
    expected = {f"{graph}.{index}".encode() for graph in range(processes) for index in range(pushes)}
    graphs = [graph_of(version) for version in found.numbered]
    assert len(graphs) == processes * pushes
    assert set(graphs) == expected
    assert read_labels(model_dir) == {"stable": found.live.number} == found.labels
    assert not [name for name in os.listdir(model_dir) if not name.isdigit()]
