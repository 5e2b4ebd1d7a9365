"""The folder that a model server watches: `serving/<model>/<version>/`, the highest version is live.

A version that was withdrawn lies beside the others as `withdrawn-<version>`. That is no number, so a model server
passes over it, and unloads it when it next looks into the folder.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterable
from typing import Any

from serving.gfile import gfile

SAVED_MODEL = "saved_model.pb"
# TensorFlow Serving ignores what it does not know in assets.extra.
RECORD = os.path.join("assets.extra", "graft.json")

_REMOVED, _WITHDRAWN = ".removed-", "withdrawn-"


@dataclasses.dataclass(frozen=True)
class Version:
    """A pushed version.

    Attributes:
        number: what the server calls it.
        path: its folder.
        record: what the Pusher wrote of it; empty for a model that Graft did not push.
    """

    number: int
    path: str
    record: dict[str, Any]

    @property
    def identity(self) -> str:
        """Version and content, for a number may be used again."""
        return f"{self.number}:{digest_model(self.path)}"


def find_versions(model_dir: str) -> list[Version]:
    """The complete versions in a model's folder, oldest first; none if there is no such folder."""
    return _find(model_dir, "")


def find_withdrawn(model_dir: str) -> list[Version]:
    """The versions that were withdrawn, oldest first; their numbers are those that they had."""
    return _find(model_dir, _WITHDRAWN)


def list_numbers(model_dir: str) -> list[int]:
    """The numbers that are taken, complete version or not, in order."""
    return _list_numbers(model_dir, "")


def find_live(model_dir: str) -> Version | None:
    """The version that a model server serves by default, or None."""
    versions = find_versions(model_dir)
    return versions[-1] if versions else None


def next_number(model_dir: str) -> int:
    """The number of a version that is to be live: the time in seconds, or more if that is taken."""
    return max([int(time.time()), *(number + 1 for number in _list_taken(model_dir))])


def free_number_below(model_dir: str, number: int) -> int | None:
    """The highest number below another that is not taken; None if there is none above 0."""
    taken = _list_taken(model_dir)
    return next((n for n in range(number - 1, 0, -1) if n not in taken), None)


def withdraw(version: Version) -> Version:
    """Takes a version from the model servers, in one rename."""
    return _move(version, f"{_WITHDRAWN}{version.number}")


def renumber(version: Version, number: int) -> Version:
    """Gives a version, withdrawn or not, another number, in one rename."""
    return dataclasses.replace(_move(version, str(number)), number=number)


def remove(model_dir: str, versions: Iterable[Version]) -> None:
    """Removes versions; a server never sees half of one."""
    _remove_renamed(model_dir)  # of a removal that was interrupted: it would be in the way
    for version in versions:
        _move(version, f"{_REMOVED}{os.path.basename(version.path)}")
    _remove_renamed(model_dir)


def digest_model(path: str) -> str:
    """A digest of a SavedModel's graph and variables, hex sha256; of nothing else in the folder."""
    return _digest_files(path, [SAVED_MODEL, *_variable_files(path)])


def digest_variables(path: str) -> str:
    """A digest of a SavedModel's variables, hex sha256; two exports of one network differ in their graphs."""
    return _digest_files(path, _variable_files(path))


def _digest_files(path: str, parts: list[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        with gfile(path).GFile(os.path.join(path, part), "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def copy_tree(source: str, target: str) -> None:
    """Copies a folder with all that is in it."""
    import tensorflow as tf  # either end may be in a bucket

    for parent, _, names in tf.io.gfile.walk(source):
        folder = os.path.normpath(os.path.join(target, os.path.relpath(parent, source)))
        tf.io.gfile.makedirs(folder)
        for name in names:
            tf.io.gfile.copy(os.path.join(parent, name), os.path.join(folder, name))


def _variable_files(path: str) -> list[str]:
    names = gfile(path).listdir(os.path.join(path, "variables"))
    shards = sorted(name for name in names if name.startswith("variables.data-"))
    return [os.path.join("variables", name) for name in ("variables.index", *shards)]


def _find(model_dir: str, prefix: str) -> list[Version]:
    """The complete versions whose folders are named prefix and number, oldest first."""
    if not gfile(model_dir).isdir(model_dir):
        return []
    paths = ((n, os.path.join(model_dir, f"{prefix}{n}")) for n in _list_numbers(model_dir, prefix))
    return [Version(n, p, _read_record(p)) for n, p in paths if gfile(p).exists(os.path.join(p, SAVED_MODEL))]


def _list_numbers(model_dir: str, prefix: str) -> list[int]:
    names = (name.rstrip("/") for name in gfile(model_dir).listdir(model_dir) if name.startswith(prefix))
    numbers = (name[len(prefix) :] for name in names)
    return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())


def _list_taken(model_dir: str) -> set[int]:
    """A withdrawn version keeps its number: a server that still has it loaded would not load another one instead."""
    return {*_list_numbers(model_dir, ""), *_list_numbers(model_dir, _WITHDRAWN)}


def _move(version: Version, name: str) -> Version:
    path = os.path.join(os.path.dirname(version.path), name)
    gfile(path).rename(version.path, path)
    return dataclasses.replace(version, path=path)


def _remove_renamed(model_dir: str) -> None:
    for name in gfile(model_dir).listdir(model_dir):
        if name.startswith(_REMOVED):
            gfile(model_dir).rmtree(os.path.join(model_dir, name.rstrip("/")))


def _read_record(path: str) -> dict[str, Any]:
    record = os.path.join(path, RECORD)
    if not gfile(path).exists(record):
        return {}
    with gfile(path).GFile(record) as file:
        return dict(json.loads(file.read()))
