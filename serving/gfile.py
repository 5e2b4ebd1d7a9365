"""File operations on serving folders: Python's own on this machine, TensorFlow's in a bucket.

TensorFlow takes seconds to import; who only lists and renames versions should not wait for it.
"""

import errno
import functools
import os
import shutil
import types
from typing import IO, Any


def _open(path: str, mode: str = "r") -> IO[Any]:
    return open(path, mode, encoding=None if "b" in mode else "utf-8")


def _rename(source: str, target: str, overwrite: bool = False) -> None:
    if not overwrite and os.path.lexists(target):  # os.rename replaces a file and an empty folder
        raise FileExistsError(errno.EEXIST, "something is there already", target)
    os.replace(source, target)


_LOCAL = types.SimpleNamespace(
    GFile=_open,
    exists=os.path.exists,
    isdir=os.path.isdir,
    listdir=os.listdir,
    makedirs=functools.partial(os.makedirs, exist_ok=True),
    remove=os.remove,
    rename=_rename,
    rmtree=shutil.rmtree,
)


def gfile(path: str) -> Any:
    """What of `tf.io.gfile` serves a path; the names and arguments are TensorFlow's.

    Args:
        path: of a folder or file; with "://" in it, it is not on this machine.
    """
    if "://" not in path:
        return _LOCAL
    import tensorflow as tf

    return tf.io.gfile
