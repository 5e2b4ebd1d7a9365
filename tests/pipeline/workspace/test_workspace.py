"""The workspace: locked for one run, with clear errors if it cannot be written."""

import datetime
import json
import os
import pathlib
import time

import pytest
from manifests import write_manifest

from pipeline.workspace import workspace
from pipeline.workspace.workspace import Workspace, make_run_id, open_workspace, prepare
from schema.errors import GraftError, UsageError


class Clock(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def at(cls, moment):
        """Returns a clock that stands at a moment, which is in UTC."""
        return type("Clock", (cls,), {"now": classmethod(lambda cls, zone=None: moment.astimezone(zone))})


def test_two_runs_at_once_are_kept_apart(tmp_path):
    """The second is told who is at work."""
    message = r"another run is at work here \(process \d+\)"
    with open_workspace(str(tmp_path)), pytest.raises(GraftError, match=message), open_workspace(str(tmp_path)):
        pass


def test_workspace_is_free_after_a_run_that_failed(tmp_path):
    """A lock that stays would lock the user out."""
    with pytest.raises(RuntimeError), open_workspace(str(tmp_path)):
        raise RuntimeError
    with open_workspace(str(tmp_path)) as found:
        assert found.root == tmp_path


def test_workspace_that_cannot_be_made_is_named(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match=r"out: cannot be written: .*--out"), open_workspace(str(tmp_path / "out")):
        pass


@pytest.mark.parametrize("name", ["", "runs", "graft.log", ".lock"])
def test_workspace_of_another_user_is_refused(name, tmp_path, monkeypatch):
    """A run as root leaves files that others may read. A stand-in denies, because root may write anywhere."""
    with open_workspace(str(tmp_path / "out")):
        pass
    own, allowed = str(tmp_path / "out" / name).rstrip("/"), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != own and allowed(path, mode))
    with (
        pytest.raises(UsageError, match=f"^{own}: this user may not write there"),
        open_workspace(str(tmp_path / "out")),
    ):
        pass


def test_torn_manifest_is_passed_over(tmp_path):
    """A run that was killed must not stop the next one."""
    write_manifest(tmp_path, "a", pushed_version=1)
    whole = (tmp_path / "runs/a/manifest.json").read_text()
    wrong = {"torn": whole[:-9], "newer": whole.replace('"format": 1', '"format": 2'), "list": "[]", "empty": ""}
    wrong |= {"text": whole.replace('"pushed_version": 1', '"pushed_version": "1"'), "folder": None}
    for name, text in wrong.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        if text is None:
            (tmp_path / "runs" / name / "manifest.json").mkdir()
        else:
            (tmp_path / "runs" / name / "manifest.json").write_text(text)
    assert [manifest.pushed_version for manifest in Workspace(tmp_path).load_manifests()] == [1]


@pytest.fixture
def set_zone():
    """Returns a function that sets the time zone of this process, until the test has ended."""
    with pytest.MonkeyPatch.context() as patch:

        def set_to(zone):
            patch.setenv("TZ", zone)
            time.tzset()

        yield set_to
    time.tzset()


def test_a_run_of_the_hour_that_summer_time_repeats_is_newer_than_the_one_before(set_zone, monkeypatch):
    """2026-10-25 in Berlin: 00:59 UTC is 2:59 there, and half an hour later it is 2:29."""
    set_zone("Europe/Berlin")
    made = []
    for second in (1792889940, 1792891740):  # 2026-10-25 00:59 and 01:29 UTC
        moment = datetime.datetime.fromtimestamp(second, datetime.timezone.utc)
        monkeypatch.setattr(workspace.datetime, "datetime", Clock.at(moment))
        made.append(make_run_id())
    assert [name[:20] for name in made] == ["20261025T005900-000Z", "20261025T012900-000Z"]


def test_run_ids_of_one_moment_differ(monkeypatch):
    """Two processes may ask within one microsecond."""
    moment = datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc)
    monkeypatch.setattr(workspace.datetime, "datetime", Clock.at(moment))
    assert len({make_run_id() for _ in range(9)}) > 1


def test_runs_of_an_earlier_graft_come_in_the_order_of_time(tmp_path, set_zone):
    """Their ids are local time: this one, of New York, is later than its name."""
    set_zone("America/New_York")
    names = ["20261126T100000-000000", "20261126T120000-000Z-3f2a"]
    names += ["20261126T140000-000000", "20261126T235959-000Z-0000"]
    for name in names:
        write_manifest(tmp_path, name)
    by_age = [names[1], names[0], names[2], names[3]]
    assert Workspace(tmp_path).list_runs() == by_age
    assert [manifest.run_id for manifest in Workspace(tmp_path).load_manifests()] == by_age


def test_a_command_beside_a_run_finds_the_format(tmp_path):
    """The file that says it is written once, and never half: others read it while a run begins."""
    prepare(str(tmp_path))
    file = tmp_path / "workspace.json"
    before = file.stat()
    with open_workspace(str(tmp_path)):
        prepare(str(tmp_path))
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert json.loads(file.read_text()) == {"format": workspace.FORMAT}


def test_a_new_workspace_is_never_seen_half_made(tmp_path, monkeypatch):
    """Whenever another command looks, it sees no format at all or all of it, and no folder of something else."""
    write, looks = pathlib.Path.write_text, []

    def look_while_writing(path, text, **options):
        write(path, text[:3], **options)
        monkeypatch.setattr(pathlib.Path, "write_text", write)
        looks.append(prepare(str(tmp_path)).root)
        return write(path, text, **options)

    monkeypatch.setattr(pathlib.Path, "write_text", look_while_writing)
    assert prepare(str(tmp_path)).root == tmp_path
    assert looks == [tmp_path]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graft.log", "runs", "workspace.json"]


def test_workspace_of_another_version_is_refused(tmp_path):
    """What it holds cannot be read; how to go on is said."""
    (tmp_path / "workspace.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match=r"another version of Graft \(format 99; .*copy serving/"):
        prepare(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_torn_format_file_is_no_traceback(tmp_path, text):
    """The file may be empty, cut or no JSON."""
    (tmp_path / "workspace.json").write_text(text)
    with pytest.raises(UsageError, match="format unknown"):
        prepare(str(tmp_path))


def test_folder_with_other_files_is_no_workspace(tmp_path):
    """Nobody wants runs/ and pipeline/ in the home folder; nothing is written there."""
    (tmp_path / "letters").mkdir()
    with pytest.raises(UsageError, match="it holds letters"):
        prepare(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def test_workspace_with_nothing_left_but_the_pushed_versions_goes_on(tmp_path):
    """As the README says for want of room."""
    (tmp_path / "serving" / "graft").mkdir(parents=True)
    prepare(str(tmp_path))
    prepare(str(tmp_path))
