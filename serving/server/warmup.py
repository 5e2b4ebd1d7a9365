"""Warm-up of a version before it answers requests: the first run of a graph takes seconds."""

import logging
import os

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.errors import ServingError, invalid_argument, to_serving_error, unimplemented
from serving.server.inference import Model, predict
from serving.storage.saved_model import WARMUP_REQUESTS

logger = logging.getLogger(__name__)

_MAX_REQUESTS = 1000
_SKIPPED = ("classify_log", "regress_log", "multi_inference_log")  # requests that this server does not implement


def warm_up(model: Model, path: str) -> None:
    """Runs the warm-up requests of a SavedModel: `assets.extra/tf_serving_warmup_requests`, TFRecords of PredictionLog.

    Args:
        model: loaded model.
        path: folder of the SavedModel.
    Raises:
        ServingError: if a request fails, the file cannot be read, or it holds more than 1000 requests; then the model
            must not be served.
    """
    file = os.path.join(path, WARMUP_REQUESTS)
    if not tf.io.gfile.exists(file):
        return
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(file)):
            if count >= _MAX_REQUESTS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MAX_REQUESTS}) at {file}")
            _replay(model, prediction_log_pb2.PredictionLog.FromString(record))
    except ServingError as error:
        raise ServingError(error.code, f"Encountered an error at warmup request: {error.message}") from error
    except Exception as error:  # a cut-off file, or other messages in the file
        reason = to_serving_error(error)
        raise ServingError(reason.code, f"Failed to read the warmup requests in {file}: {reason.message}") from error


def _replay(model: Model, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict(model, log.predict_log.request)
    elif kind in _SKIPPED:
        logger.warning("A warmup request is skipped: %s is not implemented by this server", kind)
    else:
        raise unimplemented(f"Unsupported log_type for warmup: {kind}")
