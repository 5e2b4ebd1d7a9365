"""Versions of a model in the folder that a model server watches: `serving/<model>/<version>/`; the highest is live.

A folder is a version if its name is an int64, see `parse_number`. The rule is TensorFlow Serving's
(`ParseVersionNumber` and `IndexChildrenByVersion` in
tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc).

A withdrawn version has a folder named `withdrawn-<version>`. The name is no number, so a model server unloads the
version when it next lists the folder.

One rename places, moves or removes a version. A store such as gs:// has no rename; see `remote_versions`. Each change
holds the lock of the folder (`folder_lock`); reading needs no lock.
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
from serving.storage.saved_model import EXTRA_ASSETS, SAVED_MODEL
from serving.storage.whole_files import is_abandoned

RECORD = os.path.join(EXTRA_ASSETS, VersionRecord.FILE)
CARD = os.path.join(EXTRA_ASSETS, "model_card.md")
NOT_LIVE = "none"
LARGEST = (1 << 63) - 1

# Number by absl::SimpleAtoi, which TensorFlow Serving 2.21 calls; 2.16 accepts no "+". Leading zeros are allowed.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,19})[ \t\n\v\f\r]*")
_DIGITS = re.compile(r"[0-9]+")
_STAGING, _REMOVED, WITHDRAWN = ".staging-", ".removed-", "withdrawn-"
_ALIVE = "alive"  # file in a staging folder, locked by the process that pushes


@dataclasses.dataclass(frozen=True)
class Version:
    """Pushed version of a model.

    Attributes:
        number: version number.
        path: folder of the version.
        record: record that the Pusher wrote; `record.UNKNOWN` for a model that Graft did not push.
        problem: reason why the record cannot be read; "" if it can be read or is missing.
    """

    number: int
    path: str
    record: VersionRecord
    problem: str = ""

    @property
    def identity(self) -> str:
        """Number and digest of the model, as "NUMBER:DIGEST"; a number alone may be used again."""
        return f"{self.number}:{digest_model(self.path)}"


def find_versions(model_dir: str) -> list[Version]:
    """Returns the complete versions in a model's folder, oldest first; none if the folder is missing."""
    return _find(model_dir, "")


def find_withdrawn(model_dir: str) -> list[Version]:
    """Returns the withdrawn versions with their former numbers, oldest first."""
    return _find(model_dir, WITHDRAWN)


def parse_number(name: str) -> int | None:
    """Returns the version number that a model server reads from a folder's name; None if the folder is ignored.

    >>> parse_number("0000000007"), parse_number("9223372036854775808"), parse_number("7.bak")
    (7, None, None)
    """
    found = _NUMBER.fullmatch(name)
    number = int("".join(found.groups())) if found else None
    return number if number is not None and -LARGEST - 1 <= number <= LARGEST else None


def index_by_number(names: Iterable[str]) -> dict[int, str]:
    """Returns the names of versions by number, in the order of the numbers.

    If two names have one number, such as 007 and 7, a model server takes the last in the order of the names.
    """
    numbers = ((parse_number(name), name) for name in sorted(names))
    return dict(sorted({number: name for number, name in numbers if number is not None}.items()))


