"""Writes the predictions of `test` and `val` to one file in the run's folder."""

import os
import pathlib

from components.records.predictions import PREDICTIONS, VAL_BASELINE, join_predictions, read_predictions


def save_predictions(model_run: str, evaluation: str, folder: pathlib.Path) -> None:
    """Writes `predictions.parquet` with one row per image of both splits.

    Args:
        model_run: folder of the Trainer's artifact, with the candidate's predictions of `val`.
        evaluation: folder of the Evaluator's artifact, with the predictions of `test`, and in a second file the live
            version's predictions of `val`, if there are any.
        folder: folder of the run.
    """
    test = read_predictions(os.path.join(evaluation, PREDICTIONS))
    val = read_predictions(os.path.join(model_run, PREDICTIONS))
    baseline = os.path.join(evaluation, VAL_BASELINE)
    if os.path.exists(baseline):
        val = val.align_baseline(read_predictions(baseline))
    join_predictions([test, val]).write(str(folder / PREDICTIONS))
