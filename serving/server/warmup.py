"""Warms a version up before it takes requests: the first run of a graph takes seconds, which no client is to wait."""

import os

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.errors import ServingError, failed_precondition
from serving.server.inference import Model, classify, multi_inference, predict, regress

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MOST_REQUESTS = 1000


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
                raise failed_precondition(f"Number of warmup records exceeds the maximum of {_MOST_REQUESTS}")
            _replay(model, prediction_log_pb2.PredictionLog.FromString(record))
    except ServingError as error:
        raise ServingError(error.code, f"Encountered an error at warmup request: {error.message}") from error
    except Exception as error:  # a torn file, or other messages in it
        raise failed_precondition(f"Failed to read the warmup requests in {file}: {error}") from error


def _replay(model: Model, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict(model, log.predict_log.request)
    elif kind == "classify_log":
        classify(model, log.classify_log.request)
    elif kind == "regress_log":
        regress(model, log.regress_log.request)
    elif kind == "multi_inference_log":
        multi_inference(model, log.multi_inference_log.request)
    else:
        raise failed_precondition(f"Unsupported log_type for warmup: {kind}")
