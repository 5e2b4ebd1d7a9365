"""The embedding store: what the frozen base makes of each image, computed once and kept from run to run.

A folder per kind of row, and in it append-only shards. There is no index and no lock: who opens it reads the digests
of all shards, and a row that two runs have both written is there twice, and equal.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from components.shards import (
    DIGEST_BYTES,
    SUFFIX,
    TEMPORARY_SUFFIX,
    Append,
    BadShardError,
    Kind,
    Shard,
    to_bytes,
    write_shard,
)

KIND_FILE = "kind.json"
DAMAGED_SUFFIX = ".damaged"
_COPIED_ROWS = 32  # at once; of the trunk's, a row has 400 kB
_ABANDONED_SECONDS = 24 * 3600.0  # a shard is written in minutes


class EmbeddingStore:
    """Rows of one kind below a folder."""

    def __init__(self, root: str, kind: Kind):
        """Describes a store; nothing is made or read yet.

        Args:
            root: of the stores of all kinds.
            kind: of the rows.
        """
        self.kind = kind
        self.folder = os.path.join(root, kind.name)

    @contextlib.contextmanager
    def append(self) -> Iterator[Append]:
        """Adds rows, which others see when the context ends; see `shards.write_shard`."""
        os.makedirs(self.folder, exist_ok=True)
        self._write_kind()
        with write_shard(self.folder, self.kind) as append:
            yield append

    def open(self) -> "Rows":
        """What is there now; torn and foreign shards are passed over with a warning."""
        return Rows(self.kind, list(_open_shards(self.folder, self.kind)))

    def _write_kind(self) -> None:
        """For people, and for who lists the stores; whole or not at all."""
        path = os.path.join(self.folder, KIND_FILE)
        if os.path.exists(path):
            return
        temporary = f"{path}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(self.kind.to_json())
        os.replace(temporary, path)

    def prune(self, live: Sequence[bytes]) -> int:
        """Drops rows, those too that another run has just added and that are not among the live ones.

        Args:
            live: digests of the images whose rows stay.
        Returns:
            How many rows are gone.
        """
        live_digests = np.array(live, f"S{DIGEST_BYTES}")
        dropped = 0
        for shard in _open_shards(self.folder, self.kind):
            keep = np.flatnonzero(np.isin(shard.digests, live_digests))
            if len(keep) == len(shard.digests):
                continue
            copied = 0
            with self.append() as append:
                for chunk in np.split(keep, range(_COPIED_ROWS, len(keep), _COPIED_ROWS)):
                    rows, intact = shard.read(chunk, check=True)
                    if intact.any():
                        append([to_bytes(shard.digests[i]) for i in chunk[intact]], rows[intact])
                    copied += int(intact.sum())
            with contextlib.suppress(FileNotFoundError):  # pruned by another process as well
                os.remove(shard.path)
            dropped += len(shard.digests) - copied
        return dropped


class Rows:
    """The rows of a store as it was when it was opened."""

    def __init__(self, kind: Kind, shards: list[Shard]):
        """Sorts the digests of all shards; 50 bytes of memory a row."""
        self.kind = kind
        self._shards = shards
        self._set_aside: np.ndarray = np.zeros(len(shards), bool)
        digests = [shard.digests for shard in shards] or [np.zeros(0, f"S{DIGEST_BYTES}")]
        all_digests = np.concatenate(digests)
        order = np.argsort(all_digests, kind="stable")
        self._digests = all_digests[order]
        self._shard = np.repeat(np.arange(len(digests), dtype=np.int32), [len(d) for d in digests])[order]
        self._row = np.concatenate([np.arange(len(d), dtype=np.int32) for d in digests])[order]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._digests)

    def find(self, digests: Sequence[bytes]) -> np.ndarray:
        """Looks images up.

        Args:
            digests: sha256 of their bytes.
        Returns:
            int64 [num_images]: a position for `read`, or -1.
        """
        wanted = np.array(digests, f"S{DIGEST_BYTES}")
        if not len(self):
            return np.full(len(wanted), -1)
        positions = np.minimum(np.searchsorted(self._digests, wanted), len(self) - 1)
        found = (self._digests[positions] == wanted) & ~self._set_aside[self._shard[positions]]
        return np.where(found, positions, -1)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Reads rows.

        Args:
            positions: int64 [num_rows], from `find`; none is -1.
        Returns:
            [num_rows, *shape], of the kind's type.
        Raises:
            IndexError: if a position is -1.
        """
        if (positions < 0).any():
            raise IndexError("expected positions of rows that are there, got -1")
        rows = np.empty([len(positions), *self.kind.shape], self.kind.numpy_dtype)
        for shard, chosen in self._by_shard(positions):
            rows[chosen], _ = self._shards[shard].read(self._row[positions[chosen]])
        return rows

    def check(self, positions: np.ndarray) -> np.ndarray:
        """Compares rows with their checksums, which costs reading them.

        A shard with a damaged row is set aside, and from then on `find` finds none of its rows.

        Args:
            positions: int64 [num_rows], from `find`; -1 fails.
        Returns:
            bool [num_rows]: whether a row is what was written, and can be read by whoever opens the store next.
        """
        for shard, chosen in self._by_shard(positions):
            for part in np.split(chosen, range(_COPIED_ROWS, len(chosen), _COPIED_ROWS)):
                if not self._is_intact(shard, self._row[positions[part]]):
                    self._set_shard_aside(shard)
                    break
        return (positions >= 0) & ~self._set_aside[self._shard[positions]] if len(self) else positions >= 0

    def _by_shard(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Shard by shard, in which places of `positions` its rows are."""
        present = np.flatnonzero(positions >= 0)
        shards = self._shard[positions[present]]
        for shard in np.unique(shards):
            yield int(shard), present[shards == shard]

    def _is_intact(self, shard: int, rows: np.ndarray) -> bool:
        try:
            return bool(self._shards[shard].read(rows, check=True)[1].all())
        except FileNotFoundError:  # pruned, or set aside by another process
            return False

    def _set_shard_aside(self, shard: int) -> None:
        path = self._shards[shard].path
        logging.warning("%s: damaged; set aside, and its images are computed again.", path)
        self._set_aside[shard] = True
        with contextlib.suppress(OSError):
            os.rename(path, path + DAMAGED_SUFFIX)
            os.utime(path + DAMAGED_SUFFIX)  # kept for a day, should someone want to look


def _open_shards(folder: str, kind: Kind) -> Iterator[Shard]:
    if not os.path.isdir(folder):
        return
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith((TEMPORARY_SUFFIX, DAMAGED_SUFFIX)):
            _remove_abandoned(path)
        if name.endswith(SUFFIX):
            try:
                yield Shard(path, kind)
            except FileNotFoundError:
                continue  # pruned meanwhile
            except BadShardError as error:
                logging.warning("%s: not a shard of this store (%s); its images are computed again.", path, error)


def _remove_abandoned(path: str) -> None:
    """Removes what a killed run left, and what was damaged; not what another run writes right now."""
    with contextlib.suppress(OSError):
        if time.time() - os.path.getmtime(path) > _ABANDONED_SECONDS:
            os.remove(path)


def list_kinds(root: str) -> list[Kind]:
    """The kinds of rows below a folder, by the names of their folders; what is no store is passed over."""
    kinds = []
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            with open(os.path.join(root, name, KIND_FILE), encoding="utf-8") as file:
                kind = Kind.from_json(file.read())
            if kind.name == name:
                kinds.append(kind)
    return kinds


def measure(folder: str) -> int:
    """The bytes on disk of a store, or of all below a root."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.path.getsize(os.path.join(parent, name))
    return total


def remove(root: str, kind: Kind) -> None:
    """Removes all rows of a kind."""
    shutil.rmtree(os.path.join(root, kind.name), ignore_errors=True)
