"""Finds the weights of the base before a run, so that a missing file stops the run at once."""

import pathlib

from components.network.weights import IMAGENET, NOTOP_FILE, RANDOM
from pipeline.downloads import download
from schema.errors import UsageError
from serving.storage.contents import digest_contents
from serving.storage.regular import find_irregular, read_regular

# Address and MD5 of the file, as in keras.applications.resnet.
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/" + NOTOP_FILE
_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
_SUBFOLDER = "models"  # of Keras' cache
_HDF5 = b"\x89HDF\r\n\x1a\n"


def find_weights(weights: str, image_size: int) -> tuple[str, str]:
    """Resolves the `weights` setting.

    Args:
        weights: "imagenet", "random", or the path of a file in Keras' notop format.
        image_size: side in pixels, at least 32; the network that checks a user's file has it.
    Returns:
        "random" or the path of a file, and the digest of the contents.
    Raises:
        UsageError: if the file is missing, cannot be fetched, or holds no weights of ResNet50.
    """
    if weights == RANDOM:
        return RANDOM, RANDOM
    if weights == IMAGENET:
        path = _fetch_imagenet()
    else:
        check_file(weights)
        path = _locate(weights)
        from components.network.resnet import check_weights  # TensorFlow takes seconds

        check_weights(str(path), image_size)
    return str(path), digest_contents(str(path))


def check_file(weights: str) -> None:
    """Checks that a file of weights is there and in HDF5; skips "imagenet" and "random".

    Raises:
        UsageError: if the file is missing or in another format.
    """
    if weights in (IMAGENET, RANDOM):
        return
    path = _locate(weights)
    expected = f"Expected {IMAGENET!r}, {RANDOM!r} or the path of Keras' {NOTOP_FILE}."
    if kind := find_irregular(str(path)):
        raise UsageError(f"weights: {path}: {kind}, and no file. {expected}")
    if not path.is_file():
        raise UsageError(f"weights: {path}: no such file. {expected}")
    if read_regular(path, len(_HDF5)) != _HDF5:
        raise UsageError(f"weights: {path}: not an HDF5 file. {expected}")


def _locate(weights: str) -> pathlib.Path:
    return pathlib.Path(weights).expanduser().absolute()


def _fetch_imagenet() -> pathlib.Path:
    try:
        return download.fetch(_URL, NOTOP_FILE, _SUBFOLDER, _MD5)
    except download.FetchError as error:
        raise UsageError(
            f"weights: the ImageNet weights cannot be fetched ({error}). Bring the file {NOTOP_FILE} "
            f"(MD5 {_MD5}) into {download.CACHE / _SUBFOLDER}, or name it with --weights FILE; "
            "or train without them: --weights random."
        ) from None
