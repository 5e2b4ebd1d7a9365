"""Warm-up requests of an exported model."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.export.warmup_requests import write_warmup_requests
from serving.storage.saved_model import WARMUP_REQUESTS


@pytest.fixture
def write(tmp_path, encode_image):
    """Returns a function that writes requests for a number of images, and returns images and requests."""

    def write_requests(count):
        images = [encode_image(seed=seed) for seed in range(count)]
        write_warmup_requests(str(tmp_path), images, "flowers")
        file = tmp_path / WARMUP_REQUESTS
        records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator() if file.exists() else []
        return images, [prediction_log_pb2.PredictionLog.FromString(r).predict_log.request for r in records]

    return write_requests


def values(request):
    """Returns the name of a request's only input, and the values."""
    [(name, proto)] = request.inputs.items()
    return name, tf.make_ndarray(proto).tolist()


def test_there_is_an_image_a_batch_and_an_example(write):
    """The kinds of requests that clients send, with the model's name."""
    images, requests = write(9)
    assert {request.model_spec.name for request in requests} == {"flowers"}
    assert [request.model_spec.signature_name for request in requests] == ["serving_default"] * 2 + ["examples"]
    assert [values(request) for request in requests[:2]] == [("image_bytes", images[:1]), ("image_bytes", images[:8])]
    name, [example] = values(requests[2])
    assert name == "examples"
    feature = tf.train.Example.FromString(example).features.feature
    assert (list(feature), list(feature["image"].bytes_list.value)) == (["image"], images[:1])


@pytest.mark.parametrize(("count", "sizes"), [(3, [1, 3, 1]), (1, [1, 1]), (0, [])])
def test_few_images_make_small_batches(write, count, sizes):
    """No request is written twice, and without an image no request is written."""
    _, requests = write(count)
    assert [len(values(request)[1]) for request in requests] == sizes
