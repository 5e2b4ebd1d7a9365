"""Watches the jobs of this process on another engine: their end, their silence, and their errors.

Beam's runners wait for a job without end, and raise the last line of its errors alone. Those below are Beam's, named to
Beam by `--runner=pipeline.beam.watch.FlinkRunner`.
"""

import itertools
import logging
import threading
import time
from concurrent import futures
from typing import Any

import grpc
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability import flink_runner, portable_runner

from components import progress
from pipeline.beam import jobs
from pipeline.beam.jobs import Job

_LOGGER = logging.getLogger(__name__)
_MINUTE = 60.0  # seconds
_FIRST_NOTE = 2.0  # minutes of silence before the first note; each further note takes twice as long
_POLL = 5.0  # seconds between two looks at a job
_ANSWER = 5.0  # limit in seconds for the job server to answer
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_COUNT = "beam:metric:element_count:v1"


class WatchOptions(PipelineOptions):
    """Option of Graft's own among Beam's: a container on Kubeflow gets nothing but these."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--graft_max_silent_minutes", type=int)


class EngineError(RuntimeError):
    """Error of a job, or of the job server.

    Attributes:
        job: the job.
        told: all messages of the job; with Flink the exceptions' chain stands in one of them.
        gone: whether the job server stopped answering.
        silent: minutes without progress after which the job was given up; 0 for another reason.
    """

    def __init__(self, text: str, job: Job, told: str = "", gone: bool = False, silent: float = 0):
        """Takes the text of the error and the attributes."""
        super().__init__(text)
        self.job, self.told, self.gone, self.silent = job, told, gone, silent


class WatchedResult(portable_runner.PipelineResult):
    """Result of a job that reports silence, and whose errors have the whole of what the job server told."""

    def __init__(self, result: portable_runner.PipelineResult, job: Job, limit: int | None):
        """Takes over the streams of Beam's result.

        Args:
            result: Beam's result.
            job: the job.
            limit: minutes of silence after which the job is given up; None for no limit.
        """
        super().__init__(result._job_service, result._job_id, *_open_streams(result), result._cleanup_callbacks)
        self._job, self._limit = job, limit
        jobs.add(job)

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Waits for the job, for at most `duration` milliseconds; returns its state.

        Raises:
            EngineError: if the job fails, the job server goes, or the job is silent for longer than the limit.
        """
        ended: futures.Future[str] = futures.Future()
        threading.Thread(target=self._wait, args=[ended], daemon=True).start()
        deadline = time.monotonic() + duration / 1000 if duration else float("inf")
        silence = _Silence(self)
        try:
            with progress.listen(silence.hear):
                while not ended.done() and time.monotonic() < deadline:
                    futures.wait([ended], timeout=min(_POLL, max(0.0, deadline - time.monotonic())))
                    if not ended.done():
                        silence.check(self._limit)
        except BaseException:  # an interrupt, or too long a silence
            self.cancel()
            raise
        return self._finish(ended) if ended.done() else self._state

    def cancel(self) -> None:
        """Asks the job server to cancel the job, within 5 s. Flink's does not reach the job, which stays noted."""
        try:
            request = beam_job_api_pb2.CancelJobRequest(job_id=self._job_id)
            state = self._job_service.Cancel(request, timeout=_ANSWER).state
        except grpc.RpcError:
            state = beam_job_api_pb2.JobState.UNSPECIFIED
        if state in portable_runner.TERMINAL_STATES and not self._job.flink:
            jobs.remove(self._job)
        self._cleanup()

    def count_done(self) -> int | None:
        """Returns the elements done by all steps together; None if the job server tells none."""
        try:
            request = beam_job_api_pb2.GetJobMetricsRequest(job_id=self._job_id)
            metrics = self._job_service.GetJobMetrics(request, timeout=_ANSWER).metrics
        except grpc.RpcError:
            return None
        counts = [_decode(info.payload) for info in metrics.attempted if info.urn == _COUNT]
        return sum(counts) if counts else None

    def count_messages(self) -> int:
        """Returns the number of messages and changes of state so far."""
        return len(self._messages)

    def describe(self) -> Job:
        """Returns the job."""
        return self._job

    def _wait(self, ended: futures.Future) -> None:
        try:
            ended.set_result(super().wait_until_finish())
        except BaseException as error:
            ended.set_exception(error)

    def _finish(self, ended: futures.Future) -> str:
        error = ended.exception()
        gone = _is_gone(error)
        if not gone:
            jobs.remove(self._job)
        if error is None:
            return ended.result()
        told = [m.message_response.message_text for m in self._messages if m.HasField("message_response")]
        for text in told:
            if "\n" in text:  # a chain of exceptions, which Flink's job server calls a message for debugging
                _LOGGER.error("job %s: %s", self._job.id, text)
        raise EngineError(str(error), self._job, "\n".join(told), gone) from error


