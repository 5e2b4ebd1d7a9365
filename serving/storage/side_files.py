"""The small files beside a SavedModel, read within bounds; one that is damaged is told in words, whatever is wrong."""

import json
import os
from typing import Any

from serving.storage.gfile import gfile, is_remote
from serving.storage.regular import open_regular

MOST_BYTES = 256 << 20  # of a file; the confusion matrix of 5,000 classes fits into the record of a version


class DamagedError(Exception):
    """A file that is there and cannot be read; the message is the reason, in words that follow the file's name."""


def read_bytes(path: str) -> bytes | None:
    """Reads a file; returns None if there is none.

    Raises:
        DamagedError: if what is there is no file, is larger than `MOST_BYTES` or may not be read.
        OSError: if a store does not answer; that says nothing of the file.
    """
    if is_remote(path):
        return _read_remote(path)
    try:
        with open_regular(path) as file:
            _check_size(os.fstat(file.fileno()).st_size)
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise DamagedError("a link to a file that is not there") from None
        return None
    except IsADirectoryError:
        raise DamagedError("a folder, not a file") from None
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror}") from None


def read_json(path: str) -> Any:
    """Reads a JSON document; returns None if there is no such file.

    Raises:
        DamagedError: as `read_bytes`, and if it is no JSON, or none that can be written again as UTF-8.
        OSError: as `read_bytes`.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        value = json.loads(content.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # "\ud800" is JSON, and no character
    except UnicodeError:
        raise DamagedError("not UTF-8") from None
    except json.JSONDecodeError as error:
        what = "an empty file" if not content.strip() else f"not JSON: {error}"
        raise DamagedError(what) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise DamagedError(f"not a JSON document that can be read: {error or type(error).__name__}") from None
    if value is None:
        raise DamagedError("expected a JSON document, got null")
    return value


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise DamagedError(f"{size:,} bytes; more than {MOST_BYTES:,} are not read")


def _read_remote(path: str) -> bytes | None:
    operations = gfile(path)
    if not operations.exists(path):
        return None
    if operations.isdir(path):
        raise DamagedError("a folder, not a file")
    _check_size(operations.stat(path).length)
    with operations.GFile(path, "rb") as file:
        return bytes(file.read())