def list_shadowed(names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns pairs of names with one number: the name that a model server ignores, and the name that it takes."""
    names = sorted(names)
    taken = index_by_number(names)
    numbers = ((name, parse_number(name)) for name in names)
    return [(name, taken[number]) for name, number in numbers if number is not None and taken[number] != name]


def describe_too_large(model_dir: str) -> str:
    """Returns a sentence about folders whose number is too large for a model server; "" if there is no such folder.

    The sentence begins with a space. `date +%Y%m%d%H%M%S%6N` makes such a number.
    """
    names = [name for name in list_names(model_dir) if _DIGITS.fullmatch(name) and parse_number(name) is None]
    if not names:
        return ""
    return f" Passed over: {list_some(names)}. The number of a version is {LARGEST} at the most; rename the folder."


def make_empty_error(workspace: str, reason: str = "") -> UsageError:
    """Returns the error for a workspace without a pushed version.

    Args:
        workspace: folder of the workspace.
        reason: sentence that says why there is none, after a space; or "".
    """
    serving = os.path.join(workspace, "serving")
    too_large = "".join(describe_too_large(os.path.join(serving, name)) for name in list_names(serving))
    return UsageError(
        f"{workspace}: no pushed model here. Train one with: ./graft run photos/, or name a workspace with --out."
        f"{too_large}{reason}"
    )


def find_live(model_dir: str) -> Version | None:
    """Returns the version that a model server serves by default; None without versions."""
    versions = find_versions(model_dir)
    return versions[-1] if versions else None


def find_by_identity(model_dir: str, identity: str) -> Version | None:
    """Returns the version that was live when a run began.

    Args:
        model_dir: folder of a model.
        identity: `Version.identity` of that version; NOT_LIVE for none; "" for the version that is live now.
    Raises:
        GraftError: if that version is gone.
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
    """Returns the version of `find_by_identity`, or the live version if that one has been removed."""
    try:
        return find_by_identity(model_dir, identity)
    except GraftError:
        return find_live(model_dir)


def next_number(model_dir: str) -> int:
    """Returns the number for a new live version: the time in seconds, or one more than the highest number in use.

    Raises:
        UsageError: if that number is too large for a model server.
    """
    number = max([int(time.time()), *(number + 1 for number in _list_taken(model_dir))])
    if number > LARGEST:
        raise UsageError(
            f"{model_dir}: no number is free above version {LARGEST}, the largest that a model server takes. "
            "Rename that folder to a smaller number. Nothing was changed."
        )
    return number


def free_number_below(model_dir: str, number: int) -> int | None:
    """Returns the highest free number below `number`; None if no number from 1 on is free."""
    taken = _list_taken(model_dir)
    return next((n for n in range(number - 1, 0, -1) if n not in taken), None)


@contextlib.contextmanager
def stage(model_dir: str) -> Iterator[str]:
    """Yields a path for the folder of a new version, and removes leftovers when the context ends.

    The path is inside a staging folder whose name is no number, so that a model server ignores it. A locked file in the
    staging folder tells other pushes that its process is alive. The caller must not hold the lock of the folder.

    Args:
        model_dir: folder of the versions, made if missing. For a store, the path is on this machine.
    """
    if is_remote(model_dir):
        with tempfile.TemporaryDirectory(prefix="graft-push-") as folder:
            yield os.path.join(folder, "model")
        return
    staging = os.path.join(model_dir, f"{_STAGING}{uuid.uuid4().hex}")
    with contextlib.ExitStack() as stack:
        with folder_lock.locked(
            model_dir
        ):  # without the lock, a staging folder would look abandoned until its file is locked
            stack.callback(shutil.rmtree, staging, ignore_errors=True)
            os.makedirs(staging)
            stack.enter_context(folder_lock.hold(os.path.join(staging, _ALIVE)))
        yield os.path.join(staging, "model")


def place(staging: str, target: str) -> None:
    """Moves a staged version to its final path.

    A model server sees the whole version or nothing: one rename places the version, and in a store `saved_model.pb` is
    written last. All files are synced to the disk before the rename, so that a power cut cannot damage the version.

    Args:
        staging: path from `stage`.
        target: folder of the version, which must not exist.
    Raises:
        OSError: if a file cannot be written, or the target exists; then the version is not placed.
    """
    if is_remote(target):
        remote_versions.put(staging, target)
    else:
        durable.sync_tree(staging)
        gfile(target).rename(staging, target)
        durable.sync_folder(os.path.dirname(target))


def finish_interrupted(model_dir: str) -> None:
    """Removes leftovers of killed pushes, moves and removals; the caller holds the lock of the folder.

    Staging folders of living processes stay.
    """
    if is_remote(model_dir):
        remote_versions.finish_interrupted(model_dir)
        return
    for name in list_names(model_dir):
        path = os.path.join(model_dir, name)
        if name.startswith(_REMOVED) or (name.startswith(_STAGING) and _is_abandoned(path)):
            _remove_tree(path)


def _is_abandoned(staging: str) -> bool:
    """Tells whether the process that made a staging folder has ended."""
    held = folder_lock.is_held(os.path.join(staging, _ALIVE))
    if held is None:
        return is_abandoned(os.stat(staging).st_mtime)  # the file system has no locks
    return not held


def _remove_tree(path: str) -> None:
    """Removes a folder that another process may be removing at the same time."""
    while os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)


def withdraw(version: Version) -> Version:
    """Hides a version from the model servers by a rename."""
    return _move(version, f"{WITHDRAWN}{version.number}")


def renumber(version: Version, number: int) -> Version:
    """Gives a numbered or withdrawn version another number."""
    return dataclasses.replace(_move(version, str(number)), number=number)


def remove(model_dir: str, versions: Iterable[Version]) -> None:
    """Removes versions; a model server never sees part of one."""
    finish_interrupted(model_dir)  # leftovers of a former removal would block the rename
    for version in versions:
        if is_remote(version.path):
            remote_versions.take_away(version.path)
        else:
            _move(version, f"{_REMOVED}{os.path.basename(version.path)}")
    finish_interrupted(model_dir)


def digest_model(path: str) -> str:
    """Returns the hex sha256 of a SavedModel's graph and variables, without the other files."""
    return _digest_files(path, [SAVED_MODEL, *_variable_files(path)])


def digest_variables(path: str) -> str:
    """Returns the hex sha256 of a SavedModel's variables; two exports of one network differ in their graphs."""
    return _digest_files(path, _variable_files(path))


def _digest_files(path: str, parts: list[str]) -> str:
    return digest_contents(*(os.path.join(path, part) for part in parts))


def copy_tree(source: str, target: str) -> None:
    """Copies a folder with its content, on this machine or in a store."""
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
    """Returns the complete versions whose folder names are prefix and number, oldest first."""
    paths = ((n, os.path.join(model_dir, prefix + name)) for n, name in _index(model_dir, prefix).items())
    complete = [(n, p) for n, p in paths if gfile(p).exists(os.path.join(p, SAVED_MODEL))]
    return [Version(n, p, *read_record(os.path.join(p, RECORD))) for n, p in complete]


def _index(model_dir: str, prefix: str) -> dict[int, str]:
    """Returns the names of versions behind a prefix, by number."""
    return index_by_number(name[len(prefix) :] for name in list_names(model_dir) if name.startswith(prefix))


def _list_taken(model_dir: str) -> set[int]:
    """Returns the numbers of all versions.

    A withdrawn version keeps its number: a server that still has it loaded would load no other version of that number.
    """
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
