"""Files and folders that a user names in a command; the files of a folder are listed by the rules of an ingest."""

import collections
import os
from collections.abc import Iterable, Mapping

from components.example_gen.ignored import Ignored, describe
from components.example_gen.walk import Root, Walk, list_folder, refuse_folder
from schema.errors import DataError, UsageError
from schema.text import printable


def list_paths(names: Iterable[str]) -> tuple[list[str], dict[str, collections.Counter[str]]]:
    """Replaces each folder among the names by the files below that folder.

    Links are followed out of the folder, too, because these images are not trained on.

    Args:
        names: paths of files and folders on this machine.
    Returns:
        Paths of files, those of a folder sorted, without hidden and side files; and the counts of what is ignored in
        the folders by kind and name, as `Listing.ignored`.
    Raises:
        DataError: if a folder has no file, or cannot be listed.
        UsageError: if a name is "-" for the standard input, or a web address.
    """
    paths: list[str] = []
    ignored: dict[str, collections.Counter[str]] = {}
    for name in names:
        _check_is_file_name(name)
        if not os.path.isdir(name):
            paths.append(name)
            continue
        found, counts = list_files(name, follow_links=True)
        if not found:
            what = f"nothing but {', '.join(describe(counts))}" if counts else "no file"
            raise DataError(f"{name}: {what} in this folder. Name images, or a folder with images.")
        paths += found
        for kind, by_name in counts.items():
            ignored.setdefault(kind, collections.Counter()).update(by_name)
    return paths, ignored


def _check_is_file_name(name: str) -> None:
    if name == "-" and not os.path.lexists(name):
        raise UsageError("-: the standard input is not read. Write the image into a file, and name that.")
    if name.lower().startswith(("http://", "https://")):
        raise UsageError(f"{printable(name)}: addresses of the web are not read. Download it, and name the file.")


def list_files(folder: str, follow_links: bool = False) -> tuple[list[str], Mapping[str, Mapping[str, int]]]:
    """Lists the files below a folder on this machine by the rules of an ingest.

    Args:
        folder: folder to list.
        follow_links: whether links may lead out of the folder. A link to a folder directly in `folder` is followed in
            any case, as a class folder is.
    Returns:
        Sorted paths, and the counts of ignored files and folders by kind and name, as `Listing.ignored`.
    Raises:
        DataError: if a folder cannot be listed, or a name is not UTF-8.
    """
    ignored = Ignored()
    walk = Walk(folder, ignored, follow_links)
    try:
        folders, _ = list_folder(folder)
    except OSError as error:
        refuse_folder(error)
    linked = [os.path.join(folder, name) for name in folders if _is_linked_class(folder, name)]
    walk.walk([Root(folder), *(Root(path, os.path.basename(path)) for path in linked)])
    return sorted(file.path for file in walk.files), ignored.counts


def _is_linked_class(folder: str, name: str) -> bool:
    return os.path.islink(os.path.join(folder, name)) and not Ignored().passes_over_folder(name)
