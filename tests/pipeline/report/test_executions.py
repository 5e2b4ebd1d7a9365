"""Executions of a run in ML Metadata."""

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as proto

from pipeline.report.executions import Execution, find_executions
from pipeline.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    """Workspace of a run that reused ExampleGen and failed in the DataGate."""
    workspace = Workspace(tmp_path)
    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = str(workspace.metadata)
    store = mlmd.MetadataStore(config)
    run = proto.Context(type_id=store.put_context_type(proto.ContextType(name="pipeline_run")), name="run 1")
    report = proto.Artifact(type_id=store.put_artifact_type(proto.ArtifactType(name="IngestReport")), uri="/a/report/1")
    event = proto.Event(type=proto.Event.OUTPUT)
    event.path.steps.add(key="report")
    for name, state, outputs in (
        ("components.example_gen.component.ExampleGen", proto.Execution.CACHED, [(report, event)]),
        ("components.gates.data.DataGate", proto.Execution.FAILED, []),
    ):
        kind = store.put_execution_type(proto.ExecutionType(name=name))
        store.put_execution(proto.Execution(type_id=kind, last_known_state=state), outputs, [run], True)
    return workspace


def test_components_have_a_state_and_outputs(workspace):
    assert find_executions(workspace, "run 1") == [
        Execution("ExampleGen", "reused", {"report": "/a/report/1"}),
        Execution("DataGate", "failed", {}),
    ]


def test_a_run_that_the_database_does_not_know_has_none(workspace):
    assert find_executions(workspace, "run 2") == []
