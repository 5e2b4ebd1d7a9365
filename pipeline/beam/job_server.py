"""Asks a job server for its options; Beam itself would wait for 5 minutes for one that is not there."""

from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from schema.errors import UsageError

_SECONDS = 5.0  # limit for a job server to answer; usual are milliseconds


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
