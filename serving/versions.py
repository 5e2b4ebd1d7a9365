"""The folder that a model server watches: `serving/<model>/<version>/`, the highest version is live."""

import dataclasses
import hashlib
import json
import os
from typing import Any

import tensorflow as tf

SAVED_MODEL = "saved_model.pb"
# TensorFlow Serving ignores what it does not know in assets.extra.
RECORD = os.path.join("assets.extra", "graft.json")

_REMOVED = ".removed-"


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
    if not tf.io.gfile.isdir(model_dir):
        return []
    paths = ((n, os.path.join(model_dir, str(n))) for n in list_numbers(model_dir))
    return [Version(n, p, _read_record(p)) for n, p in paths if tf.io.gfile.exists(os.path.join(p, SAVED_MODEL))]


def list_numbers(model_dir: str) -> list[int]:
    """The numbers that are taken, complete version or not, in order."""
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(model_dir))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def find_live(model_dir: str) -> Version | None:
    """The version that a model server serves by default, or None."""
    versions = find_versions(model_dir)
    return versions[-1] if versions else None


def prune(model_dir: str, keep: int) -> list[int]:
    """Removes old versions; a server never sees half of one.

    Args:
        model_dir: where the versions are.
        keep: how many of the newest stay, at least 1.
    Returns:
        The numbers of those that are gone.
    """
    old = find_versions(model_dir)[:-keep]
    for version in old:
        # The name is no number, so that a model server passes over it.
        tf.io.gfile.rename(version.path, os.path.join(model_dir, f"{_REMOVED}{version.number}"), overwrite=True)
    for folder in tf.io.gfile.glob(os.path.join(model_dir, f"{_REMOVED}*")):
        tf.io.gfile.rmtree(folder)
    return [version.number for version in old]


def digest_model(path: str) -> str:
    """A digest of a SavedModel's graph and variables, hex sha256; of nothing else in the folder."""
    return _digest_files(path, [SAVED_MODEL, *_variable_files(path)])


def digest_variables(path: str) -> str:
    """A digest of a SavedModel's variables, hex sha256; two exports of one network differ in their graphs."""
    return _digest_files(path, _variable_files(path))


def _digest_files(path: str, parts: list[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        with tf.io.gfile.GFile(os.path.join(path, part), "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def copy_tree(source: str, target: str) -> None:
    """Copies a folder with all that is in it."""
    for parent, _, names in tf.io.gfile.walk(source):
        folder = os.path.normpath(os.path.join(target, os.path.relpath(parent, source)))
        tf.io.gfile.makedirs(folder)
        for name in names:
            tf.io.gfile.copy(os.path.join(parent, name), os.path.join(folder, name))


def _variable_files(path: str) -> list[str]:
    shards = tf.io.gfile.glob(os.path.join(path, "variables", "variables.data-*"))
    return [os.path.join("variables", "variables.index"), *sorted(os.path.relpath(shard, path) for shard in shards)]


def _read_record(path: str) -> dict[str, Any]:
    record = os.path.join(path, RECORD)
    if not tf.io.gfile.exists(record):
        return {}
    with tf.io.gfile.GFile(record) as file:
        return dict(json.loads(file.read()))
