"""The workspace: locked for one run, and clear where it cannot be written."""

import pytest

from pipeline.workspace import Workspace, open_workspace
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
