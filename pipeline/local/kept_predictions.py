"""Joins the predictions of `test` and `val` to one file in the run's folder."""

import os
import pathlib

from components.records.predictions import PREDICTIONS, VAL_BASELINE, join_predictions, read_predictions


def save_predictions(model_run: str, evaluation: str, folder: pathlib.Path) -> None:
    """Writes `predictions.parquet` with a row per image of both splits.

    Args:
        model_run: folder of the Trainer's artifact, with the candidate's predictions of `val`.
        evaluation: folder of the Evaluator's, with the predictions of `test`, and the live version's of `val` if it
            was asked for these.
        folder: of the run.
    """
    test = read_predictions(os.path.join(evaluation, PREDICTIONS))
    val = read_predictions(os.path.join(model_run, PREDICTIONS))
    asked = os.path.join(evaluation, VAL_BASELINE)
    if os.path.exists(asked):
        val = val.align_baseline(read_predictions(asked))
    join_predictions([test, val]).write(str(folder / PREDICTIONS))
