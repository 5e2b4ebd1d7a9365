"""Dynamic batching: merges concurrent requests into one run of the graph."""

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from serving.server.configs import BatchingParameters
from serving.server.errors import ServingError, invalid_argument
from serving.server.servable import Servable

_Key = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class _Task:
    """Request in a queue.

    Attributes:
        inputs: arrays by tensor name; the first dimension is the batch.
        outputs: names of the output tensors.
        size: number of rows, the first dimension of each input.
        arrived: time of arrival in seconds, by the monotonic clock.
        result: future that receives the output arrays.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    size: int
    arrived: float
    result: "concurrent.futures.Future[list[np.ndarray]]"


class Batcher:
    """Batch scheduler of one servable, with the rules and parameters of TensorFlow Serving.

    Requests are merged if they name the same tensors, with equal types and equal shapes behind the first dimension.
    """

    def __init__(self, servable: Servable, parameters: BatchingParameters):
        """Starts the threads that compute batches; `close` ends the threads."""
        self._servable = servable
        self._parameters = parameters
        self._queues: dict[_Key, collections.deque[_Task]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name="batch") for _ in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Computes a request in a batch with other requests; arguments and result are those of `Servable.run`.

        Raises:
            ServingError: if the request has too many rows, the queue is full, or TensorFlow refuses the inputs.
        """
        sizes = {value.shape[0] if value.ndim else -1 for value in inputs.values()}
        if len(sizes) != 1 or -1 in sizes:
            raise invalid_argument("Batching session Run() input tensors must have equal 0th-dimension size")
        size, limit = sizes.pop(), self._parameters.execution_batch_size
        if size > self._parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {self._parameters.max_batch_size}"
            )
        starts = range(0, max(size, 1), limit)
        parts = [{name: value[start : start + limit] for name, value in inputs.items()} for start in starts]
        tasks = [self._enqueue(part, outputs) for part in parts]
        results = [task.result.result() for task in tasks]
        return results[0] if len(results) == 1 else [np.concatenate(values) for values in zip(*results, strict=True)]

    def close(self) -> None:
        """Ends the threads once all queued requests are computed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> _Task:
        size = len(next(iter(inputs.values())))
        task = _Task(inputs, outputs, size, time.monotonic(), concurrent.futures.Future())
        limit = self._parameters.max_enqueued_batches * self._parameters.execution_batch_size
        with self._changed:
            queue = self._queues.setdefault(_make_key(task), collections.deque())
            if sum(waiting.size for waiting in queue) + size > limit:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            queue.append(task)
            self._changed.notify()
        return task

    def _work(self) -> None:
        while batch := self._take_batch():
            _compute(self._servable, batch, self._parameters.allowed_batch_sizes)

    def _take_batch(self) -> list[_Task]:
        """Waits until a batch is full or its timeout has passed; returns an empty list once the batcher is closed."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = {key: self._find_due_time(queue) for key, queue in self._queues.items() if queue}
                ready = [key for key, at in due.items() if at <= now or self._closed]
                if ready:
                    # The queue with the oldest request is first: else a busy signature would starve the others.
                    return self._pop(min(ready, key=lambda key: self._queues[key][0].arrived))
                if self._closed:
                    return []
                self._changed.wait(min(due.values()) - now if due else None)

    def _find_due_time(self, queue: Sequence[_Task]) -> float:
        """Returns the time in monotonic seconds at which a queue's next batch is due; 0.0 for a full batch."""
        if sum(task.size for task in queue) >= self._parameters.execution_batch_size:
            return 0.0
        return queue[0].arrived + self._parameters.batch_timeout_micros / 1e6

    def _pop(self, key: _Key) -> list[_Task]:
        queue, batch, size = self._queues[key], [], 0
        while queue and size + queue[0].size <= self._parameters.execution_batch_size:
            batch.append(queue.popleft())
            size += batch[-1].size
        if not queue:
            del self._queues[key]
        else:
            self._changed.notify()
        return batch


def _make_key(task: _Task) -> _Key:
    shapes = ((name, value.dtype.str, value.shape[1:]) for name, value in task.inputs.items())
    return (*sorted(shapes), tuple(task.outputs))


def _compute(servable: Servable, batch: list[_Task], allowed_sizes: Sequence[int]) -> None:
    """Computes a batch and sets the result of each request.

    If the batch fails, each request is computed alone, so that a broken request fails no other. TensorFlow Serving, as
    far as is known, fails the whole batch.
    """
    try:
        results = _compute_merged(servable, batch, allowed_sizes)
    except Exception as error:  # any error: a thread that dies would leave requests waiting
        if len(batch) == 1:
            batch[0].result.set_exception(error)
            return
        for task in batch:
            _compute(servable, [task], allowed_sizes)
        return
    for task, result in zip(batch, results, strict=True):
        task.result.set_result(result)


def _compute_merged(servable: Servable, batch: list[_Task], allowed_sizes: Sequence[int]) -> list[list[np.ndarray]]:
    """Runs the rows of all requests at once, padded to an allowed batch size; returns the outputs of each request."""
    size = sum(task.size for task in batch)
    padding = next((allowed for allowed in allowed_sizes if allowed >= size), size) - size if size else 0
    inputs = {name: _merge([task.inputs[name] for task in batch], padding) for name in batch[0].inputs}
    outputs = servable.run(inputs, batch[0].outputs)
    if any(output.ndim == 0 or output.shape[0] != size + padding for output in outputs):
        raise ServingError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        )
    ends = np.cumsum([task.size for task in batch])
    return [
        [output[end - task.size : end] for output in outputs] for task, end in zip(batch, ends.tolist(), strict=True)
    ]


def _merge(values: list[np.ndarray], padding: int) -> np.ndarray:
    """Concatenates arrays along the batch, padded with copies of the first row as in TensorFlow Serving."""
    merged = values[0] if len(values) == 1 else np.concatenate(values)
    return np.concatenate([merged, np.repeat(merged[:1], padding, axis=0)]) if padding else merged
