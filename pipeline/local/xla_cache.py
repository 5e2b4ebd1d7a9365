"""Cache of what XLA has compiled for a card, in the workspace: a folder by TensorFlow, driver and compute capability.

TensorFlow reads and writes the files; an environment variable names the folder before TensorFlow is imported. It writes
a file in place, and a file that it cannot read fails the training. So the files that a run leaves are listed with their
digests, and the next run removes all others: what was cut off or damaged is compiled anew.
"""

import collections
import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Iterator

from serving.process import cards
from serving.storage.whole_files import name_temporary, write_whole

VARIABLE = "TF_XLA_FLAGS"
INDEX = "index.json"
_FOLDER = "--tf_xla_persistent_cache_directory"
_LEAST_FREE_BYTES = 4 * 10**9  # TensorFlow fails where it cannot write a file
_MOST_BYTES = 2 * 10**9  # of one folder; the oldest files go first
_TAKEN = " \t\n\"'\\"  # characters of a path that TensorFlow would take for its own when it splits the flags

_counts, _lock = collections.Counter[str](), threading.Lock()


def enable(parent: pathlib.Path) -> None:
    """Adds the folder of the cache to the user's TF_XLA_FLAGS, where there is a card.

    Call it before TensorFlow is imported. Without a card it does nothing, and starts no program. A folder that the user
    has named stays.

    Args:
        parent: folder with a folder for each TensorFlow, driver and capability.
    """
    flags = os.environ.get(VARIABLE, "")
    in_file = flags and not flags.lstrip().startswith("-")  # TensorFlow takes the name of a file, too
    if in_file or cards.hides_all() or _FOLDER in flags or not cards.has_device():
        return
    card = _ask_driver()
    folder = parent / f"tensorflow-{importlib.metadata.version('tensorflow')}-{card}"
    if not card or any(character in _TAKEN for character in str(folder.absolute())):
        return
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # code is loaded from it
        if shutil.disk_usage(folder).free >= _LEAST_FREE_BYTES:
            os.environ[VARIABLE] = add_flags(flags, str(folder.absolute()))


def add_flags(flags: str, folder: str) -> str:
    """Puts the flag of the cache before those of the user."""
    return f"{_FOLDER}={folder} {flags}".rstrip()


def _ask_driver() -> str:
    """Returns driver and compute capability of the first card, "driver-580.65-capability-9.0"; "" if unknown."""
    names = next(iter(cards.query("--query-gpu=driver_version,compute_cap")), [])
    if len(names) != 2 or not all(name.replace(".", "").isalnum() for name in names):
        return ""
    return f"driver-{names[0]}-capability-{names[1]}"


@contextlib.contextmanager
def keep_compiled(parent: pathlib.Path) -> Iterator[None]:
    """Removes damaged files before a run, and lists the whole ones after it; no other run may use the folder.

    Args:
        parent: as for `enable`; it may be missing.
    """
    folders = [path for path in parent.glob("*") if path.is_dir()]
    for folder in folders:
        remove_unlisted(folder)
    try:
        with _steady_names() if _FOLDER in os.environ.get(VARIABLE, "") else contextlib.nullcontext():
            yield
    finally:
        for folder in folders:
            with contextlib.suppress(OSError):
                write_index(folder)


def remove_unlisted(folder: pathlib.Path) -> None:
    """Removes each file that is not in the index of a folder, or has another digest than there."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        index = {}
    for path in _list_files(folder):
        with contextlib.suppress(OSError):
            if not isinstance(index, dict) or index.get(path.name) != _digest(path):
                path.unlink()


def write_index(folder: pathlib.Path) -> None:
    """Writes the digests of the files in a folder; removes the oldest files of more than 2 GB."""
    files = sorted(_list_files(folder), key=lambda path: path.stat().st_mtime, reverse=True)
    digests, size = {}, 0
    for path in files:
        size += path.stat().st_size
        if size > _MOST_BYTES:
            path.unlink()
        else:
            digests[path.name] = _digest(path)
    target = str(folder / INDEX)
    with write_whole(target, name_temporary(target)) as temporary:
        pathlib.Path(temporary).write_text(json.dumps(digests), encoding="utf-8")


def _list_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.iterdir() if path.name != INDEX and path.is_file()]


def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _name_function(function: str) -> str:
    """Returns a name that no other graph of this process has, and that the same graph has in the next process."""
    with _lock:
        _counts[function] += 1
        return f"__inference_{function}_graft_{_counts[function]}"


@contextlib.contextmanager
def _steady_names() -> Iterator[None]:
    """Names the graphs of functions by a count of their own.

    TensorFlow's names end with a number that each tensor of the process counts up, and the name is a part of the
    cache's key: a second run, which finds its images stored, would find nothing. TensorFlow has no setting for this.
    Where a later TensorFlow has another function for the names, they stay as they are.
    """
    from tensorflow.python.eager.polymorphic_function import concrete_function

    named = getattr(concrete_function, "_inference_name", None)
    if named is None:
        yield
        return
    concrete_function._inference_name = _name_function
    try:
        yield
    finally:
        concrete_function._inference_name = named
