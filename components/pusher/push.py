"""Push of a SavedModel into the serving folder as a new version, whole or not at all.

TFX's Pusher copies in place, so a server may see half a model. Graft's Pusher stages a version and then moves the
whole version into place at once.
"""

import datetime
import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from components import progress
from schema.errors import GraftError
from serving.releases import releases, versions
from serving.releases.record import VersionRecord
from serving.storage import durable, folder_lock
from serving.storage.gfile import is_remote
from serving.storage.saved_model import EXTRA_ASSETS

ANY_VERSION = -1  # value of `compared_with` that accepts any live version; no version has a number below 0


class SupersededError(GraftError):
    """Error of a push: another version became live than the one that the model was compared with.

    Attributes:
        version: number of the version that is live now.
    """

    def __init__(self, version: int):
        super().__init__(f"version {version} became live meanwhile")
        self.version = version


def push(
    model_path: str,
    model_dir: str,
    record: VersionRecord,
    canary: bool = False,
    extras: Sequence[str] = (),
    compared_with: int | None = ANY_VERSION,
    write_card: Callable[[VersionRecord], str] | None = None,
) -> versions.Version:
    """Puts a SavedModel into a model's folder as a new version.

    Args:
        model_path: folder of the SavedModel.
        model_dir: serving folder of the model.
        record: record of the version, for `assets.extra/graft.json`; the push adds number, time, digest and `canary`.
        canary: whether to push the model as the canary, in the place of an earlier canary.
        extras: further files to copy into `assets.extra/`.
        compared_with: number of the live version that the model was compared with; None if no version was live.
        write_card: function that renders the model card for the record of the version; None for no card.
    Returns:
        The version. Its number is the time in seconds, or a higher one if that is taken. The number of a canary is the
        highest free number below the live version's number.
    Raises:
        UsageError: if models.config cannot be read, or no number is free for a canary.
        SupersededError: if another version than `compared_with` is live; the serving folder is unchanged.
        GraftError, OSError, tf.errors.OpError: if the version cannot be written; no part of a version is left.
    """
    progress.report("copying the model")
    releases.recover(model_dir)
    _check_live(model_dir, compared_with)  # saves a copy of 94 MB; the check with the lock held decides
    with versions.stage(model_dir) as staging:
        versions.copy_tree(model_path, staging)
        if canary:
            releases.mark_canary(staging)
        _add_extras(staging, extras)
        record = record.model_copy(update={"canary": canary, "model_digest": versions.digest_model(staging)})
        if not is_remote(model_dir):
            durable.sync_tree(staging)  # before the lock is taken, because a sync takes long
        with folder_lock.locked(model_dir):
            _check_live(model_dir, compared_with)
            return _place(staging, model_dir, record, write_card)


def _add_extras(staging: str, extras: Sequence[str]) -> None:
    folder = os.path.join(staging, EXTRA_ASSETS)
    tf.io.gfile.makedirs(folder)
    for path in extras:
        tf.io.gfile.copy(path, os.path.join(folder, os.path.basename(path)), overwrite=True)


def _place(
    staging: str, model_dir: str, record: VersionRecord, write_card: Callable[[VersionRecord], str] | None
) -> versions.Version:
    """Numbers a staged model, writes record and card, and moves it into place; the caller holds the folder's lock."""
    number = releases.find_canary_number(model_dir) if record.canary else versions.next_number(model_dir)
    time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    whole = record.model_copy(update={"pushed_version": number, "pushed_at": time})
    _write_text(os.path.join(staging, versions.RECORD), whole.render())
    if write_card:
        _write_text(os.path.join(staging, versions.CARD), write_card(whole))
    target = os.path.join(model_dir, str(number))
    if record.canary:
        releases.withdraw_former_canary(model_dir)
    versions.place(staging, target)
    return versions.Version(number, target, whole)


def _check_live(model_dir: str, compared_with: int | None) -> None:
    """Raises a SupersededError if a version is live that the model was not compared with."""
    live = versions.find_live(model_dir)
    if live and compared_with not in (ANY_VERSION, live.number):
        raise SupersededError(live.number)


def _write_text(path: str, text: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)
