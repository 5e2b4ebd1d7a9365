"""Downloads files into Keras' cache; gives up within seconds if the server does not answer."""

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
_ANSWER_SECONDS = 8.0  # limit for the server's answer
_STALL_SECONDS = 60.0  # limit for the next bytes


class FetchError(Exception):
    """Error of a file that cannot be fetched; the message is the reason."""


def fetch(url: str, file_name: str, subfolder: str, md5: str | None = None) -> pathlib.Path:
    """Fetches a file unless the cache has it, through HTTP(S)_PROXY if that is set.

    Args:
        url: address of the file.
        file_name: name in the cache.
        subfolder: folder in Keras' cache.
        md5: MD5 of the contents, hex; a cached file with another one is fetched again.
    Returns:
        Path of the whole file; an interrupted download leaves no file of this name.
    Raises:
        FetchError: if no server answers, the download stalls, or the contents have another MD5.
    """
    cached = CACHE / subfolder / file_name
    if cached.is_file() and _has_md5(cached, md5):
        return cached
    if problem := _find_problem(url):
        torn = f"{cached} is not the whole file; " if cached.is_file() else ""
        raise FetchError(torn + problem)
    return _download(url, cached, md5)


def _download(url: str, target: pathlib.Path, md5: str | None) -> pathlib.Path:
    import keras

    folder = target.parent
    part = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # Keras would use a folder under /tmp, and fetch the file each time
            raise FetchError(f"{folder} cannot be written; the environment variable KERAS_HOME names another cache")
        with _socket_timeout():
            keras.utils.get_file(part.name, url, cache_dir=folder, cache_subdir=".")
        if not _has_md5(part, md5):
            raise FetchError("the downloaded file has another MD5")
        return part.replace(target)
    except FetchError:
        raise
    except Exception as error:  # urllib, ssl, socket and Keras raise errors of many classes
        raise FetchError(str(error) or type(error).__name__) from error
    finally:
        part.unlink(missing_ok=True)


def _has_md5(path: pathlib.Path, md5: str | None) -> bool:
    return md5 is None or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """Sets the time-out of sockets for a download: `urlretrieve`, which Keras calls, has none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _find_problem(url: str) -> str:
    """Returns the reason why a server does not offer a file; "" if it does.

    Sends the request in a thread, because the look-up of a host name has no time-out.
    """
    problems: list[str] = []

    def request_head() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=2 * _ANSWER_SECONDS):  # `join` gives up first
                problems.append("")
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(str(error))

    thread = threading.Thread(target=request_head, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    return problems[0] if problems else "its server does not answer"
