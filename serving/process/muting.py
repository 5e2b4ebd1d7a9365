"""Muting of libraries on the standard error, TensorFlow's import above all.

TensorFlow 2.21 writes four lines when it is imported, such as "Could not find cuda drivers on your machine", whatever
TF_CPP_MIN_LOG_LEVEL says. Many modules import it, some of them at the first path in a store.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from typing import Any


@contextlib.contextmanager
def muted_stderr() -> Iterator[None]:
    """Drops the standard error, C++ included: no setting silences all that TensorFlow writes at its import."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def mute_tensorflow() -> None:
    """Drops what TensorFlow's libraries write while any module of this process imports TensorFlow."""
    if not any(isinstance(finder, _Muted) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Muted())


class _Muted(importlib.abc.MetaPathFinder):
    """Finder that leaves the search to the others, and mutes what they have found."""

    def __init__(self) -> None:
        self._searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec of TensorFlow, muted; None for every other module."""
        if fullname != "tensorflow" or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec and spec.loader:
            _mute(spec.loader)
        return spec


def _mute(loader: Any) -> None:
    execute = loader.exec_module

    def execute_muted(module: types.ModuleType) -> None:
        with muted_stderr():
            execute(module)

    loader.exec_module = execute_muted
