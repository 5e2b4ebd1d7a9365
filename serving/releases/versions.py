"""The folder that a model server watches: `serving/<model>/<version>/`, the highest version is live.

A folder is a version by TensorFlow Serving's rule (`ParseVersionNumber` and `IndexChildrenByVersion` in
tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc): its name is an int64, see `parse_number`.

A version that was withdrawn lies beside the others as `withdrawn-<version>`. That is no number, so a model server
passes over it, and unloads it when it next looks into the folder.

A version comes, moves and goes by one rename. In a store such as gs:// there is none; see `remote_versions`. Whoever
changes something holds the lock of the folder (`folder_lock`); to look, nobody needs it.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator

from schema.errors import GraftError, UsageError
from schema.text import list_some
from serving.releases import remote_versions
from serving.releases.record import VersionRecord, read_record
from serving.storage import durable, folder_lock
from serving.storage.contents import digest_contents
from serving.storage.gfile import gfile, is_remote, load_tensorflow
from serving.storage.listing import list_names
from serving.storage.whole_files import is_abandoned

SAVED_MODEL = remote_versions.SAVED_MODEL
EXTRA = "assets.extra"  # TensorFlow Serving ignores what it does not know there
RECORD = os.path.join(EXTRA, VersionRecord.FILE)
NOT_LIVE = "none"
LARGEST = (1 << 63) - 1

# absl::SimpleAtoi, which TensorFlow Serving 2.21 calls; before (2.16) it took no "+". Leading zeros are fine.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,19})[ \t\n\v\f\r]*")
_DIGITS = re.compile(r"[0-9]+")
_STAGING, _REMOVED, WITHDRAWN = ".staging-", ".removed-", "withdrawn-"
_ALIVE = "alive"  # a file in a staging folder, which the process that pushes holds locked


@dataclasses.dataclass(frozen=True)
class Version:
    """A pushed version.

    Attributes:
        number: what the server calls it.
        path: its folder.
        record: what the Pusher wrote of it; `record.UNKNOWN` for a model that Graft did not push.
        problem: why the record cannot be read, in words; "" if it can, or there is none.
    """

    number: int
    path: str
    record: VersionRecord
    problem: str = ""

    @property
    def identity(self) -> str:
        """Version and content, for a number may be used again."""
        return f"{self.number}:{digest_model(self.path)}"


def find_versions(model_dir: str) -> list[Version]:
    """The complete versions in a model's folder, oldest first; none if there is no such folder."""
    return _find(model_dir, "")


def find_withdrawn(model_dir: str) -> list[Version]:
    """The versions that were withdrawn, oldest first; their numbers are those that they had."""
    return _find(model_dir, WITHDRAWN)


def parse_number(name: str) -> int | None:
    """Returns the number that a model server takes a folder's name for; None if it passes over the folder.

    >>> parse_number("0000000007"), parse_number("9223372036854775808"), parse_number("7.bak")
    (7, None, None)
    """
    found = _NUMBER.fullmatch(name)
    number = int("".join(found.groups())) if found else None
    return number if number is not None and -LARGEST - 1 <= number <= LARGEST else None


def index_by_number(names: Iterable[str]) -> dict[int, str]:
    """Returns the names that are versions, by number and in the order of the numbers.

    Of two names with one number, such as 007 and 7, a model server takes the last in the order of the names.
    """
    numbers = ((parse_number(name), name) for name in sorted(names))
    return dict(sorted({number: name for number, name in numbers if number is not None}.items()))


