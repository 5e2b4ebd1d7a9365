"""Checks the mounted folders of a task before any work, and explains a file that cannot be read or written after all.

A pod has a user of its own, 10001, and a volume has its owner: what is mounted need be neither readable nor writable.
"""

import errno
import json
import os
import re
import tempfile
from typing import Any

from schema.errors import DataError, GraftError
from serving.storage.gfile import is_remote

_WRITTEN = ("model_dir", "store")  # execution properties that name a folder
_IN_SETTINGS = ("decoded",)  # settings of ExampleGen that do
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
_WORDS = "|".join(re.escape(os.strerror(number)) for number in sorted(_REFUSED))
# TensorFlow's words: "/stores/decoded/x; Permission denied", behind the name of a node.
_TENSORFLOW = re.compile(rf"(?:^|\}}\}} |: )(?P<path>/[^;\n]*); (?P<words>{_WORDS})", re.MULTILINE)


def check_folders(invocation: dict[str, Any]) -> None:
    """Checks that the folders which a task names can be read or written; those in a bucket are not looked at.

    Args:
        invocation: ExecutorInput as JSON.
    Raises:
        DataError: if the folder of images cannot be read.
        GraftError: if a store cannot be written.
    """
    values = invocation.get("inputs", {}).get("parameterValues", {})
    settings = _read_settings(values.get("settings"))
    data = values.get("data")
    if isinstance(data, str) and os.path.isabs(data):
        _check_readable(data)
    places = [values.get(name) for name in _WRITTEN] + [settings.get(name) for name in _IN_SETTINGS]
    for folder in sorted({place for place in places if isinstance(place, str) and os.path.isabs(place)}):
        _check_writable(folder)


def _read_settings(text: Any) -> dict[str, Any]:
    settings = json.loads(text) if isinstance(text, str) and text.startswith("{") else {}
    return settings if isinstance(settings, dict) else {}


def _check_readable(folder: str) -> None:
    try:
        with os.scandir(folder):
            return
    except (FileNotFoundError, NotADirectoryError):
        return  # ExampleGen says which folder is near
    except OSError as error:
        raise DataError(_describe(folder, "read", error.strerror)) from None


def _check_writable(folder: str) -> None:
    """Makes and removes a file in a folder, or in the nearest folder above it that exists."""
    try:
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise GraftError(_describe(folder, "written", error.strerror)) from None


def explain_refused_file(error: BaseException) -> GraftError | None:
    """Returns an error of one line if a file that cannot be read or written is the cause of another error; else None.

    Args:
        error: error of a task.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _REFUSED and isinstance(cause.filename, str):
            return GraftError(_describe(cause.filename, "read or written", cause.strerror))
        if found := _TENSORFLOW.search(str(cause)):
            return GraftError(_describe(found["path"], "read or written", found["words"]))
        cause = cause.__cause__ or cause.__context__
    return None


def _describe(path: str, done: str, reason: str | None) -> str:
    if is_remote(path):
        return f"{path}: cannot be {done} by this task: {reason}. Give its pods the rights on the bucket."
    return (
        f"{path}: cannot be {done} by this task, which runs as user {os.getuid()}: {reason}. Give that user the rights "
        "on the volume, or make room; docs/kubeflow.md says how."
    )
