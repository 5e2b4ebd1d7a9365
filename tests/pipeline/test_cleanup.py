"""What an interrupted run leaves behind goes when the next one starts."""

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.cleanup import remove_unfinished

RUNNING, COMPLETE = metadata_store_pb2.Execution.RUNNING, metadata_store_pb2.Execution.COMPLETE


def test_outputs_of_unfinished_components_go_and_others_stay(tmp_path):
    """Told apart by what the metadata says of the execution; also within the same component."""
    connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    store = mlmd.MetadataStore(connection)
    [trainer] = [store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))]
    states = [COMPLETE, RUNNING, RUNNING, COMPLETE]
    ids = store.put_executions(
        [metadata_store_pb2.Execution(type_id=trainer, last_known_state=state) for state in states]
    )
    artifacts = tmp_path / "pipeline"
    for number in ids:
        for folder in ("model", "model_run", ".system/executor_execution"):
            (artifacts / "Trainer" / folder / str(number)).mkdir(parents=True)
            (artifacts / "Trainer" / folder / str(number) / "file").write_text("half")

    remove_unfinished(connection, artifacts)

    left = {path.parent.name for path in artifacts.rglob("file")}
    assert left == {str(ids[0]), str(ids[3])}
    found = [execution.last_known_state for execution in store.get_executions_by_id(ids)]
    assert found == [COMPLETE, metadata_store_pb2.Execution.CANCELED, metadata_store_pb2.Execution.CANCELED, COMPLETE]


def test_fresh_workspace_has_nothing_to_remove(tmp_path):
    """Neither metadata nor folders are there."""
    connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    remove_unfinished(connection, tmp_path / "pipeline")
