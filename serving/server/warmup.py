"""Warms a version up before it takes requests: the first run of a graph takes seconds, which no client is to wait."""

import logging
import os

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.errors import ServingError, explain, invalid_argument, unimplemented
from serving.server.inference import Model, predict

logger = logging.getLogger(__name__)

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MOST_REQUESTS = 1000
_PASSED_OVER = ("classify_log", "regress_log", "multi_inference_log")  # no client can ask for these here


def warm_up(model: Model, path: str) -> None:
    """Asks a model what its exporter thought clients would ask.

    Args:
        model: loaded.
        path: its folder; the requests are in `assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog.
    Raises:
        ServingError: if a request cannot be answered, or there are more than 1000; then the model is not served.
    """
    file = os.path.join(path, WARMUP_FILE)
    if not tf.io.gfile.exists(file):
        return
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(file)):
            if count >= _MOST_REQUESTS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MOST_REQUESTS}) at {file}")
            _replay(model, prediction_log_pb2.PredictionLog.FromString(record))
    except ServingError as error:
        raise ServingError(error.code, f"Encountered an error at warmup request: {error.message}") from error
    except Exception as error:  # a torn file, or other messages in it
        reason = explain(error)
        raise ServingError(reason.code, f"Failed to read the warmup requests in {file}: {reason.message}") from error


def _replay(model: Model, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict(model, log.predict_log.request)
    elif kind in _PASSED_OVER:
        logger.warning("A warmup request is passed over: %s is not implemented by this server", kind)
    else:
        raise unimplemented(f"Unsupported log_type for warmup: {kind}")
