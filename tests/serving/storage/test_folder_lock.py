"""Lock of a serving folder, and detection of killed pushes."""

import errno
import fcntl
import os
import pathlib
import time

import pytest
from forks import get_forks, start_fork
from killed_changes import stage_and_wait

from schema.errors import GraftError
from serving.releases import models_config, releases, versions
from serving.storage import folder_lock


@pytest.fixture
def model_dir(tmp_path):
    """Returns a model's folder with two versions and a models.config."""
    for name in ("3", "9"):
        (tmp_path / "serving/graft" / name).mkdir(parents=True)
        (tmp_path / "serving/graft" / name / "saved_model.pb").touch()
    releases.keep(str(tmp_path / "serving/graft"), 5)
    return str(tmp_path / "serving/graft")


def names(folder):
    return sorted(os.listdir(folder))


def refuse(error):
    def call(*_, **__):
        raise OSError(error, os.strerror(error))

    return call


def start_staging(model_dir):
    """Returns another process that stages a push until it is killed."""
    started = get_forks().Event()
    process = start_fork(stage_and_wait, model_dir, started)
    assert started.wait(300)
    return process


def test_staging_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(model_dir):
    """By a lock that the kernel releases, and not by a guess."""
    process = start_staging(model_dir)
    releases.keep(model_dir, 5)
    assert len(names(model_dir)) == 3
    process.kill()
    process.join()
    releases.keep(model_dir, 5)
    assert names(model_dir) == ["3", "9"]


def test_staging_folder_of_an_older_graft_is_removed(model_dir):
    """It has no file to lock; whoever made it ended long ago."""
    os.makedirs(os.path.join(model_dir, ".staging-0123/variables"))
    releases.keep(model_dir, 5)
    assert names(model_dir) == ["3", "9"]


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_a_staging_folder_is_removed_when_it_is_a_day_old(model_dir, monkeypatch, error):
    """As on a network mount without a lock daemon: changes go on, and a push that is alive keeps its folder."""
    monkeypatch.setattr(fcntl, "flock", refuse(error))
    with versions.stage(model_dir) as staging:
        releases.keep(model_dir, 5)
        assert os.path.isdir(os.path.dirname(staging))
        day_ago = time.time() - 90_000
        os.utime(os.path.dirname(staging), (day_ago, day_ago))
        releases.keep(model_dir, 5)
        assert not os.path.isdir(os.path.dirname(staging))


def test_change_waits_for_another_one_and_then_says_whose_it_is(model_dir, monkeypatch):
    """A stopped process holds the lock for ever; nothing is changed beside it."""
    monkeypatch.setattr(folder_lock, "_WAIT_SECONDS", 0.1)
    with (
        folder_lock.locked(model_dir),
        pytest.raises(GraftError, match=rf"serving: process {os.getpid()} on .* Nothing was changed"),
    ):
        releases.roll_back(model_dir)
    assert releases.read(model_dir).live.number == 9
    releases.roll_back(model_dir)


def test_a_lock_that_cannot_be_opened_is_one_message(model_dir, monkeypatch):
    """A read-only folder; to look needs no lock."""
    lock = pathlib.Path(os.path.dirname(model_dir), ".lock")
    lock.unlink()
    lock.mkdir()
    with pytest.raises(
        GraftError, match=r"serving/\.lock: cannot be changed: Is a directory\. The live version is unchanged"
    ):
        releases.roll_back(model_dir)
    assert releases.read(model_dir).live.number == 9
    assert models_config.read_labels(model_dir) == {"stable": 9}
    assert models_config.mend(model_dir) == ""


def test_looking_at_a_folder_writes_nothing(model_dir):
    """A mount may be read-only where models are asked and served."""
    lock = pathlib.Path(os.path.dirname(model_dir), ".lock")
    lock.unlink()
    releases.read(model_dir)
    models_config.mend(model_dir)
    releases.check_pushable(model_dir, canary=False)
    assert not lock.exists()


def test_unfinished_models_config_is_removed_by_the_next_change(model_dir):
    """No other file is removed: `mine.tmp` belongs to the user."""
    folder = pathlib.Path(model_dir).parent
    for name in (f"models.config.{'0a' * 16}.tmp", "models.config.mine.tmp", "models.config.bak"):
        (folder / name).write_text("model_config_list {")
    releases.keep(model_dir, 5)
    assert names(folder) == [".lock", "graft", "models.config", "models.config.bak", "models.config.mine.tmp"]


def test_models_config_is_on_the_disk_before_it_has_its_name(model_dir, monkeypatch):
    """A power cut leaves the old file or the new one, and never an empty one."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append(paths), replace(*paths)))
    releases.roll_back(model_dir)
    folder = os.path.dirname(model_dir)
    (temporary, config) = calls[1]
    assert config == os.path.join(folder, "models.config")
    assert calls[:3] == [temporary, (temporary, config), folder]
    assert calls[3:] == [(f"{model_dir}/9", f"{model_dir}/withdrawn-9"), model_dir]
