"""Listing of a folder of labelled images; no image is opened.

The names of the top folders decide between three layouts:

    DATA/<class>/**                              class folders
    DATA/<date>/<class>/**                       spans: a date is 2026-11-23
    DATA/{train,val|valid|validation,test}/<class>/**  split already

`walk` has the rules for links. Hidden files, side files, such folders, pipes, sockets and devices are ignored and
counted. The folder may be in a store, such as gs://bucket/photos.
"""

import dataclasses
import datetime
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from components.example_gen.folder_hints import suggest_above, suggest_near
from components.example_gen.ignored import EMPTY_FOLDER, LINK_OUTSIDE, OUTSIDE_WINDOW, Ignored
from components.example_gen.walk import FoundFile, Root, Walk, list_folder, refuse_folder
from schema.errors import DataError
from schema.features import TRAIN, VAL
from schema.text import list_some
from serving.storage.gfile import gfile, is_remote, join, list_remote
from serving.storage.regular import find_irregular

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ALMOST_DATE = re.compile(r"(19|20)\d{2}[-_.]?[01]\d[-_.]?[0-3]\d")
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """File that counts as an image until it is read.

    Attributes:
        path: path relative to the data folder, with "/"; otherwise as on disk.
        label: class, which is the name of the class folder in Unicode's form NFC. macOS writes NFD; NFC makes the same
            class from two machines one class.
        span: date folder, or "".
        split: split folder (train, val or test), or "".
        size: size in bytes.
        modified: modification time in nanoseconds since the epoch, as exact as the file system stores it.
    """

    path: str
    label: str
    span: str
    split: str
    size: int
    modified: int


