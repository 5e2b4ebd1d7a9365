"""Walk through folders on this machine that reads each real folder and each real file once, whatever links there are.

The rules for links:

- A class folder, a date folder or a split folder may itself be a link to anywhere.
- A link below a class folder is followed if its target is inside the data folder, or inside the real folder of a class.
  Other links are ignored unless `follow_links` is set. (`rsync --safe-links` decides by the text of a link; this module
  decides by the link's target.)
- The real path wins over a link, and the first link in sorted order wins over other links. A link to a folder or file
  that is read anyway is ignored, in the same class or in another. (`find -L` reads such a file once a path.)
- Links from two classes, or from two splits, to one folder that is read nowhere else are an error. Two such links to
  one file are both listed, and the ingest reports for both that the image stands in two classes.
- A hard link is a copy, because all its paths are equally real. ExampleGen leaves out copies by their bytes.

`scandir` tells links from other entries, so an ordinary file costs one `stat`. Pipes, sockets and devices are ignored
and never opened.
"""

import dataclasses
import os
import stat
from collections.abc import Sequence
from typing import NoReturn

from components.example_gen.ignored import LINK_AGAIN, LINK_OUTSIDE, LOOP, Ignored, is_passed_over, name_irregular_kind
from schema.errors import DataError
from schema.text import printable


@dataclasses.dataclass(frozen=True)
class Root:
    """Class folder.

    Attributes:
        path: path of the folder.
        label: name of the class.
        span: date folder, or "".
        split: split folder, or "".
    """

    path: str
    label: str = ""
    span: str = ""
    split: str = ""

    def agrees(self, other: "Root") -> bool:
        """Returns whether both folders have the same class and split, so that one image may stand in both."""
        return (self.label, self.split) == (other.label, other.split)


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """File below a class folder.

    Attributes:
        root: class folder.
        path: path of the file.
        size: size in bytes; 0 for a link to nowhere.
        modified: modification time in nanoseconds; 0 for a link to nowhere.
    """

    root: Root
    path: str
    size: int
    modified: int


@dataclasses.dataclass(frozen=True)
class _Link:
    path: str
    real_parent: str
    target: str  # the real path that the link leads to
    root: Root


