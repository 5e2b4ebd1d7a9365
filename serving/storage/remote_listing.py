"""Lists the files below a folder of a store, with what a fingerprint is made of.

From Google's storage, Beam gets size and time of a thousand files with one request; TensorFlow asks for each file, and
makes a connection for it. Of other stores, TensorFlow is asked.
"""

import errno
import functools
import glob
import os
from collections.abc import Callable, Iterator

from serving.storage.gfile import RemoteFile, is_folder_marker, join, walk_remote

_GOOGLE = "gs://"


def list_objects(root: str, is_passed_over: Callable[[str], bool]) -> Iterator[RemoteFile]:
    """The files below a folder, at any depth; empty objects that stand for folders left out.

    Args:
        root: the folder, in a store.
        is_passed_over: whether what is in a sub-folder of this name is left out; asked once for each sub-folder.
    Raises:
        OSError: if it cannot be listed.
    """
    if not root.startswith(_GOOGLE):
        yield from walk_remote([root], lambda name: not is_passed_over(name))[0]
        return

    @functools.cache
    def is_below_passed_over(folder: str) -> bool:
        above, name = os.path.split(folder)
        return bool(folder) and (is_below_passed_over(above) or is_passed_over(name))

    for file in _list_with_beam(root):
        folder = os.path.dirname(file.path.removeprefix(join(root, "")))
        if not is_folder_marker(file.path) and not is_below_passed_over(folder):
            yield file


def _list_with_beam(root: str) -> Iterator[RemoteFile]:
    """All objects below a folder."""
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
