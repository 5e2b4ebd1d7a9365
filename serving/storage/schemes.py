"""Checks, before a run begins, that each path has a URI scheme that can be read here, such as gs://."""

from schema.errors import UsageError
from serving.storage.gfile import is_remote, load_tensorflow

# Schemes that only this process would see, or that are no store.
_NOT_OFFERED = {"", "file", "ram", "http", "https"}


def check_scheme(path: str, key: str) -> None:
    """Refuses a path whose scheme cannot be opened; sends no request to the store.

    Args:
        path: path of a file or folder; a path on this machine is accepted.
        key: configuration key or option of the path, for the message.
    Raises:
        UsageError: if TensorFlow has no file system for the scheme; the message names a way out.
    """
    if not is_remote(path):
        return
    scheme = path.partition("://")[0]
    known = set(load_tensorflow().io.gfile.get_registered_schemes())
    if scheme not in known:
        offered = ", ".join(f"{name}://" for name in sorted(known - _NOT_OFFERED))
        raise UsageError(
            f"{key}: expected a folder of this machine or of a store that TensorFlow can open ({offered}), "
            f"got {path}. {_explain_missing(scheme)}"
        )


def _explain_missing(scheme: str) -> str:
    mount = "mount it as a folder and name that"
    if scheme == "s3":
        return (
            f"s3:// needs the package tensorflow-io, which exists for some releases only (0.37.1 for 2.16; "
            f"this is {load_tensorflow().__version__}). Otherwise {mount}: Mountpoint for Amazon S3 and s3fs do that."
        )
    return f"{mount.capitalize()}, or copy the files."
