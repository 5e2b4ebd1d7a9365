"""Finds the weights of the base before a run starts, so that a missing file costs seconds and not a run."""

import hashlib
import os
import pathlib
import threading
import urllib.request

from schema.errors import UsageError

IMAGENET, RANDOM = "imagenet", "random"
# As in keras.applications.resnet: where the file is, and its MD5.
_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/" + _FILE
_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
_CACHE = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras") / "models"  # as in Keras
_PATIENCE_SECONDS = 8.0
_HDF5 = b"\x89HDF\r\n\x1a\n"


def find_weights(weights: str) -> tuple[str, str]:
    """Resolves the `weights` setting.

    Args:
        weights: "imagenet", "random", or the path of a file in Keras' notop format.
    Returns:
        "random" or the path of a file; and a digest of its contents.
    Raises:
        UsageError: if there is no such file, or no way to fetch it.
    """
    if weights == RANDOM:
        return RANDOM, RANDOM
    if weights == IMAGENET:
        path = _fetch_imagenet()
    else:
        path = pathlib.Path(weights).expanduser().absolute()
        _check_file(path)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def _check_file(path: pathlib.Path) -> None:
    expected = f"Expected {IMAGENET!r}, {RANDOM!r} or the path of Keras' {_FILE}."
    if not path.is_file():
        raise UsageError(f"weights: {path}: no such file. {expected}")
    with path.open("rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            raise UsageError(f"weights: {path}: not an HDF5 file. {expected}")


def _fetch_imagenet() -> pathlib.Path:
    cached = _CACHE / _FILE
    if cached.is_file():
        return cached
    if _is_reachable(_URL):
        import keras

        try:
            return pathlib.Path(
                keras.utils.get_file(_FILE, _URL, file_hash=_MD5, cache_dir=_CACHE.parent, cache_subdir=_CACHE.name)
            )
        except Exception as error:  # urllib, ssl, socket and Keras raise many kinds; each means: not fetched.
            reason = str(error)
    else:
        reason = "its server does not answer"
    raise UsageError(
        f"weights: the ImageNet weights cannot be fetched ({reason}). Bring the file {_FILE} "
        f"(MD5 {_MD5}) into {_CACHE}, or name it with --weights FILE; --weights random goes without."
    )


def _is_reachable(url: str) -> bool:
    """Whether a server answers soon. In a thread of its own: a look-up of names knows no time-out."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS):
                answered.set()
        except OSError:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    return answered.is_set()
