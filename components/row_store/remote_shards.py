"""Shards in a store such as gs://: written here and put there as one object, fetched from there when rows are read.

Beside a large shard lies a list of its digests, so that who only asks which images have rows fetches none of them:
what phase 2 starts from is 400 kB an image. A list without its shard means nothing, and a shard needs no list.
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
_LISTED_BYTES = 1_000_000  # a shard that is smaller is fetched as fast as its list


@contextlib.contextmanager
def write_remote_shard(folder: str, key: FeatureKey) -> Iterator[Append]:
    """As `shards.write_shard`, for a folder of a store.

    It appears when its upload has ended; takes room on this machine's disk until then.

    Raises:
        OSError: if it cannot be written or put there.
    """
    with shard_cache.upload_folder() as here:
        with write_shard(here, key) as append:
            yield append
        for name in os.listdir(here):  # none if there were no rows
            _put(os.path.join(here, name), join(folder, name), key)


def _put(local: str, path: str, key: FeatureKey) -> None:
    """The list first: a shard that is there is complete."""
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
    """As `shards.Shard`, of a store: it is fetched when its first row is read; if it has a list, not before."""

    def __init__(self, path: str, key: FeatureKey, listed: bool):
        """Looks a file over.

        Args:
            path: of the file, in a store.
            key: what it is expected to hold.
            listed: whether there is a list of its digests.
        Raises:
            BadShardError: if it holds something else, or is torn. That of a listed one is noticed when it is read.
            OSError: if it cannot be read.
        """
        self.path = path
        self._key = key
        self._shard: Shard | None = None
        self._anew = False  # whether the copy was fetched a second time
        digests = _read_list(path) if listed else None
        self.digests: np.ndarray = self._open().digests if digests is None else digests

    def read(self, indices: Sequence[int] | np.ndarray, check: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows, as `Shard.read`.

        Raises:
            BadShardError: if the file holds something else than its list says, or is torn.
            OSError: if it cannot be read; FileNotFoundError if it is not in the store any more.
        """
        rows, intact = self._open().read(indices, check)
        if not intact.all() and not self._anew:  # it may be the copy that is damaged
            rows, intact = self._open_anew().read(indices, check)
        return rows, intact

    def remove(self) -> None:
        """Removes it from the store; the copy goes when the store is opened next."""
        _remove(self.path)

    def set_aside(self) -> None:
        """Puts it where nobody reads it, to be removed after a day."""
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
    """The shards of a folder: path, and whether it has a list. Removes what a killed run has left."""
    names = list_names(folder)
    if not names:
        return []
    shards = sorted(name for name in names if name.endswith(SUFFIX))
    shard_cache.keep(folder, shards)
    lists = {name for name in names if name.endswith(_LIST_SUFFIX)}
    for name in {n for n in names if n.endswith(DAMAGED_SUFFIX)} | (lists - {_list_path(shard) for shard in shards}):
        _remove_abandoned(join(folder, name))
    return [(join(folder, name), _list_path(name) in lists) for name in shards]


def _list_path(path: str) -> str:
    return path.removesuffix(SUFFIX) + _LIST_SUFFIX


def _read_list(path: str) -> np.ndarray | None:
    """The digests of a shard by its list; None if that is torn or gone."""
    try:
        with gfile(path).GFile(_list_path(path), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    return np.frombuffer(content, f"S{DIGEST_BYTES}") if content and len(content) % DIGEST_BYTES == 0 else None


def _remove(path: str) -> None:
    """Shard and list, as far as they are there."""
    for part in (path, _list_path(path)):
        with contextlib.suppress(FileNotFoundError):
            gfile(part).remove(part)


def _remove_abandoned(path: str) -> None:
    with contextlib.suppress(OSError):
        modified = gfile(path).stat(path).mtime_nsec / 1e9
        if modified and is_abandoned(modified):
            gfile(path).remove(path)