@dataclasses.dataclass(frozen=True)
class Listing:
    """Files of one window.

    Attributes:
        files: files in the order of their paths.
        window_end: last day of the window, or "" without date folders.
        split_folders: ready-made splits; empty if the images are not split already.
        ignored: counts of ignored files and folders by kind and name; see `ignored`.
    """

    files: tuple[ImageFile, ...]
    window_end: str = ""
    split_folders: tuple[str, ...] = ()
    ignored: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Sorted names of the classes that have a file."""
        return tuple(sorted({f.label for f in self.files}))

    @property
    def fingerprint(self) -> str:
        """Digest of path, size and time of each file; it changes if a file is added, removed, renamed or written."""
        digest = hashlib.sha256()
        for f in self.files:
            digest.update(f"{f.path}\0{f.size}\0{f.modified}\n".encode())
        return digest.hexdigest()


def list_images(data: str, window_end: str = "", window_days: int = 0, follow_links: bool = False) -> Listing:
    """Lists the images below a folder.

    Args:
        data: data folder, on this machine or in a store.
        window_end: last date to read; "" for the newest. For date folders only.
        window_days: number of days up to and including `window_end`; 0 for all. For date folders only.
        follow_links: whether links below the class folders may lead out of the data folder.
    Returns:
        The files of that window.
    Raises:
        DataError: if the folder is missing, empty, has no class folder, mixes layouts or cannot be listed.
    """
    _check_folder(data)
    folders, images = _list_children(data)
    if not folders:
        raise DataError(
            f"{data}: expected one folder per class with images inside, found {len(images)} files and no folder. "
            f"{suggest_above(data) or 'Move the images into folders named after their class.'}"
        )
    dates = [name for name in folders if _is_date(name)]
    if dates:
        listing = _list_spans(data, folders, dates, (window_end, window_days), follow_links)
    elif all(_ALMOST_DATE.fullmatch(name) for name in folders):
        raise DataError(f"{data}: {list_some(folders)} look like dates. Write them as 2026-11-23, or name the classes.")
    elif window_end or window_days:
        raise DataError(
            f"{data}: window_end or window_days is set, but no folder is a date such as 2026-11-23 "
            f"(found {list_some(folders)}). Leave the window out, or sort the class folders into date folders."
        )
    elif _are_splits(data, folders):
        listing = _list_splits(data, folders, follow_links)
    else:
        listing = _collect(data, [("", "", "")], Ignored(), follow_links)
    if not listing.files:
        way = "Put the images of a class into its folder."
        if links := sum(listing.ignored.get(LINK_OUTSIDE, {}).values()):
            way = f"{links} links lead out of it; --follow-links, or follow_links = true in graft.toml, reads them."
        raise DataError(f"{data}: no image in {len(folders)} folders. {way}")
    return listing


def _check_folder(data: str) -> None:
    """Raises DataError if the data folder is missing, a file, or neither a file nor a folder."""
    if _is_file(data):
        raise DataError(
            f"{data}: expected a folder with one sub-folder per class, and this is a file. "
            "If it is an archive, unpack it and name the folder."
        )
    if kind := find_irregular(data):
        raise DataError(f"{data}: expected a folder with one sub-folder per class, and this is {kind}.")
    if not gfile(data).isdir(data):
        raise DataError(
            f"{data}: no such folder. {suggest_near(data) or 'Name a folder with one sub-folder per class.'}"
        )


def _list_spans(
    data: str, folders: list[str], dates: list[str], window: tuple[str, int], follow_links: bool
) -> Listing:
    window_end, window_days = window
    others = sorted(set(folders) - set(dates))
    if others:
        raise DataError(
            f"{data}: {list_some(dates)} are dates and {list_some(others)} are not. "
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
    listing = _collect(data, [(span, span, "") for span in spans], ignored, follow_links)
    return dataclasses.replace(listing, window_end=end)


def _are_splits(data: str, folders: list[str]) -> bool:
    """Returns whether the folders are ready-made splits.

    A class may be called `train`, too. Such a folder holds images, or folders with other names than those in the other
    classes.

    Raises:
        DataError: if the folders look like splits and one has another name. Read as classes, they would train a model
            to tell the splits apart.
    """
    named = [name for name in folders if name.lower() in _SPLIT_FOLDERS]
    if not named:
        return False
    inside = [sorted(map(_normalize, _list_children(os.path.join(data, name))[0])) for name in folders]
    alike = all(inside) and all(names == inside[0] for names in inside)
    all_named = named == folders and all(inside)
    if all_named and TRAIN in (name.lower() for name in named):
        return True
    if alike or all_named:
        what = f"{list_some(sorted(set(folders) - set(named)))} is not one" if not all_named else "there is no train/"
        raise DataError(
            f"{data}: {list_some(named)} look like ready-made splits, and {what}. Call them train, val, test."
        )
    return False


def _list_splits(data: str, folders: list[str], follow_links: bool) -> Listing:
    splits = [_SPLIT_FOLDERS[name.lower()] for name in folders]
    twice = [name for name in folders if splits.count(_SPLIT_FOLDERS[name.lower()]) > 1]
    if twice:
        raise DataError(f"{data}: {list_some(twice)} are the same split. Merge them into one folder.")
    roots = [(name, "", split) for name, split in zip(folders, splits, strict=True)]
    listing = _collect(data, roots, Ignored(), follow_links)
    return dataclasses.replace(listing, split_folders=tuple(sorted(splits)))


def _collect(data: str, roots: list[tuple[str, str, str]], ignored: Ignored, follow_links: bool) -> Listing:
    """Lists the files of the class folders.

    Args:
        data: data folder.
        roots: parents of class folders: path below the data folder, span, split.
        ignored: counts of ignored files and folders, which this function adds to.
        follow_links: whether links below the class folders may lead out of the data folder.
    """
    if roots != [("", "", "")]:
        _list_children(data, ignored)
    prefix = len(os.path.join(data, ""))
    found = (_list_remote if is_remote(data) else _list_local)(data, roots, ignored, follow_links)
    files = [
        ImageFile(f.path[prefix:].replace(os.sep, "/"), f.root.label, f.root.span, f.root.split, f.size, f.modified)
        for f in found
    ]
    return Listing(tuple(sorted(files, key=lambda f: f.path)), ignored=ignored.counts)


def _list_local(
    data: str, roots: list[tuple[str, str, str]], ignored: Ignored, follow_links: bool
) -> Iterable[FoundFile]:
    """Finds the files below class folders on this machine."""
    folders = [(os.path.join(data, folder) if folder else data, span, split) for folder, span, split in roots]
    classes = [
        Root(os.path.join(folder, name), _normalize(name), span, split)
        for folder, span, split in folders
        for name in _list_children(folder, ignored)[0]
    ]
    walk = Walk(data, ignored, follow_links, [data, *(folder for folder, _, _ in folders)])
    walk.walk(classes)
    filled = {file.root for file in walk.files} | walk.dropped
    for root in classes:
        if root not in filled:
            ignored.add(EMPTY_FOLDER, os.path.basename(root.path))
    return walk.files


def _list_remote(
    data: str, roots: list[tuple[str, str, str]], ignored: Ignored, follow_links: bool
) -> Iterator[FoundFile]:
    """Finds the files below class folders in a store, which has no empty folders and no links."""
    from serving.storage.remote_listing import list_objects

    del follow_links
    for folder, span, split in roots:
        root = os.path.join(data, folder) if folder else data
        try:
            for file in list_objects(root, ignored.passes_over_folder):
                name, slash, _ = file.path.removeprefix(join(root, "")).partition("/")
                if ignored.passes_over_file(os.path.basename(file.path)):
                    continue
                if slash:
                    yield FoundFile(Root(root, _normalize(name), span, split), file.path, file.size, file.modified)
                else:
                    ignored.add_loose_file(name)
        except OSError as error:
            refuse_folder(error)


def _is_file(path: str) -> bool:
    if not is_remote(path):
        return os.path.isfile(path)
    try:
        return bool(gfile(path).exists(path)) and not gfile(path).isdir(path)
    except OSError as error:
        refuse_folder(error)


def _list_children(folder: str, ignored: Ignored | None = None) -> tuple[list[str], list[str]]:
    """Returns the sub-folders and the files of a folder, without hidden and side ones.

    Adds the dropped entries to `ignored`. All files count as ignored, too: a file beside class folders has no class.
    """
    ignored = ignored or Ignored()
    try:
        folders, files = list_remote(folder) if is_remote(folder) else list_folder(folder)
    except OSError as error:
        refuse_folder(error)
    shown = [name for name in files if not ignored.passes_over_file(name)]
    for name in shown:
        ignored.add_loose_file(name)
    return [name for name in folders if not ignored.passes_over_folder(name)], shown


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


def find_missing_splits(split_folders: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the splits to draw from `train`, given the ready-made splits.

    >>> find_missing_splits(("test", "train"))
    ('val',)
    """
    return tuple(s for s in (VAL, "test") if s not in split_folders) if TRAIN in split_folders else ()
