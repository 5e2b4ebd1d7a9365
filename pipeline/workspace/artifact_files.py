"""Notes the file sizes of each artifact, so that TFX computes a damaged artifact again instead of reusing it."""

import json
import os
from collections.abc import Sequence

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from serving.storage import durable
from serving.storage.listing import list_files

FILES = "graft_files"  # property of an artifact: JSON, path in it to size in bytes
_LIVE, _DELETED = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED


def note_files(store: mlmd.MetadataStore, artifacts: Sequence[metadata_store_pb2.Artifact]) -> None:
    """Syncs the files of new artifacts to the disk, and notes their sizes in the database.

    The database syncs each change by itself. Without the sync of the files, a component that is finished in the
    database could lack its files after a power cut.

    Args:
        store: the metadata.
        artifacts: local artifacts of a component that has just finished.
    """
    for artifact in artifacts:
        durable.sync_tree(artifact.uri)
        files = filter(os.path.isfile, list_files(artifact.uri))
        sizes = {os.path.relpath(path, artifact.uri): os.path.getsize(path) for path in files}
        artifact.custom_properties[FILES].string_value = json.dumps(sizes, sort_keys=True)
    store.put_artifacts(artifacts)


def forget_damaged(store: mlmd.MetadataStore) -> list[str]:
    """Marks the artifacts as deleted that miss a file or have one of another size: TFX does not reuse them.

    Skips artifacts without a note of sizes, and those whose folder is gone: TFX detects that by itself.

    Args:
        store: the metadata; no run may be active.
    Returns:
        The first damaged file of each damaged artifact.
    """
    damaged, files = [], []
    for artifact in store.get_artifacts():
        if artifact.state == _LIVE and FILES in artifact.custom_properties and os.path.isdir(artifact.uri):
            sizes = json.loads(artifact.custom_properties[FILES].string_value)
            wrong = [name for name, size in sizes.items() if _measure(os.path.join(artifact.uri, name)) != size]
            if wrong:
                artifact.state = _DELETED
                damaged.append(artifact)
                files.append(os.path.join(artifact.uri, wrong[0]))
    if damaged:
        store.put_artifacts(damaged)
    return files


def _measure(path: str) -> int | None:
    """Returns the size of a file in bytes; None if there is no such file."""
    return os.path.getsize(path) if os.path.isfile(path) else None
