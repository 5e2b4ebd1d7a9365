"""Embedding store: outputs of the frozen base by image digest, computed once and kept from run to run.

Each feature key has a folder of append-only shards. The store has no index and no lock: opening the store reads the
digests of all shards, and a row that two runs have written is stored twice with equal values until `prune` merges the
two. The folder may be in an object store such as gs://; see `remote_shards`.
"""

import contextlib
import functools
import os
import pathlib
import shutil
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from absl import logging

from components.row_store import shard_cache
from components.row_store.remote_shards import RemoteShard, list_remote_shards, write_remote_shard
from components.row_store.shards import (
    DAMAGED_SUFFIX,
    DIGEST_BYTES,
    SUFFIX,
    Append,
    BadShardError,
    FeatureKey,
    Shard,
    to_bytes,
    write_shard,
)
from serving.storage.gfile import gfile, is_remote
from serving.storage.listing import list_names
from serving.storage.whole_files import TEMPORARY_SUFFIX, is_abandoned, name_temporary, write_whole

KEY_FILE = "kind.json"
_COPIED_ROWS = 32  # rows in memory at once; a row of the features for phase 2 has 400 kB
_OPENED_AT_ONCE = 8  # remote shards; Google's client takes 64 MB of memory for each file that it reads


class EmbeddingStore:
    """Rows of one feature key below a folder."""

    def __init__(self, root: str, key: FeatureKey):
        """Names a store; creates and reads nothing.

        Args:
            root: folder of the stores of all keys.
            key: feature key of the rows.
        """
        self.key = key
        self.folder = os.path.join(root, key.name)

    @contextlib.contextmanager
    def append(self, prefix: str = "") -> Iterator[Append]:
        """Adds rows as one shard, which other readers see when the context ends; see `shards.write_shard`.

        Args:
            prefix: first characters of the shard's name, by which `Rows.are_from` and `remove_temporaries` know it.
        """
        if not gfile(self.folder).isdir(self.folder):
            gfile(self.folder).makedirs(self.folder)
        self._write_key()
        write = write_remote_shard if is_remote(self.folder) else write_shard
        with write(self.folder, self.key, prefix) as append:
            yield append

    def open(self, known: "Rows | None" = None) -> "Rows":
        """Returns the rows that are in the store now; skips torn and foreign shards with a warning.

        Args:
            known: rows of an earlier call, whose shards are not read again.
        Returns:
            The rows; `known` itself if the store has the same shards.
        """
        opened = known.shards if known else {}
        shards = list(_open_shards(self.folder, self.key, opened))
        if known and {shard.path for shard in shards} == set(opened):
            return known
        return Rows(self.key, shards)

    def remove_temporaries(self, prefix: str) -> None:
        """Removes the temporary files of shards with a prefix, which killed workers have left; none is in an upload."""
        if is_remote(self.folder) or not os.path.isdir(self.folder):
            return
        for name in list_names(self.folder):
            if name.startswith(prefix) and name.endswith(TEMPORARY_SUFFIX):
                with contextlib.suppress(OSError):
                    os.remove(os.path.join(self.folder, name))

    def _write_key(self) -> None:
        """Writes the feature key into the folder, whole or not at all, for `list_keys` and for people."""
        path = os.path.join(self.folder, KEY_FILE)
        if gfile(path).exists(path):
            return
        with write_whole(path, name_temporary(path)) as temporary:
            pathlib.Path(temporary).write_text(self.key.to_json(), encoding="utf-8")

    def prune(self, live: Sequence[bytes]) -> int:
        """Removes the rows of all images but the live ones, even rows that another run has just added, and doubles.

        Args:
            live: digests of the images of which one row stays.
        Returns:
            The number of removed rows.
        """
        live_digests = np.array(live, f"S{DIGEST_BYTES}")
        shards = list(_open_shards(self.folder, self.key))
        dropped = 0
        for shard, first in zip(shards, _find_first([shard.digests for shard in shards]), strict=True):
            keep = np.flatnonzero(np.isin(shard.digests, live_digests) & first)
            if len(keep) == len(shard.digests):
                continue
            try:
                copied = self._copy(shard, keep) if len(keep) else 0
            except BadShardError as error:  # a remote shard with a list is read only now
                _warn_of_bad_shard(shard.path, error)
                continue
            with contextlib.suppress(FileNotFoundError):  # pruned by another process as well
                shard.remove()
            dropped += len(shard.digests) - copied
        return dropped

    def _copy(self, shard: Shard | RemoteShard, keep: np.ndarray) -> int:
        """Copies the intact ones of some rows of a shard into a new shard; returns the number of copied rows."""
        copied = 0
        with self.append() as append:
            for chunk in np.split(keep, range(_COPIED_ROWS, len(keep), _COPIED_ROWS)):
                rows, intact = shard.read(chunk, check=True)
                if intact.any():
                    append([to_bytes(shard.digests[i]) for i in chunk[intact]], rows[intact])
                copied += int(intact.sum())
        return copied


