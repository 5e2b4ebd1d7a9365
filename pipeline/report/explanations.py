"""Heat maps for the page of a run, from the model that the run trained."""

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.console.terminal import quietly
from pipeline.report.sources import RunFiles
from serving.storage.saved_model import SAVED_MODEL

if TYPE_CHECKING:
    from serving.client.heat_maps import HeatMap

MOST = 24  # images; they go through the network once more
_MOST_BYTES = 256 << 20  # of all images, which are in memory at the same time


def explain_images(files: RunFiles, paths: Sequence[str]) -> tuple[dict[str, "HeatMap"], str]:
    """Asks the model of a run for heat maps; any error leaves the page without them.

    Args:
        files: files of the run.
        paths: paths of images relative to the data folder; the first `MOST` are explained.
    Returns:
        Heat maps by path; and the reason why there are none, as a clause, or "".
    """
    chosen = _choose(files.images, paths[:MOST])
    if not chosen:
        return {}, ""
    model = _find_model(files)
    if not model:
        return {}, "the model of this run is gone"
    from serving.client.heat_maps import OneCellError
    from serving.client.refusals import ONE_CELL

    try:
        return _explain(model, files.images, chosen), ""
    except OneCellError:
        return {}, ONE_CELL
    except Exception as error:  # a damaged model can make any part of TensorFlow fail
        logging.warning("report: no heat maps: %r", error)
        return {}, "the model of this run has no signature explain, or cannot be loaded"


def _choose(folder: str, paths: Sequence[str]) -> list[str]:
    chosen, left = [], _MOST_BYTES
    for path in paths:
        try:
            left -= os.path.getsize(os.path.join(folder, path))
        except (OSError, ValueError):
            continue
        if left >= 0:
            chosen.append(path)
    return chosen


def _find_model(files: RunFiles) -> str:
    """Returns the SavedModel of the run: the Trainer's artifact, or the version that it was pushed as; "" if gone."""
    root, manifest = files.workspace.root, files.manifest
    candidates = []
    if manifest and manifest.trained_model:
        candidates.append(root / manifest.trained_model)
    if manifest and manifest.pushed_version is not None:
        candidates.append(files.workspace.model_dir(files.model_name) / str(manifest.pushed_version))
    return next((str(path) for path in candidates if (path / SAVED_MODEL).is_file()), "")


def _explain(model: str, folder: str, paths: Sequence[str]) -> dict[str, "HeatMap"]:
    import tensorflow as tf

    from serving.client.predict import predict_files

    with tf.device("/CPU:0"):  # the training may hold the memory of the GPUs
        predictions = list(quietly(predict_files(model, [os.path.join(folder, path) for path in paths], explain=True)))
    return {
        path: prediction.heat_map
        for path, prediction in zip(paths, predictions, strict=True)
        if prediction.heat_map is not None
    }
