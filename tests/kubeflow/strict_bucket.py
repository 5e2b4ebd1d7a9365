"""The object store of the strict backend: what the launcher copies before and behind a command.

Read in github.com/kubeflow/pipelines, backend/src/v2/component/launcher_v2.go: downloadArtifacts, uploadOutputArtifacts
and LocalPathForURI; and in the later version without ML Metadata, where an output without a local file fails the task.
"""

import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from strict_driver import LOGS

SCHEME, FOLDER = "minio://", "minio"


class Bucket:
    """A store in a folder, and a launcher that works below another root than /."""

    def __init__(self, folder: pathlib.Path, launcher_root: pathlib.Path):
        """A store whose objects are in `folder`; the launcher's copies go below `launcher_root`."""
        self._folder = folder
        self._launcher_root = launcher_root

    def find_object(self, uri: str) -> pathlib.Path:
        """Where an object lies here; what is no address of the store is a path."""
        return self._folder / uri.removeprefix(SCHEME) if uri.startswith(SCHEME) else pathlib.Path(uri)

    def find_copy(self, uri: str) -> pathlib.Path:
        """Where the launcher copies it to and from: LocalPathForURI."""
        if not uri.startswith(SCHEME):
            return pathlib.Path(uri)
        return self._launcher_root / FOLDER / uri.removeprefix(SCHEME)

    def download(self, executor_input: Any) -> None:
        """Copies every input, whether it is needed or not; one that has no object is passed over with a warning."""
        for uri in _list_uris(executor_input.inputs):
            if uri.startswith(SCHEME) and self.find_object(uri).exists():
                _copy(self.find_object(uri), self.find_copy(uri))

    def upload(self, executor_input: Any) -> list[str]:
        """Copies every output; returns the addresses of those that are not there."""
        uris = [uri for uri in _list_uris(executor_input.outputs) if uri.startswith(SCHEME)]
        missing = [uri for uri in uris if not self.find_copy(uri).exists()]
        for uri in set(uris) - set(missing):
            _copy(self.find_copy(uri), self.find_object(uri))
        return missing


def _list_uris(side: Any) -> Iterator[str]:
    for key, found in side.artifacts.items():
        if key != LOGS:
            yield found.artifacts[0].uri


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
