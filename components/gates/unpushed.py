"""Record of the newest model that was not pushed, in the serving folder, so that a schedule trains that model once.

The record only saves a training, so a record that cannot be written or read is ignored with a warning.
"""

import os

from absl import logging

from components.records.decision import RetrainingDecision
from components.records.not_pushed import UnpushedModel
from serving.storage.documents import DocumentError
from serving.storage.gfile import gfile


def write_unpushed(
    model_dir: str, live: int | None, decision: RetrainingDecision, reasons: list[str], refused: bool = True
) -> None:
    """Writes the images, settings and reasons of a model that was not pushed.

    Args:
        model_dir: serving folder of the model.
        live: number of the version that the model was compared with; None if no version was live.
        decision: decision of the RetrainingGate in this run.
        reasons: reasons why the model was not pushed.
        refused: whether the model was rejected; False if the same model is live already.
    """
    unpushed = UnpushedModel(
        settings_key=decision.settings_key,
        images_digest=decision.images_digest,
        live=live,
        reasons=reasons,
        refused=refused,
    )
    try:
        gfile(model_dir).makedirs(model_dir)
        unpushed.write(model_dir)
    except OSError as error:
        logging.warning("%s cannot be written: %s", os.path.join(model_dir, UnpushedModel.FILE), error)


def read_unpushed(model_dir: str) -> UnpushedModel | None:
    """Reads the record of `write_unpushed`; returns None if the record is missing or damaged."""
    try:
        return UnpushedModel.find(model_dir)
    except DocumentError as error:
        logging.warning("ignored: %s", error)
        return None
