"""Puts a SavedModel into the serving folder as a new version, whole or not at all.

TFX's Pusher copies in place, so a server may see half a model. This one stages a version, and then places it at once.
"""

import datetime
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from components import progress
from schema.errors import GraftError
from serving.releases import releases, versions
from serving.releases.record import VersionRecord
from serving.storage import durable, folder_lock
from serving.storage.gfile import is_remote

ANY_VERSION = -1  # where it does not matter which version is live; no version of Graft's has a number below 0


class OvertakenError(GraftError):
    """Another version became live while a model was put together that was compared with the one before.

    Attributes:
        version: the number of the one that is live now.
    """

    def __init__(self, version: int):
        super().__init__(f"version {version} became live meanwhile")
        self.version = version


def push(
    model_path: str,
    model_dir: str,
    record: dict[str, Any],
    canary: bool = False,
    extras: Sequence[str] = (),
    compared_with: int | None = ANY_VERSION,
) -> versions.Version:
    """Puts a SavedModel into a model's folder as a new version.

    Args:
        model_path: a SavedModel.
        model_dir: where the versions are.
        record: goes into `assets.extra/graft.json`, with what is only known now.
        canary: below the live version, in the place of the canary that there may be.
        extras: files to keep in `assets.extra/` besides.
        compared_with: the number of the live version that the model was compared with; None for none.
    Returns:
        The version; its number is the time in seconds, or more if that is taken. That of a canary is the highest
        which is free below the live version's.
    Raises:
        UsageError: if models.config cannot be read, or no number is free for a canary.
        OvertakenError: if another version is live: it is not what this model would replace. Nothing is left behind.
        GraftError, OSError, tf.errors.OpError: if it cannot be written; then nothing is left behind.
    """
    progress.report("copying the model")
    releases.recover(model_dir)
    _check_live(model_dir, compared_with)  # before 94 MB are copied; what counts is the look under the lock
    with versions.stage(model_dir) as staging:
        versions.copy_tree(model_path, staging)
        if canary:
            releases.mark_canary(staging)
        _add_extras(staging, extras)
        record = record | {"canary": canary, "model_digest": versions.digest_model(staging)}
        if not is_remote(model_dir):
            durable.sync_tree(staging)  # which takes long, so that others need not wait for it at the lock
        with folder_lock.locked(model_dir):
            _check_live(model_dir, compared_with)
            return _place(staging, model_dir, record)


def _add_extras(staging: str, extras: Sequence[str]) -> None:
    folder = os.path.join(staging, versions.EXTRA)
    tf.io.gfile.makedirs(folder)
    for path in extras:
        tf.io.gfile.copy(path, os.path.join(folder, os.path.basename(path)), overwrite=True)


def _place(staging: str, model_dir: str, record: dict[str, Any]) -> versions.Version:
    """Gives a staged model its number, with the lock of the folder held."""
    canary = record["canary"]
    number = releases.find_canary_number(model_dir) if canary else versions.next_number(model_dir)
    time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    whole = VersionRecord(**record | {"pushed_version": number, "pushed_at": time})
    _write_record(staging, whole)
    target = os.path.join(model_dir, str(number))
    if canary:
        releases.withdraw_former_canary(model_dir)
    versions.place(staging, target)
    return versions.Version(number, target, whole)


def _check_live(model_dir: str, compared_with: int | None) -> None:
    """Refuses to replace what a model was not compared with; where nothing is live, it replaces nothing."""
    live = versions.find_live(model_dir)
    if live and compared_with not in (ANY_VERSION, live.number):
        raise OvertakenError(live.number)


def _write_record(path: str, record: VersionRecord) -> None:
    with tf.io.gfile.GFile(os.path.join(path, versions.RECORD), "w") as file:
        file.write(record.render())
