"""Placement and removal of versions in a store such as gs://, which has no atomic rename of a folder.

TensorFlow renames such a folder object by object, in the order of their names, so a model server may see half a model.
This module writes `saved_model.pb` last and removes it first: without that file, no server loads a version.

A note beside the versions names the operation in progress, so that the next change can finish an interrupted one. The
name of a note is no number, so a model server ignores the note.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Set

from serving.storage.contents import read_chunks
from serving.storage.gfile import gfile, join
from serving.storage.listing import list_files, list_names
from serving.storage.saved_model import SAVED_MODEL

_PLACING, _REMOVING = ".placing-", ".removing-"

# Size in bytes and hex sha256 by path inside a version.
Digests = dict[str, tuple[int, str]]


def put(source: str, target: str) -> None:
    """Copies a version into a store, and reads the copy back to compare digests.

    Does nothing if the target has the same files already, so that an interrupted call can be repeated.

    Args:
        source: folder of a SavedModel, on this machine or in a store.
        target: folder of the version, in a store.
    Raises:
        FileExistsError: if the target has other files.
        OSError: if a file cannot be read or written, or differs from its source; then the target is removed.
    """
    expected = digest_files(source)
    if SAVED_MODEL not in expected:
        raise FileNotFoundError(errno.ENOENT, "no SavedModel", join(source, SAVED_MODEL))
    folder, name = os.path.split(target)
    if name in list_names(folder):
        if digest_files(target) != expected:
            raise FileExistsError(errno.EEXIST, "something is there already", target)
        return
    note = _write_note(folder, _PLACING + name, json.dumps(expected))
    try:
        for path in sorted(expected, key=lambda path: (path == SAVED_MODEL, path)):
            if path == SAVED_MODEL:
                _check_whole(target, expected.keys() - {SAVED_MODEL})
            _copy(join(source, path), join(target, path), expected[path])
        _check_whole(target, expected.keys())
    except BaseException:
        _remove(target)
        gfile(note).remove(note)
        raise
    gfile(note).remove(note)


def _check_whole(target: str, expected: Set[str]) -> None:
    """Checks that a version has exactly the expected files.

    A store has no lock, so another push may have removed files of this one as leftovers of a killed process.

    Raises:
        OSError: if the files differ.
    """
    prefix = join(target, "")
    if {path.removeprefix(prefix) for path in list_files(target)} != expected:
        raise OSError(
            errno.EIO, "another push has changed it meanwhile; push again when no other run is pushing", target
        )


def take_away(path: str) -> None:
    """Removes a version from a store.

    Raises:
        OSError: if the version cannot be removed.
    """
    folder, name = os.path.split(path)
    note = _write_note(folder, _REMOVING + name, "")
    _remove(path)
    gfile(note).remove(note)


def finish_interrupted(folder: str) -> None:
    """Removes versions that a killed process has half placed or half removed.

    Args:
        folder: folder of a model's versions, in a store.
    Raises:
        OSError: if a file cannot be read or removed.
    """
    for note in list_names(folder):
        if note.startswith(_PLACING):
            target = join(folder, note.removeprefix(_PLACING))
            if digest_files(target) != _read_note(join(folder, note)):
                _remove(target)
        elif note.startswith(_REMOVING):
            _remove(join(folder, note.removeprefix(_REMOVING)))
        else:
            continue
        gfile(folder).remove(join(folder, note))


def digest_files(folder: str) -> Digests:
    """Returns size and hex sha256 of each file below a folder, on this machine or in a store."""
    prefix = join(folder, "")
    return {path.removeprefix(prefix): _digest(path) for path in list_files(folder)}


def _write_note(folder: str, name: str, text: str) -> str:
    """Writes a note about an operation that begins, and returns its path; the end of the operation removes the note."""
    note = join(folder, name)
    gfile(folder).makedirs(folder)
    if gfile(note).exists(note):
        gfile(note).remove(note)  # ram:// would append to it
    with gfile(note).GFile(note, "w") as file:
        file.write(text)
    return note


def _read_note(path: str) -> Digests:
    with gfile(path).GFile(path) as file:
        return {name: (size, digest) for name, (size, digest) in json.loads(file.read()).items()}


def _copy(source: str, target: str, expected: tuple[int, str]) -> None:
    gfile(target).makedirs(os.path.dirname(target))
    gfile(target).copy(source, target)
    if _digest(target) != expected:
        raise OSError(errno.EIO, "the copy in the store differs from its source", target)


def _remove(path: str) -> None:
    for remove, what in ((gfile(path).remove, join(path, SAVED_MODEL)), (gfile(path).rmtree, path)):
        with contextlib.suppress(FileNotFoundError):
            remove(what)


def _digest(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in read_chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()
