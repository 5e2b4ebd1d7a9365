"""Runs the executor of a component that uses Beam, with arguments that are no part of TFX's cache key.

TFX's key holds the whole specification of an executor, Beam's arguments among it: on another engine, or with another
number of workers, each component would run anew on the same inputs.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message
from tfx.orchestration.portable.base_executor_operator import BaseExecutorOperator
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.executable_spec_pb2 import BeamExecutableSpec
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput

from pipeline.beam import jobs


def take_beam_args(executor: Message) -> dict[type, Callable[..., BaseExecutorOperator]]:
    """Removes Beam's arguments from the specification of an executor.

    Args:
        executor: specification, which is changed; one without Beam stays as it is.
    Returns:
        Operators for TFX's launcher, which run the executor with the removed arguments.
    """
    if not isinstance(executor, BeamExecutableSpec):
        return {}
    args = list(executor.beam_pipeline_args_placeholders)
    del executor.beam_pipeline_args[:]
    del executor.beam_pipeline_args_placeholders[:]
    return {BeamExecutableSpec: functools.partial(BeamOperator, args=args)}


class BeamOperator(BeamExecutorOperator):
    """TFX's operator of executors that use Beam, with the arguments of `take_beam_args`."""

    def __init__(self, executor_spec: Message, platform_config: Message | None = None, args: Sequence[Any] = ()):
        """Takes the specification without Beam's arguments, and these arguments."""
        super().__init__(executor_spec, platform_config)
        self.beam_pipeline_args.extend(args)

    def run_executor(self, execution_info: ExecutionInfo, *args: Any, **kwargs: Any) -> ExecutorOutput:
        """Runs the executor, and notes its jobs on another engine beside the outputs as long as they run.

        TFX removes the outputs of a failed component. Those of a job that may run on stay: without its folder the job
        would fail, be tried again, and hold its slots. `left_jobs.remove_ended` removes them.
        """
        with jobs.noted_in(os.path.dirname(execution_info.execution_output_uri or "")):
            try:
                return super().run_executor(execution_info, *args, **kwargs)
            except Exception:
                if jobs.list_running():
                    execution_info.output_dict = {}  # the launcher removes these folders
                raise
