"""Fetches files into Keras' cache: within seconds to a start, or not at all."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import socket
import threading
import urllib.request
import uuid
from collections.abc import Iterator

CACHE = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras")  # as in Keras
_PATIENCE_SECONDS = 8.0  # for an answer
_STALL_SECONDS = 60.0  # for the next bytes


class FetchError(Exception):
    """A file that cannot be fetched; the message is the reason."""


def fetch(url: str, file_name: str, subfolder: str, md5: str | None = None) -> pathlib.Path:
    """Fetches a file, unless the cache has it; through HTTP(S)_PROXY where that is set.

    Args:
        url: of the file.
        file_name: what the cache calls it.
        subfolder: of Keras' cache.
        md5: of the contents, hex. A cached file with another one is fetched anew.
    Returns:
        Where it is. The name is never that of half a file.
    Raises:
        FetchError: if no server answers, a download stalls, or something else came.
    """
    cached = CACHE / subfolder / file_name
    if cached.is_file() and _has_md5(cached, md5):
        return cached
    if problem := _ask(url):
        torn = f"{cached} is not the whole file; " if cached.is_file() else ""
        raise FetchError(torn + problem)
    return _download(url, cached, md5)


def _download(url: str, target: pathlib.Path, md5: str | None) -> pathlib.Path:
    import keras

    folder = target.parent
    part = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # Keras would take a folder under /tmp, and fetch it there every time
            raise FetchError(f"{folder} cannot be written; the environment variable KERAS_HOME names another cache")
        with _impatient_sockets():
            keras.utils.get_file(part.name, url, cache_dir=folder, cache_subdir=".")
        if not _has_md5(part, md5):
            raise FetchError("what came has another MD5")
        return part.replace(target)
    except FetchError:
        raise
    except Exception as error:  # urllib, ssl, socket and Keras raise many kinds; each means: not fetched.
        raise FetchError(str(error) or type(error).__name__) from error
    finally:
        part.unlink(missing_ok=True)


def _has_md5(path: pathlib.Path, md5: str | None) -> bool:
    return md5 is None or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5


@contextlib.contextmanager
def _impatient_sockets() -> Iterator[None]:
    """Gives up a download that stalls; `urlretrieve`, which Keras calls, has no time-out of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _ask(url: str) -> str:
    """Why a server does not give a file, or "". In a thread of its own: a look-up of names knows no time-out."""
    problems: list[str] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=2 * _PATIENCE_SECONDS):  # `join` gives up first
                problems.append("")
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    return problems[0] if problems else "its server does not answer"
