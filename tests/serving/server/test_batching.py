"""Batching: concurrent requests are computed together."""

import threading
import time

import numpy as np
import pytest
from waiting import wait_until

from serving.server.batching import Batcher
from serving.server.configs import BatchingParameters
from serving.server.errors import ServingError, failed_precondition


class Recorder:
    """Substitute of a servable: doubles rows and records the size of each batch."""

    def __init__(self):
        self.sizes = []
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def run(self, inputs, outputs):
        self.entered.set()
        self.gate.wait(120)
        (value,) = inputs.values()
        self.sizes.append(len(value))
        if (value < 0).any():
            raise failed_precondition("negative")
        return [2 * value for _ in outputs]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def make(recorder):
    """Returns a function that makes a batcher with the given parameters; the batchers are closed at the end."""
    made = []

    def make_batcher(**parameters):
        made.append(Batcher(recorder, BatchingParameters(**{"num_batch_threads": 1} | parameters)))
        return made[-1]

    yield make_batcher
    recorder.gate.set()
    for batcher in made:
        batcher.close()


def ask_all(batcher, requests):
    """Sends requests at once from threads; returns their answers or errors in order."""
    answers = [None] * len(requests)

    def ask(index):
        try:
            answers[index] = batcher.run({"x": requests[index]}, ["y"])[0]
        except ServingError as error:
            answers[index] = error

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return answers


def count_waiting(batcher):
    return sum(map(len, batcher._queues.values()))


def rows(*values):
    return np.array(values, np.float32)


def test_what_comes_at_once_is_one_batch_and_each_gets_its_rows(make, recorder):
    """The requests have different sizes."""
    requests = [rows(1), rows(2, 3), rows(4), rows(5, 6, 7, 8)]
    answers = ask_all(make(max_batch_size=8, batch_timeout_micros=60_000_000), requests)
    assert recorder.sizes == [8]
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer, 2 * request)


def test_no_batch_is_larger_than_allowed(make, recorder):
    """Twelve requests in batches of four, each of which is computed as soon as it is full."""
    ask_all(make(max_batch_size=4, batch_timeout_micros=60_000_000), [rows(1)] * 12)
    assert recorder.sizes == [4, 4, 4]


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_a_request_alone_is_answered_after_the_timeout(make, timeout):
    """Not earlier; without a timeout, at once."""
    start = time.monotonic()
    (answer,) = ask_all(make(batch_timeout_micros=int(timeout * 1e6)), [rows(1)])
    assert answer is not None
    assert time.monotonic() - start >= timeout


def test_a_batch_is_filled_up_to_an_allowed_size(make, recorder):
    """Three rows to four; nobody sees the fourth."""
    batcher = make(max_batch_size=4, allowed_batch_sizes=(2, 4))
    (answer,) = batcher.run({"x": rows(1, 2, 3)}, ["y"])
    assert recorder.sizes == [4]
    np.testing.assert_array_equal(answer, [2, 4, 6])


def test_a_request_larger_than_a_batch_is_refused_or_split(make, recorder):
    """More than max_batch_size rows are refused; up to that, batches of max_execution_batch_size are made of them."""
    with pytest.raises(ServingError, match="Task size 5 is larger than maximum input batch size 4"):
        make(max_batch_size=4).run({"x": rows(*range(5))}, ["y"])
    splitting = make(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True)
    np.testing.assert_array_equal(splitting.run({"x": rows(*range(10))}, ["y"])[0], 2 * np.arange(10))
    assert max(recorder.sizes) <= 4


def test_other_shapes_and_outputs_are_other_batches(make, recorder):
    """Only requests with equal shapes and outputs are merged."""
    batcher = make(max_batch_size=2, batch_timeout_micros=60_000_000)
    answers = ask_all(batcher, [rows(1), rows([1, 2]), rows(2), rows([3, 4])])
    assert [answer.shape for answer in answers] == [(1,), (1, 2), (1,), (1, 2)]
    assert recorder.sizes == [2, 2]


def test_a_busy_queue_does_not_starve_another(make, recorder):
    """The request that has waited longest is computed next, though others would fill a batch."""
    recorder.gate.clear()
    batcher = make(max_batch_size=2, max_enqueued_batches=9)
    done = []
    order = [rows(1, 1), rows([9, 9]), *[rows(2, 2)] * 5]

    def ask(request):
        batcher.run({"x": request}, ["y"])
        done.append(request.ndim)

    threads = [threading.Thread(target=ask, args=(request,)) for request in order]
    threads[0].start()
    wait_until(recorder.entered.is_set)  # it is computed, and stands before the gate
    for waiting, thread in enumerate(threads[1:], 1):
        thread.start()
        wait_until(lambda waiting=waiting: count_waiting(batcher) == waiting)
    recorder.gate.set()
    for thread in threads:
        thread.join(120)
    assert recorder.sizes[1] == 1
    assert len(done) == len(order)


def test_a_request_without_rows_is_answered_and_disturbs_nobody(make, recorder):
    """Also where batches are filled up."""
    batcher = make(max_batch_size=4, batch_timeout_micros=200_000, allowed_batch_sizes=(2, 4))
    answers = ask_all(batcher, [np.zeros([0], np.float32), rows(1, 2, 3)])
    assert [len(answer) for answer in answers] == [0, 3]


def test_rows_that_do_not_agree_are_refused(make):
    """Inputs of one request must have as many rows as each other, and have rows."""
    for inputs in ({"x": rows(1), "z": rows(1, 2)}, {"x": np.float32(1)}):
        with pytest.raises(ServingError, match="equal 0th-dimension size"):
            make().run(inputs, ["y"])


def test_a_full_queue_turns_requests_away(make, recorder):
    """With UNAVAILABLE, so that clients try again; what waits is answered."""
    recorder.gate.clear()
    batcher = make(max_batch_size=1, max_enqueued_batches=2)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask_all(batcher, [rows(1)])[0])) for _ in range(6)]
    threads[0].start()
    assert recorder.entered.wait(120)  # it waits no more, so that the queue has two places
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(answers) == 3)
    recorder.gate.set()
    for thread in threads:
        thread.join(120)
    refused = [answer for answer in answers if isinstance(answer, ServingError)]
    assert [error.code.name for error in refused] == ["UNAVAILABLE"] * 3
    assert len(answers) == 6


def test_a_broken_request_spoils_only_its_own_answer(make, recorder):
    """The batch fails, then each is computed alone."""
    answers = ask_all(make(max_batch_size=3, batch_timeout_micros=60_000_000), [rows(1), rows(-1), rows(3)])
    assert isinstance(answers[1], ServingError)
    np.testing.assert_array_equal([answers[0], answers[2]], [[2], [6]])
    assert recorder.sizes == [3, 1, 1, 1]


def test_an_output_without_rows_cannot_be_dealt_out(make):
    """A model that returns one number for all cannot be batched; the error says so."""

    class Scalar:
        def run(self, inputs, outputs):
            return [np.float32(1)]

    batcher = Batcher(Scalar(), BatchingParameters(num_batch_threads=1))
    with pytest.raises(ServingError, match="0th dimension"):
        batcher.run({"x": rows(1)}, ["y"])
    batcher.close()
