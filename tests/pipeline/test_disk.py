"""A full or read-only disk is named as such, whoever noticed it."""

import errno
import shutil
import sqlite3
import types

import pytest

from pipeline.disk import check_free_space, explain_disk_error
from schema.errors import UsageError


def test_run_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    """Before anything is written: what it needs and what there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=200_000_000))
    with pytest.raises(UsageError, match=r"needs about 2\.5 GB here .*0\.2 GB are free.*--out"):
        check_free_space(str(tmp_path), 2_500_000_000)
    check_free_space(str(tmp_path), 100_000_000)


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        RuntimeError("_pywrap_file_io: pipeline/1/x; No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_disk_is_found_behind_other_errors(cause):
    """Beam and TFX wrap what went wrong in errors of their own."""
    error = RuntimeError("while running Write/ParDo")
    error.__cause__ = cause
    explained = explain_disk_error(error, "graft-out")
    assert "graft-out: cannot be written" in str(explained)
    assert "run the same command again" in str(explained)
    assert explained.exit_code == 1


def test_other_errors_stay_what_they_are():
    """A traceback is for those."""
    assert explain_disk_error(OSError(errno.ENOENT, "No such file"), "out") is None
    assert explain_disk_error(ValueError("shape"), "out") is None
