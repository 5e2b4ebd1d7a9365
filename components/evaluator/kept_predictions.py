"""Keeps the predictions that TFMA makes of each test image, so that no second pass is needed.

A worker writes the predictions of a bundle to a file that is named by its content, because Beam may try a bundle
twice, and on another machine. The Evaluator joins these files.
"""

import contextlib
import contextvars
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from components.evaluator.eval_config import ACCEPTED_KEY, BASELINE, CANDIDATE, PREDICTION_KEY
from components.records.predictions import Predictions, join_predictions, no_baseline, parse_predictions
from schema import features
from schema.errors import GraftError
from serving.storage.gfile import gfile
from serving.storage.listing import list_names
from serving.storage.whole_files import write_whole

_SUFFIX = ".parquet"
_MOST_ROWS = 8192  # in memory; with 1,000 classes and two models 65 MB
_folder: contextvars.ContextVar[str] = contextvars.ContextVar("folder of the kept predictions", default="")


@contextlib.contextmanager
def keep_predictions(folder: str) -> Iterator[None]:
    """Makes the extractors of this context write their predictions to a new folder, and removes the folder at the end.

    A context variable has the folder, because TFX gives an extractor module no argument for one.

    Args:
        folder: folder that all workers of Beam reach; files of an earlier attempt are removed.
    """
    _remove(folder)
    gfile(folder).makedirs(folder)
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)
        _remove(folder)


def make_keeper() -> list[tfma.extractors.Extractor]:
    """Returns an extractor that keeps predictions; an empty list outside of `keep_predictions`."""
    folder = _folder.get()
    return [tfma.extractors.Extractor("KeepPredictions", beam.ParDo(KeepPredictions(folder)))] if folder else []


class KeepPredictions(beam.DoFn):
    """Beam step that writes the predictions of each bundle, and yields the extracts unchanged."""

    def __init__(self, folder: str):
        """Sets the folder to write to."""
        self._folder = folder
        self._parts: list[Predictions] = []

    def start_bundle(self) -> None:
        """Drops the predictions of a bundle that failed."""
        self._parts = []

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        """Adds the predictions of a batch; writes them once `_MOST_ROWS` are reached."""
        self._parts.append(_read_batch(extracts))
        if sum(map(len, self._parts)) >= _MOST_ROWS:
            self.finish_bundle()
        yield extracts

    def finish_bundle(self) -> None:
        """Writes the collected predictions to one file."""
        if self._parts:
            content = join_predictions(self._parts).render()
            path = os.path.join(self._folder, hashlib.sha256(content).hexdigest() + _SUFFIX)
            with write_whole(path) as temporary, open(temporary, "wb") as file:
                file.write(content)
        self._parts = []


def read_kept(folder: str, classes: list[str], baseline_version: int | None, images: int) -> Predictions:
    """Joins the files that the workers have written.

    Args:
        folder: folder of the enclosing `keep_predictions`.
        classes: class names of the candidate; the same as those of a live version that TFMA has evaluated.
        baseline_version: number of that version; None if TFMA has evaluated the candidate only.
        images: number of test images.
    Returns:
        Predictions with one row per test image, sorted by path.
    Raises:
        GraftError: if the number of rows is not the number of test images.
    """
    names = [name for name in list_names(folder) if name.endswith(_SUFFIX)]
    parts = [_read_part(os.path.join(folder, name)) for name in sorted(names)]
    kept = join_predictions(parts).sort() if parts else None
    if kept is None or len(kept) != images:
        raise GraftError(
            f"{folder}: expected the predictions of {images:,} test images, found {len(kept) if kept else 0:,}. "
            "A worker of Beam may write to another folder of this name; run again on workers that share it."
        )
    baseline_classes = None if baseline_version is None else classes
    return dataclasses.replace(kept, classes=classes).with_baseline(baseline_version, baseline_classes, kept.baseline)


def _read_batch(extracts: tfma.Extracts) -> Predictions:
    """Reads a batch with the outputs of one model, or of two models by name."""
    predictions, given = extracts[tfma.PREDICTIONS_KEY], extracts[tfma.FEATURES_KEY]
    count, both = np.size(given[features.PATH]), CANDIDATE in predictions
    candidate = _read_rows(predictions[CANDIDATE] if both else predictions, count)
    baseline = _read_rows(predictions[BASELINE], count) if both else no_baseline(count)
    texts = {
        name: [value.decode("utf-8", "replace") for value in np.ravel(given[name])]
        for name in (features.DIGEST, features.PATH, features.LABEL)
    }
    width, baseline_width = candidate.shape[1], baseline.shape[1]
    return Predictions(
        classes=[""] * width,  # `read_kept` sets the names
        baseline_version=None,
        baseline_classes=[""] * baseline_width if both else None,
        split=[features.TEST] * count,
        **texts,
        candidate=candidate,
        baseline=baseline,
        accepted=_read_accepted(predictions[CANDIDATE] if both else predictions, count),
    )


def _read_rows(predictions: Mapping[str, Any], count: int) -> np.ndarray:
    """Returns float32 [count, classes]; TFMA omits the first axis for a batch of one image."""
    return np.asarray(predictions[PREDICTION_KEY], np.float32).reshape(count, -1)


def _read_accepted(predictions: Mapping[str, Any], count: int) -> np.ndarray | None:
    """Returns bool [count]; None for a model without this output."""
    found = predictions.get(ACCEPTED_KEY)
    return None if found is None else np.asarray(found, bool).reshape(count)


def _read_part(path: str) -> Predictions:
    with gfile(path).GFile(path, "rb") as file:
        return parse_predictions(bytes(file.read()), path)


def _remove(folder: str) -> None:
    if gfile(folder).exists(folder):
        gfile(folder).rmtree(folder)
