"""Object store of the strict backend: the launcher copies from and to this store.

Read in github.com/kubeflow/pipelines, backend/src/v2/component/launcher_v2.go: downloadArtifacts, uploadOutputArtifacts
and LocalPathForURI; and in the later version without ML Metadata, where an output without a local file fails the task.
"""

import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

SCHEME, FOLDER = "minio://", "minio"


class Bucket:
    """Store in a folder, with a launcher that works below another root than /."""

    def __init__(self, folder: pathlib.Path, launcher_root: pathlib.Path):
        """Takes the folder of the objects, and the folder for the launcher's copies."""
        self._folder = folder
        self._launcher_root = launcher_root

    def find_object(self, uri: str) -> pathlib.Path:
        """Returns the local path of an object; a text that is not a URI of the store is a path."""
        return self._folder / uri.removeprefix(SCHEME) if uri.startswith(SCHEME) else pathlib.Path(uri)

    def find_copy(self, uri: str) -> pathlib.Path:
        """Returns the path of the launcher's copy of an object: LocalPathForURI."""
        if not uri.startswith(SCHEME):
            return pathlib.Path(uri)
        return self._launcher_root / FOLDER / uri.removeprefix(SCHEME)

    def download(self, executor_input: Any) -> None:
        """Copies every input, used or not; skips one without an object, of which the backend warns."""
        for uri in _list_inputs(executor_input):
            if uri.startswith(SCHEME) and self.find_object(uri).exists():
                _copy(self.find_object(uri), self.find_copy(uri))

    def upload(self, uris: Iterable[str]) -> list[str]:
        """Copies the outputs at some URIs; returns the URIs of the missing ones."""
        uris = [uri for uri in uris if uri.startswith(SCHEME)]
        missing = [uri for uri in uris if not self.find_copy(uri).exists()]
        for uri in set(uris) - set(missing):
            _copy(self.find_copy(uri), self.find_object(uri))
        return missing


def _list_inputs(executor_input: Any) -> Iterator[str]:
    for found in executor_input.inputs.artifacts.values():
        yield found.artifacts[0].uri


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
