"""Shards in an object store such as gs://. A shard is uploaded as one object, and downloaded when its rows are read.

Beside a large shard lies a list of its digests: a lookup of digests downloads the list and not the shard, which has
400 kB an image for the features of phase 2. A list without its shard is ignored, and a shard without a list is read.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from components.row_store import shard_cache
from components.row_store.shards import (
    DAMAGED_SUFFIX,
    DIGEST_BYTES,
    SUFFIX,
    Append,
    BadShardError,
    FeatureKey,
    Shard,
    write_shard,
)
from serving.storage.gfile import gfile, join
from serving.storage.listing import list_names
from serving.storage.whole_files import is_abandoned

_LIST_SUFFIX = ".digests"
_LISTED_BYTES = 1_000_000  # a smaller shard is downloaded as fast as its list


@contextlib.contextmanager
def write_remote_shard(folder: str, key: FeatureKey, prefix: str = "") -> Iterator[Append]:
    """Writes one shard into a folder of an object store, as `shards.write_shard` does on disk.

    The shard appears when its upload has ended. Until then the shard takes space on the disk of this machine.

    Raises:
        OSError: if the shard cannot be written or uploaded.
    """
    with shard_cache.upload_folder() as here:
        with write_shard(here, key, prefix) as append:
            yield append
        for name in os.listdir(here):  # none if there were no rows
            _put(os.path.join(here, name), join(folder, name), key)


def _put(local: str, path: str, key: FeatureKey) -> None:
    """Uploads the list of digests, then the shard, so that a visible shard is complete; removes both on an error."""
    try:
        if os.path.getsize(local) >= _LISTED_BYTES:
            with gfile(path).GFile(_list_path(path), "wb") as file:
                file.write(Shard(local, key).digests.tobytes())
        gfile(path).copy(local, path)
    except BaseException:
        _remove(path)
        raise
    shard_cache.adopt(local, path)


class RemoteShard:
    """A `shards.Shard` in an object store. A shard with a list is downloaded at the first read, others at once."""

    def __init__(self, path: str, key: FeatureKey, listed: bool):
        """Reads the digests: from the list if the shard has one, else from the downloaded shard.

        Args:
            path: URI of the shard.
            key: expected feature key of the rows.
            listed: True if a list of the digests lies beside the shard.
        Raises:
            BadShardError: if a shard without a list has another key, or is torn. `read` checks a shard with a list.
            OSError: if the shard cannot be read.
        """
        self.path = path
        self._key = key
        self._shard: Shard | None = None
        self._anew = False  # True once the shard was downloaded a second time
        digests = _read_list(path) if listed else None
        self.digests: np.ndarray = self._open().digests if digests is None else digests

    def read(self, indices: Sequence[int] | np.ndarray, check: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows, as `Shard.read`; downloads the shard again if the copy on this machine is damaged.

        Raises:
            BadShardError: if the shard and its list differ, or the shard is torn.
            OSError: if the shard cannot be read; FileNotFoundError if it was removed from the store.
        """
        rows, intact = self._open().read(indices, check)
        if not intact.all() and not self._anew:  # perhaps only the copy is damaged
            rows, intact = self._open_anew().read(indices, check)
        return rows, intact

    def remove(self) -> None:
        """Removes the shard from the store; its copy on this machine is removed when the store is opened next."""
        _remove(self.path)

    def set_aside(self) -> None:
        """Renames the shard so that it is not read any more; it is removed after a day."""
        gfile(self.path).rename(self.path, self.path + DAMAGED_SUFFIX)
        _remove(self.path)

    def _open(self) -> Shard:
        local = shard_cache.fetch(self.path)
        try:
            self._shard = self._shard or Shard(local, self._key)
        except BadShardError:
            if self._anew:
                raise
            return self._open_anew()
        if not np.array_equal(self._shard.digests, getattr(self, "digests", self._shard.digests)):
            raise BadShardError("the list of its digests is of another file")
        return self._shard

    def _open_anew(self) -> Shard:
        self._anew, self._shard = True, None
        shard_cache.fetch(self.path, anew=True)
        return self._open()


def list_remote_shards(folder: str) -> list[tuple[str, bool]]:
    """Lists the shards of a folder as (URI, True if it has a list of digests); removes remains of killed runs."""
    names = list_names(folder)
    if not names:
        return []
    shards = sorted(name for name in names if name.endswith(SUFFIX))
    shard_cache.remove_stale(folder, shards)
    lists = {name for name in names if name.endswith(_LIST_SUFFIX)}
    for name in {n for n in names if n.endswith(DAMAGED_SUFFIX)} | (lists - {_list_path(shard) for shard in shards}):
        _remove_abandoned(join(folder, name))
    return [(join(folder, name), _list_path(name) in lists) for name in shards]


def _list_path(path: str) -> str:
    return path.removesuffix(SUFFIX) + _LIST_SUFFIX


def _read_list(path: str) -> np.ndarray | None:
    """Reads the digests of a shard from its list; None if the list is torn or missing."""
    try:
        with gfile(path).GFile(_list_path(path), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    return np.frombuffer(content, f"S{DIGEST_BYTES}") if content and len(content) % DIGEST_BYTES == 0 else None


def _remove(path: str) -> None:
    """Removes a shard and its list; a missing one is no error."""
    for part in (path, _list_path(path)):
        with contextlib.suppress(FileNotFoundError):
            gfile(part).remove(part)


def _remove_abandoned(path: str) -> None:
    with contextlib.suppress(OSError):
        modified = gfile(path).stat(path).mtime_nsec / 1e9
        if modified and is_abandoned(modified):
            gfile(path).remove(path)
