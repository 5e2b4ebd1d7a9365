"""Removes what a run that was interrupted left behind."""

import pathlib
import shutil

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

_UNFINISHED = {metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING}


def remove_unfinished(connection: metadata_store_pb2.ConnectionConfig, artifacts: pathlib.Path) -> None:
    """Removes the output folders of components that never finished, and marks these as cancelled.

    Only with the workspace locked: a run at work has such components, too.

    Args:
        connection: of the metadata.
        artifacts: TFX's pipeline root.
    """
    store = mlmd.MetadataStore(connection)
    # The newer stack's metadata library knows no filter_query.
    unfinished = [e for e in store.get_executions() if e.last_known_state in _UNFINISHED]
    for execution in unfinished:
        for folder in (*artifacts.glob(f"*/*/{execution.id}"), *artifacts.glob(f"*/.system/*/{execution.id}")):
            shutil.rmtree(folder, ignore_errors=True)
        execution.last_known_state = metadata_store_pb2.Execution.CANCELED
    if unfinished:
        store.put_executions(unfinished)
