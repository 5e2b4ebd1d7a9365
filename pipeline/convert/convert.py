"""Copies a folder of images, and converts the formats that Graft does not read to JPEG.

Reads the first bytes of each file, chooses the names, then copies or converts. A written file gets the modification
time of its source. By that time a repeated command recognizes the files that it has written.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from components.example_gen.layout import list_images
from components.example_gen.user_paths import list_files
from components.images.formats import UNFINISHED, name_format
from pipeline.convert.limits import ConversionError
from pipeline.convert.names import choose_targets
from pipeline.convert.pillow import can_convert, check_and_orient, convert, set_up_pillow
from pipeline.convert.summary import Outcome, Summary, show_progress
from schema.errors import DataError, GraftError, UsageError
from schema.text import printable
from serving.process.cores import count_cores
from serving.storage.gfile import is_remote
from serving.storage.regular import open_regular
from serving.storage.whole_files import write_whole

_HEADER = 64  # bytes
_LARGEST_PIXEL = 8  # bytes: red, green, blue and alpha of 16 bits
_BMP_BITS = (8, 24, 32)  # bits per pixel that TensorFlow reads


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class _Source:
    """A file to copy or to convert.

    Attributes:
        path: relative to the folder of images, with "/".
        kind: format, such as "HEIC".
        readable: whether Graft reads this format.
        problem: reason why the file can be neither copied nor converted, or "".
    """

    path: str
    kind: str = ""
    readable: bool = False
    problem: str = ""


def convert_folder(data: str, out: str, max_megapixels: float, follow_links: bool = False) -> Summary:
    """Writes a folder that a run can read, with the same class folders and names.

    Keeps one file and its decoded image in memory for each core.

    Args:
        data: folder of images.
        out: folder to write, new or existing; its files are never overwritten.
        max_megapixels: upper bound on the size of an image, in millions of pixels.
        follow_links: whether links may lead out of `data`.
    Returns:
        The outcome of each file.
    Raises:
        DataError: if `data` is missing, is a file, holds no file or cannot be listed.
        UsageError: if one folder is inside the other, or not on this machine.
        GraftError: if `out` cannot be written, or another process writes there.
    """
    _check_folders(data, out)
    paths, ignored = list_files(data, follow_links)
    if not paths:
        raise DataError(f"{printable(data)}: no file in this folder. Name a folder with images.")
    _refuse_links(paths, out)
    with _lock(out), set_up_pillow(max_megapixels):
        earlier, _ = list_files(out)
        prefix = len(os.path.join(data, ""))
        inspect = functools.partial(_inspect, data, max_megapixels)
        sources = _map(inspect, [path[prefix:] for path in paths], lambda: None)
        good = {source.path: source.kind if source.readable else "" for source in sources if not source.problem}
        targets = {path: os.path.join(out, target) for path, target in choose_targets(good).items()}

        def write(source: _Source) -> Outcome:
            return _write_source(source, data, targets.get(source.path, ""), max_megapixels)

        with show_progress(len(paths)) as advance:
            outcomes = _map(write, sources, advance)
    others = len(set(earlier) - set(targets.values()))  # a run would read these files, too
    return Summary(out, tuple(outcomes), ignored, others, _has_classes(out))


def _has_classes(out: str) -> bool:
    """Tells whether a run finds two classes or more in a folder."""
    try:
        return len(list_images(out).labels) > 1
    except DataError:
        return False


def _check_folders(data: str, out: str) -> None:
    for folder in (data, out):
        if is_remote(folder):
            raise UsageError(f"{folder}: expected a folder of this machine. Copy the images here first.")
    shown, shown_out = printable(data), printable(out)
    if os.path.isfile(data):
        raise DataError(f"{shown}: expected a folder with images, and this is a file. Name the folder that it is in.")
    if not os.path.isdir(data):
        raise DataError(f"{shown}: no such folder. Name a folder with images.")
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"{shown_out}: expected a folder, or a new name, and this is a file. Name another folder.")
    here, there = (os.path.join(os.path.realpath(folder), "") for folder in (data, out))
    if here.startswith(there) or there.startswith(here):
        raise UsageError(
            f"{shown_out}: expected a folder beside {shown}, and one of them is inside the other. "
            "Name another folder to write."
        )


def _refuse_links(paths: Iterable[str], out: str) -> None:
    """Refuses a folder of images with a link into `out`: each call would convert the files of the last one."""
    there = os.path.join(os.path.realpath(out), "")
    for folder in sorted({os.path.dirname(path) for path in paths}):
        if os.path.join(os.path.realpath(folder), "").startswith(there):
            raise UsageError(f"{printable(folder)}: leads into the folder to write. Name another one.")


@contextlib.contextmanager
def _lock(out: str) -> Iterator[None]:
    """Makes the folder if it is missing, and locks it for this process."""
    try:
        os.makedirs(out, exist_ok=True)
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _explain(error, out) from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GraftError(f"{printable(out)}: another ./graft convert writes here. Wait for its end.") from None
        except OSError:  # NFS locks only files open for writing, and no folders
            pass
        yield
    finally:
        os.close(folder)


def _map(function: Callable[[_Item], _Result], items: Iterable[_Item], advance: Callable[[], object]) -> list[_Result]:
    """Calls a function with each item on all cores, and returns the results in order.

    After an error or Ctrl-C it starts no further item.
    """
    threads = ThreadPoolExecutor(count_cores())
    results = []
    try:
        for result in threads.map(function, items):
            results.append(result)
            advance()
    finally:
        threads.shutdown(cancel_futures=True)
    return results


def _inspect(data: str, max_megapixels: float, path: str) -> _Source:
    """Reads the first bytes of a file, and decides whether to copy, to convert or to leave it out."""
    if path.lower().endswith(UNFINISHED):
        return _Source(path, problem="unfinished download; bring the whole file, or remove it")
    try:
        header, size = _read_header(os.path.join(data, path))
    except OSError as error:
        return _Source(path, problem=f"cannot be read: {error.strerror}")
    kind = name_format(header)
    if not header:
        problem = "empty file"
    elif not can_convert(kind):
        problem = kind if kind.endswith("not an image") else f"{kind} cannot be converted"
    elif size > max_megapixels * 1e6 * _LARGEST_PIXEL + (1 << 20):
        problem = f"{size / 1e6:.0f} MB are more than {max_megapixels:g} megapixels take (--max-megapixels)"
    else:
        return _Source(path, kind, _is_readable(kind, header, size))
    return _Source(path, kind, problem=problem)


def _read_header(path: str) -> tuple[bytes, int]:
    """Returns the first bytes of a file, and the size of the file in bytes."""
    with open_regular(path) as file:
        return file.read(_HEADER), os.fstat(file.fileno()).st_size


def _is_readable(kind: str, header: bytes, size: int) -> bool:
    """Tells whether Graft reads a file: any JPEG, PNG or GIF; a BMP without compression and without extra bytes."""
    if kind != "BMP":
        return kind in ("JPEG", "PNG", "GIF")
    start, width, height = (int.from_bytes(header[at : at + 4], "little", signed=True) for at in (10, 18, 22))
    bits, compression = int.from_bytes(header[28:30], "little"), header[30:34]
    row = (bits * width + 31) // 32 * 4
    return bits in _BMP_BITS and not any(compression) and size == start + row * abs(height)


def _write_source(source: _Source, data: str, target: str, max_megapixels: float) -> Outcome:
    """Copies or converts one file, unless an earlier call has done so.

    Raises:
        GraftError: if the target cannot be written.
    """
    if source.problem:
        return Outcome(source.path, source.kind, problem=source.problem)
    try:
        with open_regular(os.path.join(data, source.path)) as file:
            modified = os.fstat(file.fileno()).st_mtime_ns
            if _is_there(target, modified):
                return Outcome(source.path, source.kind, "already there")
            encoded = file.read()
        if source.readable:
            content, frames = check_and_orient(encoded, max_megapixels), 1
            action = "copied" if content is encoded else "turned"
        else:
            content, frames = convert(encoded, max_megapixels)
            action = "converted"
    except OSError as error:
        return Outcome(source.path, source.kind, problem=f"cannot be read: {error.strerror}")
    except ConversionError as error:
        return Outcome(source.path, source.kind, problem=str(error))
    _write(target, content, modified)
    return Outcome(source.path, source.kind, action, frames)


def _is_there(target: str, modified: int) -> bool:
    """Tells by the modification time, in nanoseconds, whether a target was written from its source.

    Raises:
        ConversionError: if the target is another file, or comes from an older source: it is never overwritten.
    """
    try:
        there = os.lstat(target)
    except FileNotFoundError:
        return False
    # FAT rounds to 2 seconds, exFAT to a hundredth of a second.
    rounded = there.st_mtime_ns % 10_000_000 == 0 and abs(there.st_mtime_ns - modified) < 2_000_000_000
    if stat.S_ISREG(there.st_mode) and (there.st_mtime_ns == modified or rounded):
        return True
    raise ConversionError(
        f"{target} is there already, from another file or an older state; remove it to convert this one"
    )


def _write(target: str, content: bytes, modified: int) -> None:
    """Writes a file whole or not at all, with the modification time of its source."""
    folder, name = os.path.split(target)
    # Short, because a name has at most 255 bytes; hidden, because a run ignores hidden files.
    temporary = f".graft-{hashlib.sha256(name.encode()).hexdigest()[:16]}.part"
    try:
        os.makedirs(folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, temporary))  # of a process that was killed
        with write_whole(target, temporary, modified=modified) as path, open(path, "xb") as file:
            file.write(content)
    except OSError as error:
        raise _explain(error, target) from error


def _explain(error: OSError, path: str) -> GraftError:
    return GraftError(
        f"{printable(path)}: cannot be written: {error.strerror}. Make room or make the folder writable, and run "
        "the same command again: finished files are kept. Or name another folder."
    )
