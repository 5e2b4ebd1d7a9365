"""Notes the files of each artifact with their sizes, so that a damaged artifact is computed again and not reused."""

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
    """Brings the files of new artifacts to the disk, and notes their sizes in the database.

    The database says that a component has finished, and is on the disk at once; after a power cut the files must be
    there, too.

    Args:
        store: the metadata.
        artifacts: of a component that has just finished; in folders of this machine.
    """
    for artifact in artifacts:
        durable.sync_tree(artifact.uri)
        files = filter(os.path.isfile, list_files(artifact.uri))
        sizes = {os.path.relpath(path, artifact.uri): os.path.getsize(path) for path in files}
        artifact.custom_properties[FILES].string_value = json.dumps(sizes, sort_keys=True)
    store.put_artifacts(artifacts)


def forget_damaged(store: mlmd.MetadataStore) -> list[str]:
    """Marks as deleted the artifacts of which a file is gone or has another size: TFX reuses no such one.

    Those without a note are left alone, and so are those whose folder is gone: TFX sees that by itself.

    Args:
        store: the metadata; no run may be at work.
    Returns:
        The first file of each that is damaged.
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
