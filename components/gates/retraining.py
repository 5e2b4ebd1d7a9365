"""The gate before training: is there anything new? And is it newer than what the live model has seen?

What ends here ends well: the live model is as good as what a training would make of these images.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component

from components.artifacts import IngestReport, RunDecision
from components.example_gen import image_set
from components.gates.data import load_quarantine
from components.gates.data_checks import check_data
from schema.errors import GraftError, UsageError
from serving.releases import releases, versions
from serving.storage.contents import digest_contents
from serving.storage.gfile import gfile
from serving.storage.side_files import DamagedError, read_json

FILE = "decision.json"
TRAIN = "train"  # a property of the artifact, "true" or "false"; Kubeflow's conditions read it
DEFAULT_MIN_NEW_IMAGES = -1
_MEMORY = "not_pushed.json"  # beside the versions: what the newest model was made of that was not pushed


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether this run goes on.

    Attributes:
        train: whether it does.
        reason: why, or why not.
        new_images: how many the live model has not seen.
        gone_images: how many that it has seen are not in this run.
        settings_key: of what makes a model of images.
        images_digest: of the set of images.
        refused: whether a model of the same images and settings was refused, or withdrawn, before.
    """

    train: bool
    reason: str
    new_images: int
    gone_images: int
    settings_key: str
    images_digest: str
    refused: bool = False


@component
def RetrainingGate(
    report: InputArtifact[IngestReport],
    decision: OutputArtifact[RunDecision],
    model_dir: Parameter[str],
    live: Parameter[str],
    settings: Parameter[str],
    head_epochs: Parameter[int],
    fine_tune_epochs: Parameter[int],
    min_accuracy: Parameter[float],
    max_accuracy_drop: Parameter[float],
    classes: Parameter[str],
    max_bad_fraction: Parameter[float],
    min_new_images: Parameter[int],
    window_days: Parameter[int],
    force: Parameter[int],
    weights: Parameter[str],
    code_digest: Parameter[str],
) -> None:
    """Writes `decision.json`.

    Args:
        report: of ExampleGen.
        decision: what comes of it.
        model_dir: the serving folder of the model.
        live: identity of the live version, "none", or "" to look for it.
        settings: a digest of what makes a model of images, but for the next four.
        head_epochs: of phase 1.
        fine_tune_epochs: of phase 2.
        min_accuracy: of the Evaluator.
        max_accuracy_drop: likewise.
        classes: a JSON list, as for the DataGate.
        max_bad_fraction: likewise.
        min_new_images: how many there must be; DEFAULT_MIN_NEW_IMAGES for 1 with a window of days, else 0.
        window_days: of this window; 0 for all.
        force: whether to train in any case.
        weights: path or URI of the base's weights, whose bytes make another model; "" where `settings` covers them.
        code_digest: in the cache key only.
    Raises:
        UsageError: if the window ends before the live model's, or the weights cannot be read.
    """
    del code_digest
    if min_new_images == DEFAULT_MIN_NEW_IMAGES:
        min_new_images = 1 if window_days else 0
    thresholds = [min_accuracy, max_accuracy_drop]
    made_by = [_digest_weights(weights)] if weights else []
    text = json.dumps([settings, head_epochs, fine_tune_epochs, *map(float, thresholds), *made_by])
    settings_key = hashlib.sha256(text.encode()).hexdigest()
    found = versions.find_comparable(model_dir, live)
    ingest = _read_ingest(report.uri)
    unfit = bool(check_data(ingest, load_quarantine(report.uri), json.loads(classes), max_bad_fraction))
    known = releases.read(model_dir)
    others = [*([known.canary] if known.canary else []), *known.withdrawn]
    memory = _read_memory(model_dir)
    decided = decide(report.uri, found, others, memory, settings_key, min_new_images, bool(force), unfit)
    logging.info("%s: %s.", "Going on" if decided.train else "Ending early", decided.reason)
    with tf.io.gfile.GFile(os.path.join(decision.uri, FILE), "w") as file:
        file.write(json.dumps(dataclasses.asdict(decided), indent=1))
    decision.set_string_custom_property(TRAIN, "true" if decided.train else "false")