class Walk:
    """Walk through the class folders of a data folder.

    Attributes:
        files: files that were found, in no order.
        dropped: class folders that are links to a folder which is read already.
    """

    def __init__(self, data: str, ignored: Ignored, follow_links: bool = False, containers: Sequence[str] = ()):
        """Prepares a walk.

        Args:
            data: data folder.
            ignored: counts of ignored files and folders, which the walk adds to.
            follow_links: whether links may lead out of the data folder.
            containers: folders of class folders: the data folder, date folders, split folders. Their own files have no
                class.
        """
        self.files: list[FoundFile] = []
        self.dropped: set[Root] = set()
        self._data, self._ignored, self._follow_links = data, ignored, follow_links
        self._real_data = os.path.realpath(data)
        self._inside: tuple[str, ...] = (_add_slash(self._real_data),)
        self._containers = set(map(os.path.realpath, containers))
        self._visited: dict[str, tuple[Root, bool]] = {}  # by real folder: its class folder, whether reached by a link
        self._linked_files: dict[str, list[Root]] = {}
        self._links: list[tuple[str, str, Root]] = []  # path, real folder that it is in, class folder

    def walk(self, roots: Sequence[Root]) -> None:
        """Finds the files below class folders: first in real folders, then behind links.

        Raises:
            DataError: if a folder cannot be listed, a name is not UTF-8, or links put one folder into two classes.
        """
        real_paths = {root: os.path.realpath(root.path) for root in roots}
        linked = {root for root in roots if real_paths[root] != self._expect_real_path(root.path)}
        self._inside += tuple(_add_slash(real_paths[root]) for root in linked)
        for root in roots:
            if root not in linked:
                self._descend(root.path, real_paths[root], root, False)
        for root in sorted(linked, key=lambda root: root.path):
            parent = self._expect_real_path(os.path.dirname(root.path))
            self._follow_folder(_Link(root.path, parent, real_paths[root], root))
            if self._visited.get(real_paths[root], (None, False))[0] is not root:
                self.dropped.add(root)
        own, file_links = {root.path for root in roots}, []
        while self._links:
            links = sorted((link for link in self._links if link[0] not in own), key=lambda link: link[0])
            self._links = []
            for path, real_parent, root in links:
                link = _Link(path, real_parent, os.path.realpath(path), root)
                if not os.path.isdir(path):
                    file_links.append(link)
                elif not self._ignored.passes_over_folder(os.path.basename(path)) and self._may_follow(link):
                    self._follow_folder(link)
        for link in sorted(file_links, key=lambda link: link.path):
            if not self._ignored.passes_over_file(os.path.basename(link.path)) and self._may_follow(link):
                self._follow_file(link)

    def _descend(self, path: str, real: str, root: Root, through_link: bool) -> None:
        """Reads a folder and the real folders below; collects their links, which `walk` follows later."""
        folders = [(path, real)]
        while folders:
            folder, real_folder = folders.pop()
            if not self._enter(folder, real_folder, root, through_link):
                continue
            for entry in _list_entries(folder):
                check_name(folder, entry.name)
                if entry.is_symlink():
                    self._links.append((entry.path, real_folder, root))
                elif entry.is_dir(follow_symlinks=False):
                    if not self._ignored.passes_over_folder(entry.name):
                        folders.append((entry.path, os.path.join(real_folder, entry.name)))
                elif not self._ignored.passes_over_file(entry.name):
                    self._add(entry.path, root)

    def _enter(self, path: str, real: str, root: Root, through_link: bool) -> bool:
        """Marks a real folder as read; returns False if it was read before.

        Raises:
            DataError: if only links lead to the folder, and they come from two classes or splits.
        """
        if real in self._containers:
            self._pass_over(LINK_AGAIN, path)
            return False
        if real not in self._visited:
            self._visited[real] = root, through_link
            return True
        other, was_linked = self._visited[real]
        if was_linked and not other.agrees(root):
            raise DataError(
                f"{printable(path)} and {printable(other.path)}: links lead from both to one folder, "
                f"{printable(real)}, and an image has one class and one split. Remove one of the links."
            )
        self._pass_over(LINK_AGAIN, path)
        return False

    def _follow_folder(self, link: _Link) -> None:
        if _add_slash(link.real_parent).startswith(_add_slash(link.target)):
            self._ignored.add(LOOP, os.path.basename(link.path))
        else:
            self._descend(link.path, link.target, link.root, True)

    def _follow_file(self, link: _Link) -> None:
        """Adds a linked file, unless its real path or another link of the same class and split is read already."""
        if not os.path.isfile(link.path):  # `_add` handles a link to nowhere, to a pipe and the like
            self._add(link.path, link.root)
            return
        folder, name = os.path.split(link.target)
        reader, was_linked = (None, False) if is_passed_over(name) else self._visited.get(folder, (None, False))
        readers = [*self._linked_files.get(link.target, []), *([reader] if reader else [])]
        if (reader and not was_linked) or any(other.agrees(link.root) for other in readers):
            self._pass_over(LINK_AGAIN, link.path)
            return
        self._linked_files.setdefault(link.target, []).append(link.root)
        self._add(link.path, link.root)

    def _may_follow(self, link: _Link) -> bool:
        leads_back = _add_slash(link.real_parent).startswith(_add_slash(link.target))
        allowed = self._follow_links or leads_back or _add_slash(link.target).startswith(self._inside)
        if not allowed:
            self._pass_over(LINK_OUTSIDE, link.path)
        return allowed

    def _add(self, path: str, root: Root) -> None:
        """Adds a file; ignores pipes, sockets and devices.

        A link to nowhere is added as well, so that ExampleGen quarantines it by name.
        """
        try:
            status = os.stat(path)
        except OSError:
            self.files.append(FoundFile(root, path, 0, 0))
            return
        if stat.S_ISREG(status.st_mode):
            self.files.append(FoundFile(root, path, status.st_size, status.st_mtime_ns))
        else:
            self._pass_over(name_irregular_kind(status.st_mode), path)

    def _pass_over(self, kind: str, path: str) -> None:
        self._ignored.add(kind, os.path.relpath(path, self._data).replace(os.sep, "/"))

    def _expect_real_path(self, path: str) -> str:
        """Returns the real path that a path would have without links below the data folder."""
        return os.path.normpath(os.path.join(self._real_data, os.path.relpath(path, self._data)))


def _add_slash(folder: str) -> str:
    return os.path.join(folder, "")


def _list_entries(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        refuse_folder(error)


def list_folder(folder: str) -> tuple[list[str], list[str]]:
    """Returns the names of the sub-folders directly in a folder, and of its other entries, both sorted.

    A link to a folder counts as a folder.

    Args:
        folder: folder on this machine.
    Raises:
        DataError: if a name is not UTF-8.
        OSError: if the folder cannot be listed; see `refuse_folder`.
    """
    names = sorted(os.listdir(folder))
    for name in names:
        check_name(folder, name)
    folders = [name for name in names if os.path.isdir(os.path.join(folder, name))]
    return folders, sorted(set(names) - set(folders))


def check_name(folder: str, name: str) -> None:
    """Rejects a file name that TensorFlow cannot open.

    Args:
        folder: folder of the file, for the message.
        name: name to check.
    Raises:
        DataError: if the name is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = printable(os.fsencode(name).decode("utf-8", "replace"))
        raise DataError(
            f"{printable(folder)}: the name {shown} in it is not UTF-8. Rename it, for TensorFlow reads no other."
        ) from None


def refuse_folder(error: OSError) -> NoReturn:
    """Raises a DataError for a folder that cannot be listed."""
    if isinstance(error, FileNotFoundError):
        way = "It vanished while the folder was read: run again when the folder is at rest."
    else:
        way = "Make it readable, or move it away."
    name = printable(str(error.filename))
    raise DataError(f"{name}: the folder cannot be listed: {error.strerror}. {way}") from error
