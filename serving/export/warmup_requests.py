"""Writer of the warm-up requests that a model server runs on a version before the version answers clients.

The first run of each signature takes seconds, which no client should wait for. The format is TensorFlow Serving's:
https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import os
from collections.abc import Sequence

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from schema import features
from serving.export import signatures
from serving.storage.saved_model import WARMUP_REQUESTS

WARMUP_BATCH = 8  # images; the batch of `serving.client.client`


def write_warmup_requests(path: str, images: Sequence[bytes], model_name: str) -> None:
    """Writes warm-up requests into a SavedModel: one image and a batch for SERVING, one tf.Example for EXAMPLES.

    Args:
        path: folder of the SavedModel.
        images: encoded images; the first 8 are used. Without images, nothing is written.
        model_name: name of the model on the servers.
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
    """Makes a tf.Example of the image alone, so that no label or path of a training file enters the model."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    example = tf.train.Example(features=tf.train.Features(feature={features.IMAGE: feature}))
    return bytes(example.SerializeToString())
