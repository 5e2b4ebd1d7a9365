"""Runs a pipeline on this machine, one component after the other, and reports each start and end.

TFX's LocalDagRunner does the same, but reports to its log alone.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils, tfx_runner
from tfx.proto.orchestration import local_deployment_config_pb2, pipeline_pb2

from pipeline.beam.in_process import stay_in_process
from pipeline.beam.lookups import remember_lookups
from pipeline.local.beam_operator import take_beam_args
from pipeline.local.memory import measure_memory
from pipeline.workspace.artifact_files import note_files


@dataclasses.dataclass(frozen=True)
class Output:
    """Output artifact: URI, and custom properties in the metadata."""

    uri: str
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Finished:
    """Component that has succeeded.

    Attributes:
        name: name of the component.
        seconds: duration in seconds.
        peak_mb: peak of this process' resident memory in MB while the component ran; None if unknown.
        cached: whether TFX reused the outputs of an earlier run, without an executor.
        outputs: output artifacts, by key.
    """

    name: str
    seconds: float
    peak_mb: float | None
    cached: bool
    outputs: dict[str, Output]


class LocalRunner(tfx_runner.IrBasedRunner):
    """Runner that executes the components in order, and stops at the first exception."""

    def __init__(self, run_id: str, on_start: Callable[[str], None], on_finish: Callable[[Finished], bool]):
        """Prepares a run.

        Args:
            run_id: id of the run, unique in the metadata.
            on_start: called with the name of each component.
            on_finish: called with each component that has succeeded; returns whether to continue.
        """
        self._run_id = run_id
        self._on_start = on_start
        self._on_finish = on_finish

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Runs a compiled pipeline; TFX's `run` calls it."""
        del run_options  # for partial runs, which the cache makes needless
        # Bounds batches by bytes (20 MiB) instead of rows: a thousand rows may be gigabytes. It is set as a default,
        # because with any Beam argument TFX packs its own sources for workers, which takes 3 s a component.
        flags.FLAGS.set_default("tfxio_use_byte_size_batching", True)
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        store = deployment.metadata_connection_config
        connection = metadata.Metadata(getattr(store, store.WhichOneof("connection_config")))
        stay_in_process()
        with remember_lookups():
            for node in pipeline.nodes:
                name = node.pipeline_node.node_info.id
                self._on_start(name)
                started = time.monotonic()
                with measure_memory() as memory:
                    execution_id = _launch(node.pipeline_node, pipeline, deployment, connection)
                measured = time.monotonic() - started, memory.megabytes
                if not self._on_finish(_describe(connection, execution_id, name, *measured)):
                    return


def _launch(
    node: pipeline_pb2.PipelineNode,
    pipeline: pipeline_pb2.Pipeline,
    deployment: local_deployment_config_pb2.LocalDeploymentConfig,
    connection: metadata.Metadata,
) -> int:
    """Runs a component; returns the id of its execution in the metadata."""
    name = node.node_info.id
    executor = runner_utils.extract_executor_spec(deployment, name)
    operators = take_beam_args(executor)
    execution = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=connection,
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=executor,
        custom_executor_operators=operators,
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
    ).launch()
    return int(execution.execution_id)


def _describe(
    connection: metadata.Metadata, execution_id: int, name: str, seconds: float, peak_mb: float | None
) -> Finished:
    """Reads the outputs of a component from the metadata, and notes their files.

    The files of a cached component were noted by the execution that made them.
    """
    with connection as handle:
        [execution] = handle.store.get_executions_by_id([execution_id])
        events = [e for e in handle.store.get_events_by_execution_ids([execution_id]) if _is_output(e)]
        artifacts = {a.id: a for a in handle.store.get_artifacts_by_id([e.artifact_id for e in events])}
        cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
        if not cached:
            note_files(handle.store, list(artifacts.values()))
    outputs = {e.path.steps[0].key: _output(artifacts[e.artifact_id]) for e in events}
    return Finished(name, seconds, peak_mb, cached, outputs)


def _is_output(event: metadata_store_pb2.Event) -> bool:
    return event.type in (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)


def _output(artifact: metadata_store_pb2.Artifact) -> Output:
    properties = {key: getattr(value, value.WhichOneof("value")) for key, value in artifact.custom_properties.items()}
    return Output(artifact.uri, properties)
