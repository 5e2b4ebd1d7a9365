"""Rules of the RetrainingGate: a run trains if no earlier run has trained with the same images and settings."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Sequence

import numpy as np

from components.example_gen import image_set
from components.records.decision import RetrainingDecision
from components.records.not_pushed import UnpushedModel
from schema.errors import UsageError
from serving.releases import versions
from serving.storage.saved_model import EXTRA_ASSETS
from serving.storage.side_files import DamagedError


@dataclasses.dataclass(frozen=True)
class SeenImages:
    """Images of the run that made a version.

    Attributes:
        keys: keys of `image_set`, uint64 [num_images]; None if the version has no keys or damaged ones.
        damage: damage to the file of keys; "" if the file is missing or good.
    """

    keys: np.ndarray | None
    damage: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """Images and settings of a run, and the earlier models.

    Attributes:
        keys: images of this run as keys of `image_set`, uint64 [num_images].
        newest_day: newest date folder of this run, or "".
        settings_key: digest of the settings that determine a model.
        live: live version, or None.
        others: canary and withdrawn versions.
        unpushed: newest model that was not pushed, or None.
        min_new_images: number of images that must be new; 0 accepts any change of the images.
        force: whether to train in any case.
        unfit: whether the DataGate will reject the data.
    """

    keys: np.ndarray
    newest_day: str
    settings_key: str
    live: versions.Version | None
    others: Sequence[versions.Version] = ()
    unpushed: UnpushedModel | None = None
    min_new_images: int = 0
    force: bool = False
    unfit: bool = False

    @functools.cached_property
    def images_digest(self) -> str:
        """Hex sha256 of the keys of the images."""
        return hashlib.sha256(self.keys.tobytes()).hexdigest()

    @functools.cached_property
    def seen(self) -> SeenImages:
        """Images of the live version."""
        return _read_seen(self.live) if self.live else SeenImages(None)

    @functools.cached_property
    def changes(self) -> tuple[int, int]:
        """Number of images that are new to the live version, and number of the version's images that are gone."""
        return (len(self.keys), 0) if self.seen.keys is None else image_set.compare(self.keys, self.seen.keys)


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer of a rule.

    Attributes:
        train: whether to train.
        reason: reason for the answer.
        refused: whether a model of the same images and settings was rejected before.
    """

    train: bool
    reason: str
    refused: bool = False


def decide(case: Case) -> RetrainingDecision:
    """Decides whether a run trains.

    Raises:
        UsageError: if the window ends before the live model's window, and the run is not forced.
    """
    if case.live:
        check_window(case.newest_day, case.live, case.force)
    answer = _apply_rules(case)
    new, gone = case.changes
    return RetrainingDecision(
        train=answer.train,
        reason=answer.reason,
        new_images=new,
        gone_images=gone,
        settings_key=case.settings_key,
        images_digest=case.images_digest,
        refused=answer.refused,
    )


def _apply_rules(case: Case) -> Answer:
    """Returns the answer of the first rule that applies."""
    if case.force:
        return Answer(True, "forced")
    if case.unfit:  # the run has to reach the DataGate and fail there; ending early would be a success
        return Answer(True, "the data is not fit for training; the DataGate says why")
    return _find_unpushed(case) or _find_same_version(case) or _compare_with_live(case)


def _find_unpushed(case: Case) -> Answer | None:
    """Ends the run if an earlier run trained its model, compared it with the same live version and did not push it."""
    unpushed, live = case.unpushed, case.live.number if case.live else None
    if unpushed is None:
        return None
    if (unpushed.settings_key, unpushed.images_digest, unpushed.live) != (case.settings_key, case.images_digest, live):
        return None
    reasons = "; ".join(unpushed.reasons)
    return Answer(False, f"the model of the same images and settings is not pushed: {reasons}", unpushed.refused)


def _find_same_version(case: Case) -> Answer | None:
    """Ends the run if its model is the canary or a withdrawn version."""
    for version in case.others:
        if version.record.settings_key == case.settings_key and _is_made_of(version, case.keys):
            withdrawn = os.path.basename(version.path) != str(version.number)
            state = "was withdrawn" if withdrawn else "is the canary"
            reason = f"the model of the same images and settings is version {version.number}, which {state}"
            return Answer(False, reason, withdrawn)
    return None


def _compare_with_live(case: Case) -> Answer:
    """Trains if settings or images differ from those of the live version."""
    live, seen = case.live, case.seen
    if not live:
        return Answer(True, "no version is live yet")
    if seen.keys is None:
        damage = f" ({seen.damage})" if seen.damage else ""
        return Answer(True, f"the images of version {live.number} are unknown{damage}")
    if live.record.settings_key != case.settings_key:
        return Answer(True, f"settings or code are not those of version {live.number}")
    new, gone = case.changes
    if not new and not gone:
        return Answer(False, f"nothing new: version {live.number} has seen all {len(case.keys)} images, and no others")
    if new < case.min_new_images:
        return Answer(False, _describe_few(new, case.min_new_images, live.number))
    return Answer(True, f"version {live.number} has not seen {new} of the images, and {gone} others are gone")


def _describe_few(new: int, min_new_images: int, live: int) -> str:
    if not new:
        return f"nothing new: version {live} has seen all of the images, and min_new_images asks for {min_new_images}"
    images = "image is" if new == 1 else "images are"
    return f"{new} {images} new to version {live}, and min_new_images asks for {min_new_images}"


def _read_seen(version: versions.Version) -> SeenImages:
    """Reads the images of a version; a damaged file gives no keys, as a missing one does."""
    try:
        return SeenImages(image_set.read_kept(os.path.join(version.path, EXTRA_ASSETS)))
    except DamagedError as error:
        return SeenImages(None, f"{image_set.FILE}: {error}")


def _is_made_of(version: versions.Version, keys: np.ndarray) -> bool:
    seen = _read_seen(version).keys
    return seen is not None and np.array_equal(seen, keys)


def check_window(window_end: str, live: versions.Version, force: bool) -> None:
    """Rejects a window that ends before the live model's window.

    Args:
        window_end: newest day of this run, or "" without date folders.
        live: live version.
        force: whether to accept an earlier window.
    Raises:
        UsageError: if the window ends earlier and `force` is not set.
    """
    before = live.record.window_end
    if window_end and window_end < before and not force:
        raise UsageError(
            f"window_end: the newest day is {window_end}, and that of the live version {live.number} is {before}. "
            "Choose a later one; or force it, to train on older images."
        )
