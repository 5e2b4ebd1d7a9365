"""Estimated and measured memory of requests, and the order of waiting requests."""

import json
import threading
import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import predict_pb2
from waiting import wait_until

from serving.server.errors import ServingError
from serving.server.json_documents import measure
from serving.server.json_requests import parse_predict
from serving.server.memory import MemoryBudget, Size
from serving.server.tensors import measure as measure_tensors
from serving.server.wire_size import measure_message

MB = 1 << 20
COUNT = 10_000
ELEMENTS = {
    "empty lists": ([[]] * COUNT, tf.float32),
    "lists of one": ([[0]] * COUNT, tf.float32),
    "pixels": ([[row % 256, 7, 255] for row in range(COUNT)], tf.float32),
    "floats": ([row / 7 for row in range(COUNT)], tf.float32),
    "large integers": ([row + 1000 for row in range(COUNT)], tf.int64),
    "small integers": ([row % 100 for row in range(COUNT)], tf.int64),
    "empty strings": ([""] * COUNT, tf.string),
    "strings": ([f"{row:04x}" for row in range(COUNT)], tf.string),
    "base64": ([{"b64": "YWI="}] * COUNT, tf.string),
    "wide text": (["\U0001f600" + "a" * 1_000_000], tf.string),
    "text": (["a" * 1_000_000], tf.string),
}


@pytest.mark.parametrize(("instances", "dtype"), ELEMENTS.values(), ids=ELEMENTS)
def test_json_takes_no_more_than_is_estimated(instances, dtype):
    """And not much less; tracemalloc measures the allocations of Python and numpy."""
    body = bytearray(json.dumps({"instances": instances}, ensure_ascii=False, separators=(",", ":")).encode())
    signature = SignatureDef()
    signature.inputs["x"].dtype = dtype.as_datatype_enum
    tracemalloc.start()
    try:
        parse_predict(body, lambda _: signature, COUNT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak * 0.9 < measure(body).num_bytes < 3 * peak + MB


@pytest.mark.parametrize("array", [np.ones([2, 300, 300, 3], np.float32), np.array([b"x" * 1000] * 50, object)])
def test_messages_are_estimated_by_their_bytes(array):
    """A few times of them, where strings and arrays are large: so an ordinary request is never refused."""
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(array))
    data = request.SerializeToString()
    assert 5 * len(data) <= measure_message(data, request.DESCRIPTOR).num_bytes < 7 * len(data) + 1000


@pytest.mark.parametrize(("tag", "count"), [(b"\x42\x00", 1_000_001), (b"\x7a\x00", 100_001)])
def test_many_fields_are_refused_before_they_are_parsed(tag, count):
    """Empty strings and messages; two bytes each on the wire. A message counts for ten."""
    data = tag * count
    with pytest.raises(ServingError, match="more than 1000000"):
        measure_message(data, tensor_pb2.TensorProto.DESCRIPTOR)


def test_a_message_that_is_cut_off_is_measured():
    """The parser says what is wrong with it."""
    data = tf.make_tensor_proto([b"abc", b"d"]).SerializeToString()
    for end in range(len(data)):
        assert measure_message(data[:end], tensor_pb2.TensorProto.DESCRIPTOR).num_bytes < 10_000


@pytest.mark.parametrize(
    ("dtype", "least"), [(tf.string, 40), (tf.float32, 4), (tf.half, 2), (tf.complex64, 48), (tf.int64, 8)]
)
def test_a_value_that_is_repeated_counts_as_often(dtype, least):
    """By what each element costs, and not by the bytes of the one value."""
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, string_val=[b""] if dtype == tf.string else [])
    proto.tensor_shape.dim.add(size=1_000_000)
    assert measure_tensors({"x": proto}) >= least * 1_000_000


def test_large_requests_wait_for_each_other_and_small_ones_do_not():
    """In the order of their coming."""
    budget, entered = MemoryBudget(4, MB), []

    def enter(name, size):
        with budget.take(Size(size, "")):
            entered.append(name)

    with budget.take(Size(400 * MB, "")):
        threads = [threading.Thread(target=enter, args=(name, 200 * MB)) for name in ("first", "second")]
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            wait_until(lambda waiting=waiting: len(budget._waiting) == waiting)
        enter("small", MB)
        with pytest.raises(ServingError) as caught, budget.take(Size(200 * MB, ""), wait=False):
            pass
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert entered == ["small"]
    for thread in threads:
        thread.join()
    assert entered == ["small", "first", "second"]
    enter("last", 700 * MB)
    assert entered[-1] == "last"


def test_no_more_wait_than_leave_threads_for_small_requests():
    """A further one is to come again later; one that is too large is refused for good."""
    budget = MemoryBudget(1, MB)
    with budget.take(Size(500 * MB, "")):
        waiting = threading.Thread(target=lambda: budget.take(Size(500 * MB, "")).__enter__())
        waiting.start()
        wait_until(lambda: budget._waiting)
        with pytest.raises(ServingError, match="busy") as caught, budget.take(Size(500 * MB, "")):
            pass
        assert caught.value.http_status == 503
        with pytest.raises(ServingError, match="900 MB of memory; the maximum is 768 MB: send less"):
            budget.take(Size(900 * MB, "send less")).__enter__()
    waiting.join()
