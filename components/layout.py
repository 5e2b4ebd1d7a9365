"""Reads a folder of labelled images as a list of files, without opening one.

Three layouts, told apart by the names of the top folders:

    DATA/<class>/**                              class folders
    DATA/<date>/<class>/**                       spans: a date is 2026-11-23
    DATA/{train,val|valid|validation,test}/<class>/**  split already

Links are followed. Hidden and side files and folders are passed over, and counted. The folder may be in a store, such
as gs://bucket/photos.
"""

import dataclasses
import datetime
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from components.folder_hints import suggest_above, suggest_near
from components.ignored import EMPTY_FOLDER, LOOP, OUTSIDE_WINDOW, Ignored
from schema.errors import DataError, UsageError
from schema.features import TRAIN, VAL
from schema.text import printable
from serving.gfile import gfile, is_remote, join, list_remote

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ALMOST_DATE = re.compile(r"(19|20)\d{2}[-_.]?[01]\d[-_.]?[0-3]\d")
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A file that claims to be an image.

    Attributes:
        path: relative to the data folder, with "/"; as on disk.
        label: the class: the name of the class folder in Unicode's form NFC. macOS writes NFD, and the same
            class from two machines is one.
        span: the date folder, or "".
        split: the split folder (train, val or test), or "".
        size: in bytes.
        modified: modification time in nanoseconds since the epoch, as exactly as the file system has it.
    """

    path: str
    label: str
    span: str
    split: str
    size: int
    modified: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of one window, in the order of their paths.

    Attributes:
        files: what was found.
        window_end: the last day of the window, or "" without date folders.
        split_folders: the splits that came ready-made; empty if none.
        ignored: files and folders that were passed over, by kind and name; see `ignored`.
    """

    files: tuple[ImageFile, ...]
    window_end: str = ""
    split_folders: tuple[str, ...] = ()
    ignored: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class folders that hold a file, sorted."""
        return tuple(sorted({f.label for f in self.files}))

    @property
    def fingerprint(self) -> str:
        """Changes whenever a file is added, removed, renamed or written: path, size and time of each."""
        digest = hashlib.sha256()
        for f in self.files:
            digest.update(f"{f.path}\0{f.size}\0{f.modified}\n".encode())
        return digest.hexdigest()


def list_images(data: str, window_end: str = "", window_days: int = 0) -> Listing:
    """Lists the images below a folder.

    Args:
        data: the folder, of this machine or of a store.
        window_end: the last date to read; "" for the newest. Date folders only.
        window_days: how many days up to `window_end`; 0 for all. Date folders only.
    Returns:
        The files of that window.
    Raises:
        DataError: if the folder is missing, empty, holds no class folder, mixes layouts or cannot be listed.
    """
    if _is_file(data):
        raise DataError(
            f"{data}: expected a folder with one sub-folder per class, and this is a file. "
            "If it is an archive, unpack it and name the folder."
        )
    if not gfile(data).isdir(data):
        raise DataError(
            f"{data}: no such folder. {suggest_near(data) or 'Name a folder with one sub-folder per class.'}"
        )
    folders, images = _children(data)
    if not folders:
        raise DataError(
            f"{data}: expected one folder per class with images inside, found {len(images)} files and no folder. "
            f"{suggest_above(data) or 'Move the images into folders named after their class.'}"
        )
    dates = [name for name in folders if _is_date(name)]
    if dates:
        listing = _list_spans(data, folders, dates, window_end, window_days)
    elif all(_ALMOST_DATE.fullmatch(name) for name in folders):
        raise DataError(f"{data}: {_some(folders)} look like dates. Write them as 2026-11-23, or name the classes.")
    elif window_end or window_days:
        raise DataError(
            f"{data}: a window of dates was asked for, but no folder is a date such as 2026-11-23 "
            f"(found {_some(folders)}). Leave the window out, or sort the class folders into date folders."
        )
    elif _are_splits(data, folders):
        listing = _list_splits(data, folders)
    else:
        listing = _collect(data, [("", "", "")], Ignored())
    if not listing.files:
        raise DataError(f"{data}: no image in {len(folders)} folders. Put the images of a class into its folder.")
    return listing


def _list_spans(data: str, folders: list[str], dates: list[str], window_end: str, window_days: int) -> Listing:
    others = sorted(set(folders) - set(dates))
    if others:
        raise DataError(
            f"{data}: {_some(dates)} are dates and {_some(others)} are not. "
            "Keep one layout: DATA/<class>/ or DATA/<date>/<class>/."
        )
    end = window_end or max(dates)
    start = ""
    if window_days:
        start = str(datetime.date.fromisoformat(end) - datetime.timedelta(days=window_days - 1))
    spans = sorted(d for d in dates if start <= d <= end)
    if not spans:
        raise DataError(
            f"{data}: no date folder from {start or 'the beginning'} to {end}; there are {min(dates)} to {max(dates)}. "
            "Choose another --window-end or more --window-days."
        )
    ignored = Ignored()
    for date in sorted(set(dates) - set(spans)):
        ignored.add(OUTSIDE_WINDOW, date)
    listing = _collect(data, [(span, span, "") for span in spans], ignored)
    return dataclasses.replace(listing, window_end=end)


def _are_splits(data: str, folders: list[str]) -> bool:
    """Whether the folders are ready-made splits.

    A class may be called `train`. It then holds images; or folders, but hardly the same as every other class.

    Raises:
        DataError: if they look like splits and are named in another way: a model would learn to tell them apart.
    """
    named = [name for name in folders if name.lower() in _SPLIT_FOLDERS]
    if not named:
        return False
    inside = [sorted(map(_normalize, _children(os.path.join(data, name))[0])) for name in folders]
    alike = all(inside) and all(names == inside[0] for names in inside)
    all_named = named == folders and all(inside)
    if all_named and TRAIN in (name.lower() for name in named):
        return True
    if alike or all_named:
        what = f"{_some(sorted(set(folders) - set(named)))} is not one" if not all_named else "there is no train/"
        raise DataError(f"{data}: {_some(named)} look like ready-made splits, and {what}. Call them train, val, test.")
    return False


def _list_splits(data: str, folders: list[str]) -> Listing:
    splits = [_SPLIT_FOLDERS[name.lower()] for name in folders]
    twice = [name for name in folders if splits.count(_SPLIT_FOLDERS[name.lower()]) > 1]
    if twice:
        raise DataError(f"{data}: {_some(twice)} are the same split. Merge them into one folder.")
    roots = [(name, "", split) for name, split in zip(folders, splits, strict=True)]
    listing = _collect(data, roots, Ignored())
    return dataclasses.replace(listing, split_folders=tuple(sorted(splits)))


def _collect(data: str, roots: list[tuple[str, str, str]], ignored: Ignored) -> Listing:
    """Lists the class folders below each (folder, span, split)."""
    files: list[ImageFile] = []
    if roots != [("", "", "")]:
        _children(data, ignored)
    for folder, span, split in roots:
        root = os.path.join(data, folder) if folder else data
        for name, full_path, size, modified in (_list_remote if is_remote(root) else _list_local)(root, ignored):
            path = full_path[len(os.path.join(data, "")) :].replace(os.sep, "/")
            files.append(ImageFile(path, _normalize(name), span, split, size, modified))
    return Listing(tuple(sorted(files, key=lambda f: f.path)), ignored=ignored.counts)


def _list_local(root: str, ignored: Ignored) -> Iterator[tuple[str, str, int, int]]:
    """Yields the files below class folders: name of the folder, path, size in bytes, modification time in ns."""
    for name in _children(root, ignored)[0]:
        empty = True
        for path in _walk(os.path.join(root, name), ignored):
            empty = False
            yield name, path, *_stat(path)
        if empty:
            ignored.add(EMPTY_FOLDER, name)


def _list_remote(root: str, ignored: Ignored) -> Iterator[tuple[str, str, int, int]]:
    """The same, in a store; a store has no empty folders."""
    from components.remote_listing import list_files

    try:
        for file in list_files(root, ignored.passes_over_folder):
            name, slash, _ = file.path.removeprefix(join(root, "")).partition("/")
            if ignored.passes_over_file(os.path.basename(file.path)):
                continue
            if slash:
                yield name, file.path, file.size, file.modified
            else:
                ignored.add_loose_file(name)
    except OSError as error:
        _refuse_folder(error)


def _walk(folder: str, ignored: Ignored) -> Iterator[str]:
    """Yields the files below a folder, without side files and folders; follows links but those that lead back up."""
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        here = os.path.join(os.path.realpath(parent), "")
        folders[:] = [name for name in folders if not ignored.passes_over_folder(name)]
        for name in [name for name in folders if here.startswith(_resolve(parent, name))]:
            ignored.add(LOOP, name)
            folders.remove(name)
        for name in [*folders, *names]:
            _check_name(parent, name)
        yield from (os.path.join(parent, name) for name in names if not ignored.passes_over_file(name))


def _resolve(parent: str, name: str) -> str:
    return os.path.join(os.path.realpath(os.path.join(parent, name)), "")


def _stat(path: str) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds; zeros for a link to nowhere, which ingest quarantines."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _check_name(folder: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "replace")
        raise DataError(
            f"{folder}: the name {shown} in it is not UTF-8. Rename it, for TensorFlow reads no other."
        ) from None


def _is_file(path: str) -> bool:
    if not is_remote(path):
        return os.path.isfile(path)
    try:
        return bool(gfile(path).exists(path)) and not gfile(path).isdir(path)
    except OSError as error:
        _refuse_folder(error)


def list_files(folder: str) -> tuple[list[str], Mapping[str, Mapping[str, int]]]:
    """Lists the files below a folder of this machine, as an ingest does.

    Returns:
        The paths, sorted; and what was passed over, by kind and name, as `Listing.ignored`.
    Raises:
        DataError: if a folder cannot be listed, or a name is not UTF-8.
    """
    ignored = Ignored()
    return sorted(_walk(folder, ignored)), ignored.counts


def list_paths(names: Iterable[str]) -> list[str]:
    """Replaces each folder of this machine among some names by the files below it, as an ingest lists them.

    Args:
        names: of files and folders.
    Returns:
        Paths of files; those of a folder sorted, without hidden and side files.
    Raises:
        DataError: if a folder has no file, or cannot be listed.
        UsageError: for the standard input, and for an address of the web.
    """
    paths: list[str] = []
    for name in names:
        _check_is_file_name(name)
        if not os.path.isdir(name):
            paths.append(name)
            continue
        found, _ = list_files(name)
        if not found:
            raise DataError(f"{name}: no file in this folder. Name images, or a folder with images.")
        paths += found
    return paths


def _check_is_file_name(name: str) -> None:
    if name == "-" and not os.path.lexists(name):
        raise UsageError("-: the standard input is not read. Write the image into a file, and name that.")
    if name.lower().startswith(("http://", "https://")):
        raise UsageError(f"{printable(name)}: addresses of the web are not read. Download it, and name the file.")


def _children(folder: str, ignored: Ignored | None = None) -> tuple[list[str], list[str]]:
    """Returns the sub-folders and the files of a folder, both without hidden and side ones; counts what it drops.

    All files are counted: where there are class folders, those beside them are in no class.
    """
    ignored = ignored or Ignored()
    try:
        folders, files = list_remote(folder) if is_remote(folder) else _list_names(folder)
    except OSError as error:
        _refuse_folder(error)
    shown = [name for name in files if not ignored.passes_over_file(name)]
    for name in shown:
        ignored.add_loose_file(name)
    return [name for name in folders if not ignored.passes_over_folder(name)], shown


def _list_names(folder: str) -> tuple[list[str], list[str]]:
    names = sorted(os.listdir(folder))
    for name in names:
        _check_name(folder, name)
    folders = [name for name in names if os.path.isdir(os.path.join(folder, name))]
    return folders, sorted(set(names) - set(folders))


def _refuse_folder(error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        way = "It vanished while the folder was read: run again when the folder is at rest."
    else:
        way = "Make it readable, or move it away."
    raise DataError(f"{error.filename}: the folder cannot be listed: {error.strerror}. {way}") from error


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_date(name: str) -> bool:
    if not _DATE.fullmatch(name):
        return False
    try:
        datetime.date.fromisoformat(name)
    except ValueError:
        return False
    return True


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def splits_to_draw(split_folders: tuple[str, ...]) -> tuple[str, ...]:
    """The splits that must be drawn from `train`, given those that came ready-made.

    >>> splits_to_draw(("test", "train"))
    ('val',)
    """
    return tuple(s for s in (VAL, "test") if s not in split_folders) if TRAIN in split_folders else ()
