"""Versions in a store such as gs://, where a folder is many objects and no rename moves them at once.

TensorFlow renames such a folder object by object, in the order of their names, so a model server may see half a model.
Here `saved_model.pb`, without which no server loads a version, is put there last and removed first.

A note beside the versions says what is being done with one, so that whoever comes next can finish what was interrupted.
Its name is no number: a model server passes over it.
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

SAVED_MODEL = "saved_model.pb"

_PLACING, _REMOVING = ".placing-", ".removing-"

# A path inside a version to size in bytes and hex sha256.
Digests = dict[str, tuple[int, str]]


def put(source: str, target: str) -> None:
    """Copies a version into a store, and reads back what it has written.

    Does nothing if the same files are there already: what was interrupted may be done again.

    Args:
        source: the folder of a SavedModel, of this machine or of a store.
        target: the folder of a version, in a store.
    Raises:
        FileExistsError: if something else is there.
        OSError: if it cannot be read or written, or is not there as it was written; then nothing of it is.
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
    """Nobody keeps two pushes apart in a store, and one takes the other for what was left of a killed process."""
    prefix = join(target, "")
    if {path.removeprefix(prefix) for path in list_files(target)} != expected:
        raise OSError(errno.EIO, "somebody else has changed it meanwhile; push again when no other run does", target)


def take_away(path: str) -> None:
    """Removes a version from a store.

    Raises:
        OSError: if it cannot be removed.
    """
    folder, name = os.path.split(path)
    note = _write_note(folder, _REMOVING + name, "")
    _remove(path)
    gfile(note).remove(note)


def finish_interrupted(folder: str) -> None:
    """Removes versions that were half placed or half removed when somebody was killed.

    Args:
        folder: of a model's versions, in a store.
    Raises:
        OSError: if something cannot be read or removed.
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
    """Size and sha256 of every file below a folder, of this machine or of a store."""
    prefix = join(folder, "")
    return {path.removeprefix(prefix): _digest(path) for path in list_files(folder)}


def _write_note(folder: str, name: str, text: str) -> str:
    """Of what begins now; whoever ends it removes the note. Returns its path."""
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
        raise OSError(errno.EIO, "what was read back is not what was written", target)


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
