"""Listing of the files below a folder of a store, with size and modification time.

For gs://, Apache Beam lists a thousand files with one request, where TensorFlow makes a request and a connection per
file. Other stores are listed by TensorFlow.
"""

import errno
import functools
import glob
import os
from collections.abc import Callable, Iterator

from serving.storage.gfile import RemoteFile, is_folder_marker, join, walk_remote

_GOOGLE = "gs://"


def list_objects(root: str, is_skipped: Callable[[str], bool]) -> Iterator[RemoteFile]:
    """Yields the files below a folder, at any depth, without empty objects that stand for folders.

    Args:
        root: folder in a store.
        is_skipped: function from the name of a sub-folder to whether its files are left out; called once per folder.
    Raises:
        OSError: if the folder cannot be listed.
    """
    if not root.startswith(_GOOGLE):
        yield from walk_remote([root], lambda name: not is_skipped(name))[0]
        return

    @functools.cache
    def is_below_skipped(folder: str) -> bool:
        above, name = os.path.split(folder)
        return bool(folder) and (is_below_skipped(above) or is_skipped(name))

    for file in _list_with_beam(root):
        folder = os.path.dirname(file.path.removeprefix(join(root, "")))
        if not is_folder_marker(file.path) and not is_below_skipped(folder):
            yield file


def _list_with_beam(root: str) -> Iterator[RemoteFile]:
    """Lists all objects below a folder with Apache Beam."""
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    pattern = glob.escape(join(root, "")) + "**"
    try:
        [result] = FileSystems.match([pattern])
    except BeamIOError as error:
        cause = (error.exception_details or {}).get(pattern, error)
        raise OSError(errno.EIO, str(cause).partition("\n")[0], root) from error
    return (
        RemoteFile(m.path, m.size_in_bytes, round(m.last_updated_in_seconds * 1e6) * 1000) for m in result.metadata_list
    )