def list_shadowed(names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the names of versions that a model server ignores, each with the one that it takes for the number."""
    names = sorted(names)
    taken = index_by_number(names)
    numbers = ((name, parse_number(name)) for name in names)
    return [(name, taken[number]) for name, number in numbers if number is not None and taken[number] != name]


def describe_too_large(model_dir: str) -> str:
    """Names folders whose number no model server takes, in a sentence that begins with a space; "" if there are none.

    `date +%Y%m%d%H%M%S%6N` makes such a number.
    """
    names = [name for name in list_names(model_dir) if _DIGITS.fullmatch(name) and parse_number(name) is None]
    if not names:
        return ""
    return f" Passed over: {list_some(names)}. The number of a version is {LARGEST} at the most; rename the folder."


def list_numbers(model_dir: str) -> list[int]:
    """The numbers that are taken, complete version or not, in order."""
    return list(_index(model_dir, ""))


def find_live(model_dir: str) -> Version | None:
    """The version that a model server serves by default, or None."""
    versions = find_versions(model_dir)
    return versions[-1] if versions else None


def find_by_identity(model_dir: str, identity: str) -> Version | None:
    """The version that was live when a run began.

    Args:
        model_dir: the folder of a model.
        identity: as `Version.identity`; NOT_LIVE if none was; or "" for the one that is live now.
    Raises:
        GraftError: if it is gone.
    """
    if identity == NOT_LIVE:
        return None
    if not identity:
        return find_live(model_dir)
    for version in find_versions(model_dir):
        if identity.startswith(f"{version.number}:") and version.identity == identity:
            return version
    raise GraftError(f"{model_dir}: version {identity.split(':')[0]}, live when the run began, is gone. Run again.")


def find_comparable(model_dir: str, identity: str) -> Version | None:
    """As `find_by_identity`; where that version has been removed since, the one that is live now."""
    try:
        return find_by_identity(model_dir, identity)
    except GraftError:
        return find_live(model_dir)


def next_number(model_dir: str) -> int:
    """The number of a version that is to be live: the time in seconds, or more if that is taken.

    Raises:
        UsageError: if there is no such number.
    """
    number = max([int(time.time()), *(number + 1 for number in _list_taken(model_dir))])
    if number > LARGEST:
        raise UsageError(
            f"{model_dir}: no number is free above version {LARGEST}, the largest that a model server takes. "
            "Rename that folder to a smaller number. Nothing was changed."
        )
    return number


def free_number_below(model_dir: str, number: int) -> int | None:
    """The highest number below another that is not taken; None if there is none above 0."""
    taken = _list_taken(model_dir)
    return next((n for n in range(number - 1, 0, -1) if n not in taken), None)


@contextlib.contextmanager
def stage(model_dir: str) -> Iterator[str]:
    """Gives a path for a folder in which a version is put together; what is left of it in the end is removed.

    It lies in a folder whose name is no number, so that a model server passes over it. A file beside it is locked, so
    that no other push takes the folder for that of a killed process. Not to be called with the folder's lock held.

    Args:
        model_dir: the folder of the versions, made if need be. In a store, the path is one of this machine.
    """
    if is_remote(model_dir):
        with tempfile.TemporaryDirectory(prefix="graft-push-") as folder:
            yield os.path.join(folder, "model")
        return
    staging = os.path.join(model_dir, f"{_STAGING}{uuid.uuid4().hex}")
    with contextlib.ExitStack() as stack:
        with folder_lock.locked(model_dir):  # between the folder and its file, it would pass for an abandoned one
            stack.callback(shutil.rmtree, staging, ignore_errors=True)
            os.makedirs(staging)
            stack.enter_context(folder_lock.hold(os.path.join(staging, _ALIVE)))
        yield os.path.join(staging, "model")


def place(staging: str, target: str) -> None:
    """Makes what was put together a version.

    A model server sees it whole or not at all: it comes by one rename, or in a store with `saved_model.pb` last. It is
    on the disk before it has its name, so that a power cut cannot make a torn version.

    Args:
        staging: a path from `stage`.
        target: the folder of the version, which is not there yet.
    Raises:
        OSError: if it cannot be written, or something is there; then nothing of it is there.
    """
    if is_remote(target):
        remote_versions.put(staging, target)
    else:
        durable.sync_tree(staging)
        gfile(target).rename(staging, target)
        durable.sync_folder(os.path.dirname(target))


def finish_interrupted(model_dir: str) -> None:
    """Removes what is left of a push, a move or a removal whose process was killed; to be called with the lock held.

    What another living process stages stays.
    """
    if is_remote(model_dir):
        remote_versions.finish_interrupted(model_dir)
        return
    for name in list_names(model_dir):
        path = os.path.join(model_dir, name)
        if name.startswith(_REMOVED) or (name.startswith(_STAGING) and _is_abandoned(path)):
            _remove_tree(path)


def _is_abandoned(staging: str) -> bool:
    """Says whether the process that made a staging folder is gone."""
    held = folder_lock.is_held(os.path.join(staging, _ALIVE))
    if held is None:
        return is_abandoned(os.stat(staging).st_mtime)  # the file system has no locks
    return not held


def _remove_tree(path: str) -> None:
    """Removes a folder, which its own process may be removing just now."""
    while os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)


def withdraw(version: Version) -> Version:
    """Takes a version from the model servers."""
    return _move(version, f"{WITHDRAWN}{version.number}")


def renumber(version: Version, number: int) -> Version:
    """Gives a version, withdrawn or not, another number."""
    return dataclasses.replace(_move(version, str(number)), number=number)


def remove(model_dir: str, versions: Iterable[Version]) -> None:
    """Removes versions; a server never sees half of one."""
    finish_interrupted(model_dir)  # what is left of a removal would be in the way
    for version in versions:
        if is_remote(version.path):
            remote_versions.take_away(version.path)
        else:
            _move(version, f"{_REMOVED}{os.path.basename(version.path)}")
    finish_interrupted(model_dir)


def digest_model(path: str) -> str:
    """A digest of a SavedModel's graph and variables, hex sha256; of nothing else in the folder."""
    return _digest_files(path, [SAVED_MODEL, *_variable_files(path)])


def digest_variables(path: str) -> str:
    """A digest of a SavedModel's variables, hex sha256; two exports of one network differ in their graphs."""
    return _digest_files(path, _variable_files(path))


def _digest_files(path: str, parts: list[str]) -> str:
    return digest_contents(*(os.path.join(path, part) for part in parts))


def copy_tree(source: str, target: str) -> None:
    """Copies a folder with all that is in it."""
    tf_gfile = load_tensorflow().io.gfile  # either end may be in a store
    for parent, _, names in tf_gfile.walk(source):
        inside = parent.removeprefix(source).strip("/")
        folder = os.path.join(target, inside) if inside else target
        tf_gfile.makedirs(folder)
        for name in names:
            tf_gfile.copy(os.path.join(parent, name), os.path.join(folder, name))


def _variable_files(path: str) -> list[str]:
    names = gfile(path).listdir(os.path.join(path, "variables"))
    shards = sorted(name for name in names if name.startswith("variables.data-"))
    return [os.path.join("variables", name) for name in ("variables.index", *shards)]


def _find(model_dir: str, prefix: str) -> list[Version]:
    """The complete versions whose folders are named prefix and number, oldest first."""
    paths = ((n, os.path.join(model_dir, prefix + name)) for n, name in _index(model_dir, prefix).items())
    complete = [(n, p) for n, p in paths if gfile(p).exists(os.path.join(p, SAVED_MODEL))]
    return [Version(n, p, *read_record(os.path.join(p, RECORD))) for n, p in complete]


def _index(model_dir: str, prefix: str) -> dict[int, str]:
    """The names behind a prefix that are versions, by number."""
    return index_by_number(name[len(prefix) :] for name in list_names(model_dir) if name.startswith(prefix))


def _list_taken(model_dir: str) -> set[int]:
    """A withdrawn version keeps its number: a server that still has it loaded would not load another one instead."""
    return {*_index(model_dir, ""), *_index(model_dir, WITHDRAWN)}


def _move(version: Version, name: str) -> Version:
    path = os.path.join(os.path.dirname(version.path), name)
    if is_remote(path):
        remote_versions.put(version.path, path)
        remote_versions.take_away(version.path)
    else:
        gfile(path).rename(version.path, path)
        durable.sync_folder(os.path.dirname(path))
    return dataclasses.replace(version, path=path)