def _find_first(digests: list[np.ndarray]) -> list[np.ndarray]:
    """Returns a mask for each shard: True for a digest that neither stands before in it nor in an earlier shard."""
    joined = np.concatenate(digests) if digests else np.zeros(0, f"S{DIGEST_BYTES}")
    first: np.ndarray = np.zeros(len(joined), bool)
    first[np.unique(joined, return_index=True)[1]] = True
    return np.split(first, np.cumsum([len(part) for part in digests])[:-1]) if digests else []


class Rows:
    """Rows of a store at the time of `EmbeddingStore.open`."""

    def __init__(self, key: FeatureKey, shards: Sequence[Shard | RemoteShard]):
        """Sorts the digests of all shards; takes 50 bytes of memory a row."""
        self.key = key
        self._shards = shards
        self._set_aside: np.ndarray = np.zeros(len(shards), bool)
        digests = [shard.digests for shard in shards] or [np.zeros(0, f"S{DIGEST_BYTES}")]
        all_digests = np.concatenate(digests)
        order = np.argsort(all_digests, kind="stable")
        self._digests = all_digests[order]
        self._shard = np.repeat(np.arange(len(digests), dtype=np.int32), [len(d) for d in digests])[order]
        self._row = np.concatenate([np.arange(len(d), dtype=np.int32) for d in digests])[order]

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self._digests)

    @property
    def shards(self) -> dict[str, Shard | RemoteShard]:
        """Shards by path, but for those that were set aside."""
        return {s.path: s for s, aside in zip(self._shards, self._set_aside, strict=True) if not aside}

    def count_images(self) -> int:
        """Returns the number of images; an image that two runs have added at the same time has two rows."""
        return int((self._digests[1:] != self._digests[:-1]).sum()) + bool(len(self))

    def are_from(self, prefix: str, positions: np.ndarray) -> np.ndarray:
        """Tells which rows are in a shard whose name begins with a prefix.

        Args:
            prefix: first characters of the shard's name, see `EmbeddingStore.append`; not empty.
            positions: int64 [num_rows], from `find`.
        Returns:
            bool [num_rows]; false for position -1.
        """
        named = np.array([os.path.basename(shard.path).startswith(prefix) for shard in self._shards], bool)
        return (positions >= 0) & named[self._shard[positions]] if len(self) else positions >= 0

    def find(self, digests: Sequence[bytes]) -> np.ndarray:
        """Finds the positions of the rows of images.

        Args:
            digests: sha256 of the bytes of each image.
        Returns:
            int64 [num_images], positions for `read`; -1 for an image without a row.
        """
        wanted = np.array(digests, f"S{DIGEST_BYTES}")
        if not len(self):
            return np.full(len(wanted), -1)
        positions = np.minimum(np.searchsorted(self._digests, wanted), len(self) - 1)
        found = (self._digests[positions] == wanted) & ~self._set_aside[self._shard[positions]]
        return np.where(found, positions, -1)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Reads rows, without checksums.

        Args:
            positions: int64 [num_rows], from `find`; none is -1.
        Returns:
            The rows [num_rows, *key.shape], of the key's dtype.
        Raises:
            IndexError: if a position is -1.
        """
        if (positions < 0).any():
            raise IndexError("expected positions of rows that are there, got -1")
        rows = np.empty([len(positions), *self.key.shape], self.key.numpy_dtype)
        for shard, chosen in self._by_shard(positions):
            rows[chosen], _ = self._shards[shard].read(self._row[positions[chosen]])
        return rows

    def read_intact(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows with their checksums, and sets no shard aside: for a reader beside the runs.

        Args:
            positions: int64 [num_rows], from `find`; none is -1.
        Returns:
            The rows [num_rows, *key.shape], and bool [num_rows], False for a row that is damaged or has been pruned.
        """
        rows = np.zeros([len(positions), *self.key.shape], self.key.numpy_dtype)
        intact: np.ndarray = np.zeros(len(positions), bool)
        for shard, chosen in self._by_shard(positions):
            with contextlib.suppress(FileNotFoundError, BadShardError):
                rows[chosen], intact[chosen] = self._shards[shard].read(self._row[positions[chosen]], check=True)
        return rows, intact

    def check(self, positions: np.ndarray) -> np.ndarray:
        """Reads rows and compares them with their checksums.

        A shard with a damaged row is set aside, and from then on `find` finds none of its rows.

        Args:
            positions: int64 [num_rows], from `find`.
        Returns:
            bool [num_rows], true for an intact row in a shard that was not set aside; false for position -1.
        """
        for shard, chosen in self._by_shard(positions):
            for part in np.split(chosen, range(_COPIED_ROWS, len(chosen), _COPIED_ROWS)):
                if not self._is_intact(shard, self._row[positions[part]]):
                    self._set_shard_aside(shard)
                    break
        return (positions >= 0) & ~self._set_aside[self._shard[positions]] if len(self) else positions >= 0

    def _by_shard(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Groups positions by shard; yields the number of the shard and the indices of its rows in `positions`."""
        present = np.flatnonzero(positions >= 0)
        shards = self._shard[positions[present]]
        for shard in np.unique(shards):
            yield int(shard), present[shards == shard]

    def _is_intact(self, shard: int, rows: np.ndarray) -> bool:
        try:
            return bool(self._shards[shard].read(rows, check=True)[1].all())
        except FileNotFoundError:  # pruned, or set aside by another process
            return False
        except BadShardError:
            return False

    def _set_shard_aside(self, shard: int) -> None:
        logging.warning("%s: damaged; set aside, and its images are computed again.", self._shards[shard].path)
        self._set_aside[shard] = True
        with contextlib.suppress(OSError):
            self._shards[shard].set_aside()


def _open_shards(
    folder: str, key: FeatureKey, known: Mapping[str, Shard | RemoteShard] = types.MappingProxyType({})
) -> Iterator[Shard | RemoteShard]:
    """Opens the shards of a folder, but for those that are known by their path: a shard never changes."""
    if is_remote(folder):

        def open_remote(path: str, listed: bool) -> Shard | RemoteShard | None:
            return known.get(path) or _try_to_open(functools.partial(RemoteShard, path, key, listed), path)

        with ThreadPoolExecutor(_OPENED_AT_ONCE) as threads:
            opened = threads.map(lambda found: open_remote(*found), list_remote_shards(folder))
        yield from filter(None, opened)
        return
    for name in list_names(folder):
        path = os.path.join(folder, name)
        if name.endswith((TEMPORARY_SUFFIX, DAMAGED_SUFFIX)):
            _remove_abandoned(path)
        if not name.endswith(SUFFIX):
            continue
        if shard := known.get(path) or _try_to_open(functools.partial(Shard, path, key), path):
            yield shard


_AnyShard = TypeVar("_AnyShard", Shard, RemoteShard)


def _try_to_open(open_shard: Callable[[], _AnyShard], path: str) -> _AnyShard | None:
    try:
        return open_shard()
    except FileNotFoundError:
        return None  # pruned meanwhile
    except BadShardError as error:
        _warn_of_bad_shard(path, error)
        return None


def _warn_of_bad_shard(path: str, error: BadShardError) -> None:
    logging.warning("%s: not a shard of this store (%s); its images are computed again.", path, error)


def _remove_abandoned(path: str) -> None:
    """Removes a temporary file or a damaged shard if it is old; another run may be writing a young file."""
    with contextlib.suppress(OSError):
        if is_abandoned(os.path.getmtime(path)):
            os.remove(path)


def list_keys(root: str) -> list[FeatureKey]:
    """Lists the feature keys of the stores below a folder, by folder name; skips folders that are no store."""
    keys = []
    for name in list_names(root):
        path = os.path.join(root, name, KEY_FILE)
        if not is_remote(root) and not os.path.isfile(path):  # opening a pipe would block
            continue
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            with gfile(root).GFile(path) as file:
                key = FeatureKey.from_json(file.read())
            if key.name == name:
                keys.append(key)
    return keys


def free_bytes(root: str) -> int:
    """Returns the free space for rows in bytes; for an object store, the free space for copies of its shards."""
    return shard_cache.free_bytes() if is_remote(root) else shutil.disk_usage(root).free


def remove(root: str, key: FeatureKey) -> None:
    """Removes the store of a feature key with all its rows."""
    folder = os.path.join(root, key.name)
    if is_remote(folder):
        with contextlib.suppress(FileNotFoundError):
            gfile(folder).rmtree(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