def decide(
    report: str,
    live: versions.Version | None,
    others: Sequence[versions.Version],
    memory: dict[str, Any],
    settings_key: str,
    min_new_images: int,
    force: bool,
    unfit: bool = False,
) -> Decision:
    """Compares the images of this run with those of the live model.

    Args:
        report: folder of ExampleGen's report.
        live: what is live, or None.
        others: the canary, and what was withdrawn.
        memory: what `remember_unpushed` wrote.
        settings_key: of what makes a model of images.
        min_new_images: how many there must be; with 0 any change will do.
        force: whether to train in any case.
        unfit: whether the DataGate will refuse the data: that is no night to end well.
    Returns:
        The decision.
    Raises:
        UsageError: if the window ends before the live model's, and nobody forces it.
    """
    keys = image_set.read(report)
    if keys is None:
        raise GraftError(f"{report}: {image_set.FILE} is missing. Run again with ./graft repair before it.")
    digest = hashlib.sha256(keys.tobytes()).hexdigest()
    seen, damage = _read_seen(live) if live else (None, "")
    new, gone = image_set.compare(keys, seen) if seen is not None else (len(keys), 0)

    def say(train: bool, reason: str, refused: bool = False) -> Decision:
        return Decision(train, reason, new, gone, settings_key, digest, refused)

    if live:
        check_window(find_newest_day(_read_ingest(report)["spans"]), live, force)
    if force:
        return say(True, "forced")
    if unfit:
        return say(True, "the data is not fit for training; the DataGate says why")
    made_of = {"settings_key": settings_key, "images_digest": digest, "live": live.number if live else None}
    if memory and made_of.items() <= memory.items():
        reasons = "; ".join(memory["reasons"])
        return say(False, f"the model of these very images is not pushed: {reasons}", memory["refused"])
    for version in others:
        if version.record.get("settings_key") == settings_key and _is_made_of(version, keys):
            withdrawn = os.path.basename(version.path) != str(version.number)
            state = "was withdrawn" if withdrawn else "is the canary"
            return say(False, f"the model of these very images is version {version.number}, which {state}", withdrawn)
    if not live:
        return say(True, "no version is live yet")
    if seen is None:
        return say(True, f"version {live.number} does not tell which images it has seen{damage and f' ({damage})'}")
    if live.record.get("settings_key") != settings_key:
        return say(True, f"settings or code are not those of version {live.number}")
    if not new and not gone:
        return say(False, f"nothing new: version {live.number} has seen all {len(keys)} images, and no others")
    if new < min_new_images:
        return say(False, _describe_few(new, min_new_images, live.number))
    return say(True, f"version {live.number} has not seen {new} of the images, and {gone} others are gone")


def find_newest_day(spans: Iterable[str]) -> str:
    """The newest date folder that was read, or ""; a window may end on a later day."""
    return max(spans, default="")


def check_window(window_end: str, live: versions.Version, force: bool) -> None:
    """Refuses to go back in time.

    Args:
        window_end: the newest day of this run, or "" without date folders.
        live: what is live.
        force: whether to go back all the same.
    Raises:
        UsageError: if the window ends before the live model's.
    """
    before = live.record.get("window_end", "")
    if window_end and window_end < before and not force:
        raise UsageError(
            f"window_end: the newest day is {window_end}, and that of the live version {live.number} is {before}. "
            "Choose a later one; or force it, to train on older images."
        )


def remember_unpushed(
    model_dir: str, live: int | None, decision: Decision, reasons: list[str], refused: bool = True
) -> None:
    """Keeps what a model was made of that was not pushed, so that a schedule does not train it every night.

    Args:
        model_dir: the serving folder of the model.
        live: the version it was compared with, if there was one.
        decision: of this run.
        reasons: why the model was not pushed.
        refused: whether there is something wrong with it; else it is live already.
    """
    memory = {
        "settings_key": decision.settings_key,
        "images_digest": decision.images_digest,
        "live": live,
        "reasons": reasons,
        "refused": refused,
    }
    try:
        gfile(model_dir).makedirs(model_dir)
        with gfile(model_dir).GFile(os.path.join(model_dir, _MEMORY), "w") as file:
            file.write(json.dumps(memory, indent=1))
    except OSError as error:  # it only saves a training
        logging.warning("%s cannot be written: %s", os.path.join(model_dir, _MEMORY), error)


def read_decision(uri: str) -> Decision:
    """Reads `decision.json`."""
    with tf.io.gfile.GFile(os.path.join(uri, FILE)) as file:
        return Decision(**json.loads(file.read()))


def _digest_weights(path: str) -> str:
    """Digests a file's bytes, hex sha256: one that is replaced in place keeps its name."""
    try:
        return digest_contents(path)
    except OSError as error:
        raise UsageError(
            f"weights: {path}: cannot be read here: {error.strerror}. Name a file that every task can read."
        ) from None


def _read_memory(model_dir: str) -> dict[str, Any]:
    """Reads what `remember_unpushed` wrote; nothing if that is damaged, for it only saves a training."""
    try:
        memory = read_json(os.path.join(model_dir, _MEMORY))
    except DamagedError as error:
        logging.warning("%s is passed over: %s", os.path.join(model_dir, _MEMORY), error)
        return {}
    is_whole = isinstance(memory, dict) and type(memory.get("refused")) is bool and _is_texts(memory.get("reasons"))
    return memory if is_whole else {}


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _read_seen(version: versions.Version) -> tuple[np.ndarray | None, str]:
    """Reads which images a version has seen; where that is damaged, it is as unknown as where it is missing."""
    try:
        return image_set.read_kept(os.path.join(version.path, versions.EXTRA)), ""
    except DamagedError as error:
        return None, f"{image_set.FILE}: {error}"


def _is_made_of(version: versions.Version, keys: np.ndarray) -> bool:
    seen = _read_seen(version)[0]
    return seen is not None and np.array_equal(seen, keys)


def _read_ingest(report: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(report, "report.json")) as file:
        return dict(json.loads(file.read()))


def _describe_few(new: int, min_new_images: int, live: int) -> str:
    if not new:
        return f"nothing new: version {live} has seen all of the images, and min_new_images asks for {min_new_images}"
    images = "image is" if new == 1 else "images are"
    return f"{new} {images} new to version {live}, and min_new_images asks for {min_new_images}"
