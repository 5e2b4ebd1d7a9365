"""Memory of the newest model that was not pushed, beside the versions, so that a schedule trains it once.

It only saves a training: one that cannot be written or read is passed over.
"""

import os

from absl import logging

from components.records.decision import RetrainingDecision
from components.records.not_pushed import UnpushedModel
from serving.storage.documents import DocumentError
from serving.storage.gfile import gfile
from serving.storage.side_files import DamagedError, read_json


def remember_unpushed(
    model_dir: str, live: int | None, decision: RetrainingDecision, reasons: list[str], refused: bool = True
) -> None:
    """Writes down what a model was made of that was not pushed.

    Args:
        model_dir: the serving folder of the model.
        live: number of the version that the model was compared with, if there was one.
        decision: of this run.
        reasons: why the model was not pushed.
        refused: whether there is something wrong with the model; else it is live already.
    """
    unpushed = UnpushedModel(
        settings_key=decision.settings_key,
        images_digest=decision.images_digest,
        live=live,
        reasons=reasons,
        refused=refused,
    )
    path = os.path.join(model_dir, UnpushedModel.FILE)
    try:
        gfile(model_dir).makedirs(model_dir)
        # In place: `write` goes by a file beside the folder, which may be a volume of its own.
        with gfile(path).GFile(path, "w") as file:
            file.write(unpushed.render())
    except OSError as error:
        logging.warning("%s cannot be written: %s", path, error)


def recall_unpushed(model_dir: str) -> UnpushedModel | None:
    """Reads what `remember_unpushed` wrote; returns None if there is nothing, or it is damaged."""
    path = os.path.join(model_dir, UnpushedModel.FILE)
    try:
        value = read_json(path)
        return None if value is None else UnpushedModel.parse(value, path)
    except (DamagedError, DocumentError) as error:
        logging.warning("%s is passed over: %s", path, error)
        return None
