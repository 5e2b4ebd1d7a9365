"""Asks a job server for its options, or for the end of a job.

Beam itself would wait for 5 minutes for a job server that is not there.
"""

from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipeline.beam.jobs import Job
from schema.errors import UsageError

_SECONDS = 5.0  # limit for a job server to answer; usual are milliseconds
_STATES = beam_job_api_pb2.JobState
_ENDED = {_STATES.DONE, _STATES.FAILED, _STATES.CANCELLED, _STATES.DRAINED, _STATES.UPDATED}


def read_options(endpoint: str, expected: str) -> Sequence[beam_job_api_pb2.PipelineOptionDescriptor]:
    """Returns the options that the engine behind a job server knows, within 5 s.

    Args:
        endpoint: host:port of the job server.
        expected: description of the expected endpoint, for the error.
    Returns:
        Options such as Flink's number_of_execution_retries; none from a job server of Beam's Python.
    Raises:
        UsageError: if no job server answers.
    """
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_SECONDS)
            server = beam_job_api_pb2_grpc.JobServiceStub(channel)
            request = beam_job_api_pb2.DescribePipelineOptionsRequest()
            return list(server.DescribePipelineOptions(request, timeout=_SECONDS).options)
        except grpc.FutureTimeoutError:
            problem = f"nothing answers within {_SECONDS:g} s at"
        except grpc.RpcError as error:
            problem = f"what answers is no job server ({error.code().name}) at"
    raise UsageError(f"beam.job_endpoint: {problem} {endpoint}; expected {expected}.")


def has_ended(job: Job) -> bool:
    """Tells whether the job server knows that a job has ended; False if it does not answer within 5 s.

    Flink's job server calls a job cancelled as soon as it is asked to cancel it, whatever Flink does.
    """
    with grpc.insecure_channel(job.endpoint) as channel:
        try:
            server = beam_job_api_pb2_grpc.JobServiceStub(channel)
            state = server.GetState(beam_job_api_pb2.GetJobStateRequest(job_id=job.id), timeout=_SECONDS).state
        except grpc.RpcError:
            return False
    return state in _ENDED and not (job.flink and state == _STATES.CANCELLED)
