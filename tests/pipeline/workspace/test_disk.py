"""A full or read-only disk is named as such, whichever library meets it."""

import errno
import re
import shutil
import sqlite3
import tempfile
import types

import pytest
import tensorflow as tf

from pipeline.workspace.disk import check_free_space, explain_disk_error
from schema.errors import UsageError


def test_run_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    """Before anything is written: what it needs and what there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=200_000_000))
    with pytest.raises(UsageError, match=r"needs about 2\.5 GB here .*200\.0 MB are free.*--out"):
        check_free_space(str(tmp_path), 2_500_000_000)
    check_free_space(str(tmp_path), 100_000_000)


def explain(cause, out="graft-out"):
    """Returns the explanation of an error that Beam or TFX has wrapped; "" for none."""
    error = RuntimeError("while running Write/ParDo")
    error.__cause__ = cause
    return str(explain_disk_error(error, out) or "")


NO_SPACE = "cannot be written: No space left on device. Make room, and run the same command again"
UNNAMED = f"graft-out, or {tempfile.gettempdir()} for temporary files: "


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UNNAMED + NO_SPACE),
        (OSError(errno.ENOSPC, "No space left on device", "graft-out/a"), f"graft-out/a: {NO_SPACE}"),
        (
            OSError(errno.EROFS, "Read-only file system", b"/a"),
            "/a: cannot be written: Read-only file system. Make the",
        ),
        (OSError(errno.EFBIG, "File too large", "/a"), "/a: cannot be written: File too large. .*`ulimit -f`"),
        (sqlite3.OperationalError("database or disk is full"), UNNAMED + "cannot be written: database or disk is full"),
        (sqlite3.OperationalError("disk I/O error"), UNNAMED + "cannot be read or written: disk I/O error"),
        # As ML Metadata, TensorFlow and Beam have been seen to say it.
        (
            RuntimeError(
                "Error when executing query: attempt to write a readonly database query:  CREATE TABLE `Type`"
            ),
            UNNAMED + "cannot be written: attempt to write a readonly database",
        ),
        (ValueError("graft-out/g; No space left on device"), f"graft-out/g: {NO_SPACE}"),
        (
            ValueError("{{function_node __wrapped__SaveV2_device_/job:x}} /a/ck; No space left on device [Op:SaveV2]"),
            f"/a/ck: {NO_SPACE}",
        ),
        (RuntimeError("OSError: [Errno 28] No space left on device [while running 'Map(w)']"), UNNAMED + NO_SPACE),
        (RuntimeError("...\nOSError: [Errno 28] No space left on device: '/a'\n"), f"/a: {NO_SPACE}"),
        (
            RuntimeError("errors_impl.ResourceExhaustedError: /a; No space left on device [while running 'Map(w)']"),
            f"/a: {NO_SPACE}",
        ),
    ],
    ids=str,
)
def test_disk_is_found_behind_other_errors(cause, said):
    """Beam and TFX wrap what went wrong in errors of their own; the file that they name is named."""
    assert re.match(said.replace("(", r"\("), explain(cause)), explain(cause)
    assert "finished components are kept" in explain(cause)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/photos/cat/1.jpg", "/photos/cat/1.jpg: cannot be read: Input/output error. The disk or the connection"),
        ("/x/graft-out/pipeline/a", "/x/graft-out/pipeline/a: cannot be read or written: Input/output error"),
        ("/x/graft-output/a.jpg", "/x/graft-output/a.jpg: cannot be read: "),
        ("gs://bucket/a", "gs://bucket/a: the store fails: Error executing an HTTP request. Look at the connection"),
    ],
)
def test_a_disk_that_fails_is_no_full_workspace(path, said):
    """A run writes below `out` and into the temporary folder alone; of a store its own words are said."""
    error = OSError(errno.EIO, "Error executing an HTTP request" if "://" in path else "Input/output error", path)
    assert explain(error, "/x/graft-out").startswith(said)
    assert "Make room" not in explain(error, "/x/graft-out")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "No such file", "/disk is full/No space left on device"),
        FileNotFoundError(errno.ENOENT, "No such file", "/a; No space left on device"),
        ValueError("/no space left/disk is full/1.jpg; No such file or directory"),
        ValueError("/a; No space left on device/1.jpg; No such file or directory"),
        ValueError("/quota exceeded: 3 classes expected"),
        ValueError("Error when executing query: syntax error query: SELECT 'database or disk is full'"),
        ValueError("shape"),
        UsageError("/a; No space left on device"),
    ],
    ids=str,
)
def test_other_errors_stay_what_they_are(error):
    """A traceback is for those; a path may hold the words, and an error of Graft's has its own."""
    assert explain_disk_error(error, "out") is None


def test_an_error_that_was_replaced_on_purpose_is_not_the_reason():
    """`raise ... from None`: what came before has been dealt with."""
    error = ValueError("shape")
    error.__context__, error.__suppress_context__ = OSError(errno.EIO, "Input/output error", "/a"), True
    assert explain_disk_error(error, "out") is None


def test_tensorflow_still_says_it_in_these_words():
    """The device that is always full, and a file that no disk gives."""
    full = f"/dev/full: {NO_SPACE}"
    with pytest.raises(tf.errors.OpError) as error, tf.io.gfile.GFile("/dev/full", "w") as file:
        file.write("a" * 3_000_000)
    assert explain(error.value).startswith(full)
    with pytest.raises(tf.errors.OpError) as error:
        list(tf.data.TFRecordDataset("/proc/self/mem"))
    assert explain(error.value).startswith("/proc/self/mem: cannot be read: Input/output error")
