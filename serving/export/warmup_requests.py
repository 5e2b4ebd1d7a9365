"""Writes what a model server asks a version itself before it takes requests.

The first run of a graph takes seconds, for each signature anew, and no client is to wait for it. The format is
TensorFlow Serving's: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import os
from collections.abc import Sequence

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from schema import features
from serving.export import signatures

WARMUP_REQUESTS = os.path.join("assets.extra", "tf_serving_warmup_requests")
WARMUP_BATCH = 8  # images; as `serving.client.client` sends them


def write_warmup_requests(path: str, images: Sequence[bytes], model_name: str) -> None:
    """Writes requests with an image and with a batch, as images and as tf.Examples, into a SavedModel's folder.

    Args:
        path: of the SavedModel.
        images: encoded, up to 8 of them are used; without any, nothing is written.
        model_name: what servers will call the model.
    """
    if not images:
        return
    file = os.path.join(path, WARMUP_REQUESTS)
    tf.io.gfile.makedirs(os.path.dirname(file))
    with tf.io.TFRecordWriter(file) as writer:
        for count in sorted({1, min(len(images), WARMUP_BATCH)}):
            log = _make_log(model_name, signatures.SERVING, signatures.IMAGE_BYTES, images[:count])
            writer.write(log.SerializeToString())
        log = _make_log(model_name, signatures.EXAMPLES, signatures.EXAMPLES, [_make_example(images[0])])
        writer.write(log.SerializeToString())


def _make_log(
    model_name: str, signature: str, argument: str, values: Sequence[bytes]
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    request.inputs[argument].CopyFrom(tf.make_tensor_proto(list(values), tf.string))
    return log


def _make_example(image: bytes) -> bytes:
    """The image alone: neither label nor path of a training file belongs into a model."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    example = tf.train.Example(features=tf.train.Features(feature={features.IMAGE: feature}))
    return bytes(example.SerializeToString())
