"""Reads the executions of a run from ML Metadata: states and output folders of the components."""

import dataclasses

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from pipeline.workspace.workspace import Workspace

_RUN = "pipeline_run"  # TFX's type of the context of a run
_OUTPUT = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
_STATES = metadata_store_pb2.Execution
_WORDS = {_STATES.CACHED: "reused", _STATES.COMPLETE: "run", _STATES.FAILED: "failed", _STATES.CANCELED: "stopped"}


@dataclasses.dataclass(frozen=True)
class Execution:
    """Execution of a component.

    Attributes:
        name: name of the component.
        state: "reused", "run", "failed" or "stopped".
        outputs: output folders by key.
    """

    name: str
    state: str
    outputs: dict[str, str]


def find_executions(workspace: Workspace, run_id: str) -> list[Execution]:
    """Returns the executions of a run in the order of their start; an empty list for an unknown run."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(workspace.metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = mlmd.MetadataStore(config)
    context = store.get_context_by_type_and_name(_RUN, run_id)
    if context is None:
        return []
    found = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    types = {kind.id: kind.name for kind in store.get_execution_types()}
    outputs = _find_outputs(store, [execution.id for execution in found])
    return [
        Execution(
            types[execution.type_id].rpartition(".")[2],
            _WORDS.get(execution.last_known_state, "stopped"),
            outputs.get(execution.id, {}),
        )
        for execution in found
    ]


def _find_outputs(store: mlmd.MetadataStore, ids: list[int]) -> dict[int, dict[str, str]]:
    """Returns the output folders by execution and key."""
    events = [e for e in store.get_events_by_execution_ids(ids) if e.type in _OUTPUT] if ids else []
    artifacts = {a.id: a.uri for a in store.get_artifacts_by_id([e.artifact_id for e in events])} if events else {}
    outputs: dict[int, dict[str, str]] = {}
    for event in events:
        outputs.setdefault(event.execution_id, {})[event.path.steps[0].key] = artifacts[event.artifact_id]
    return outputs
