"""Reading of the small files beside a SavedModel, with a size limit; damage of any kind is a DamagedError."""

import json
import os
from typing import Any

from serving.storage.gfile import gfile, is_remote
from serving.storage.regular import open_regular

MAX_BYTES = 256 << 20  # of a file; a record with the confusion matrix of 5,000 classes is smaller


class DamagedError(Exception):
    """Error of an existing file that cannot be read; the message is the reason, without the file's name."""


def read_bytes(path: str) -> bytes | None:
    """Reads a file; returns None if the file is missing.

    Raises:
        DamagedError: if the path is no regular file, is larger than `MAX_BYTES` or may not be read.
        OSError: if a store does not answer; the file itself may be fine.
    """
    if is_remote(path):
        return _read_remote(path)
    try:
        with open_regular(path) as file:
            _check_size(os.fstat(file.fileno()).st_size)
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise DamagedError("a link to a file that is not there") from None
        return None
    except IsADirectoryError:
        raise DamagedError("a folder, not a file") from None
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror}") from None


def read_json(path: str) -> Any:
    """Reads a JSON document; returns None if the file is missing.

    Raises:
        DamagedError: as `read_bytes`; also if the file is no JSON, or its value cannot be encoded as UTF-8.
        OSError: as `read_bytes`.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        value = json.loads(content.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # "\ud800" is valid JSON and no character
    except UnicodeError:
        raise DamagedError("not UTF-8") from None
    except json.JSONDecodeError as error:
        reason = "an empty file" if not content.strip() else f"not JSON: {error}"
        raise DamagedError(reason) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise DamagedError(f"not a JSON document that can be read: {error or type(error).__name__}") from None
    if value is None:
        raise DamagedError("expected a JSON document, got null")
    return value


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise DamagedError(f"{size:,} bytes; more than {MAX_BYTES:,} are not read")


def _read_remote(path: str) -> bytes | None:
    operations = gfile(path)
    if not operations.exists(path):
        return None
    if operations.isdir(path):
        raise DamagedError("a folder, not a file")
    _check_size(operations.stat(path).length)
    with operations.GFile(path, "rb") as file:
        return bytes(file.read())
