"""The next run removes the outputs of an interrupted run."""

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.workspace.cleanup import remove_unfinished, set_unknown_aside
from pipeline.workspace.workspace import prepare

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

    remove_unfinished(store, artifacts)

    left = {path.parent.name for path in artifacts.rglob("file")}
    assert left == {str(ids[0]), str(ids[3])}
    found = [execution.last_known_state for execution in store.get_executions_by_id(ids)]
    assert found == [COMPLETE, metadata_store_pb2.Execution.CANCELED, metadata_store_pb2.Execution.CANCELED, COMPLETE]


def open_store(workspace, executions):
    """Makes the metadata of some executions that have finished."""
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(workspace.metadata)))
    trainer = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    store.put_executions([metadata_store_pb2.Execution(type_id=trainer, last_known_state=COMPLETE)] * executions)
    return store


def test_fresh_workspace_has_nothing_to_remove(tmp_path):
    """Neither metadata nor folders are there."""
    workspace = prepare(str(tmp_path / "out"))
    store = open_store(workspace, 0)
    remove_unfinished(store, workspace.artifacts)
    assert set_unknown_aside(store, workspace) is None
    assert not list(workspace.root.glob("lost-*"))


@pytest.mark.parametrize(("executions", "moved"), [(0, ["1", "2", "3"]), (2, ["3"]), (3, [])])
def test_folders_that_executions_to_come_would_get_are_moved_away(tmp_path, executions, moved):
    """All, where the database is lost; where it is an older copy, those that are newer than it. None is lost."""
    workspace = prepare(str(tmp_path / "out"))
    for number in "123":
        for name in ("model", "model_run", ".system/executor_execution"):
            (workspace.artifacts / "Trainer" / name / number).mkdir(parents=True)
            (workspace.artifacts / "Trainer" / name / number / "file").write_text(number)
    lost = set_unknown_aside(open_store(workspace, executions), workspace)
    assert {path.parent.name for path in workspace.artifacts.rglob("file")} == set("123") - set(moved)
    assert sorted(path.read_text() for path in (lost.rglob("file") if lost else [])) == sorted(moved * 3)
    assert lost is None or (lost / "pipeline/Trainer/.system/executor_execution/3/file").is_file()
