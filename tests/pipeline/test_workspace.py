"""The workspace: locked for one run, and clear where it cannot be written."""

import pytest

from pipeline.workspace import Workspace, open_workspace, prepare
from schema.errors import GraftError, UsageError


def test_two_runs_at_once_are_kept_apart(tmp_path):
    """The second is told who is at work."""
    message = r"another run is at work here \(process \d+\)"
    with open_workspace(str(tmp_path)), pytest.raises(GraftError, match=message), open_workspace(str(tmp_path)):
        pass


def test_workspace_is_free_after_a_run_that_failed(tmp_path):
    """A lock that stays would lock the user out."""
    with pytest.raises(RuntimeError), open_workspace(str(tmp_path)):
        raise RuntimeError
    with open_workspace(str(tmp_path)) as workspace:
        assert workspace.root == tmp_path


def test_workspace_that_cannot_be_made_is_named(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match=r"out: cannot be written: .*--out"), open_workspace(str(tmp_path / "out")):
        pass


def test_torn_manifest_is_passed_over(tmp_path):
    """A run that was killed must not stop the next one."""
    for name, text in (("a", '{"pushed_version": 1}'), ("b", '{"pushed_ver')):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text(text)
    assert Workspace(tmp_path).load_manifests() == [{"pushed_version": 1}]


def test_workspace_of_another_version_is_refused(tmp_path):
    """What it holds cannot be read; how to go on is said."""
    (tmp_path / "workspace.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match=r"another version of Graft \(format 99; .*copy serving/"):
        prepare(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_torn_format_file_is_no_traceback(tmp_path, text):
    """Whatever became of it."""
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