class _Silence:
    """Time since the last sign of progress: a message, a count of elements, or an event of a component."""

    def __init__(self, result: WatchedResult):
        self._result = result
        self._seen: tuple[int, int | None] = (0, None)
        self.end()

    def hear(self, event: progress.Event) -> None:
        """Takes an event of a component in this process; a note, such as that of `check`, is no progress."""
        if event.done:
            self.end()

    def end(self) -> None:
        """Begins to count anew."""
        self._since, self._next = time.monotonic(), _FIRST_NOTE

    def check(self, limit: int | None) -> None:
        """Reports a silence of 2, 4, 8 minutes and so on.

        Raises:
            EngineError: if the silence is longer than the limit.
        """
        if (seen := (self._result.count_messages(), self._result.count_done())) != self._seen:
            self._seen = seen
            self.end()
        minutes, job = (time.monotonic() - self._since) / _MINUTE, self._result.describe()
        if limit and minutes >= limit:
            raise EngineError(f"no progress for {limit} minutes", job, silent=limit)
        if minutes >= self._next:
            done = "" if seen[1] is None else f"; {seen[1]:,} elements done by all steps together"
            silent = f"no progress was told of job {job.name} for {self._next:g} minutes{done}."
            note = f"{silent} Look at {job.describe_place()}."
            _LOGGER.warning(note)
            progress.report("", note=note)
            self._next *= 2


class _Watched(portable_runner.PortableRunner):
    _flink = False

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> WatchedResult:
        """Starts a job, and returns its watched result."""
        limit = options.view_as(WatchOptions).graft_max_silent_minutes
        job = _describe_job("", options, self._flink)
        try:
            result = super().run_portable_pipeline(pipeline, options)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            raise EngineError(f"{type(error).__name__}: {error}", job, gone=_is_gone(error)) from error
        return WatchedResult(result, _describe_job(result._job_id, options, self._flink), limit)


class PortableRunner(_Watched):
    """Beam's PortableRunner, watched."""


class FlinkRunner(_Watched, flink_runner.FlinkRunner):
    """Beam's FlinkRunner, watched."""

    _flink = True


def _open_streams(result: portable_runner.PipelineResult) -> tuple[Any, Any]:
    """Returns the streams of messages and of states, without a deadline.

    Where the job server knows a job by the id of its preparation, as that of Beam's Python does, those of Beam's result
    end after --job_server_timeout, 300 s, and a longer job with them.
    """
    if not isinstance(result._state_stream, itertools.chain):  # opened behind the start, without a deadline
        return result._message_stream, result._state_stream
    result._message_stream.cancel()
    return (
        result._job_service.GetMessageStream(beam_job_api_pb2.JobMessagesRequest(job_id=result._job_id)),
        result._job_service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=result._job_id)),
    )


def _describe_job(job_id: str, options: PipelineOptions, flink: bool) -> Job:
    portable = options.view_as(PortableOptions)
    pool = str(portable.environment_config) if portable.environment_type == "EXTERNAL" else ""
    slots = options.view_as(FlinkRunnerOptions).parallelism if flink else portable.sdk_worker_parallelism
    asked = str(slots) if slots and int(slots) > 0 else ""
    return Job(job_id, str(portable.job_endpoint), flink, pool, asked)


def _is_gone(error: BaseException | None) -> bool:
    """Tells whether an error says that the job server does not answer, and none of a job."""
    if isinstance(error, grpc.RpcError):
        return bool(error.code() in _GONE)
    return isinstance(error, grpc.FutureTimeoutError)


def _decode(payload: bytes) -> int:
    """Decodes Beam's VarInt."""
    return sum((byte & 0x7F) << (7 * position) for position, byte in enumerate(payload))
