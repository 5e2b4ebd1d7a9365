"""Which stores can be opened, told before a run begins and not when its first step fails."""

import importlib

from schema.errors import UsageError
from serving.storage.gfile import is_remote, load_tensorflow

# What only this process would see, or what is no store.
_NOT_OFFERED = {"", "file", "ram", "http", "https"}
_BEAM_EXTRAS = {"gs": "gcp", "s3": "aws", "azfs": "azure"}


def check_scheme(path: str, key: str, with_beam: bool = False) -> None:
    """Refuses a path that cannot be opened, by its scheme alone: nothing is asked of the store.

    Args:
        path: of a folder or file; one of this machine is fine.
        key: what the user calls it: a key of the configuration, or an option.
        with_beam: whether Apache Beam reads or writes there, too; it has file systems of its own.
    Raises:
        UsageError: if TensorFlow or Beam has no file system for the scheme; says what can be done.
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
    if with_beam:
        _check_beam(path, scheme, key)


def _explain_missing(scheme: str) -> str:
    mount = "mount it as a folder and name that"
    if scheme == "s3":
        return (
            f"For s3:// it needs the package tensorflow-io, which there is for some releases only (0.37.1 for 2.16; "
            f"this is {load_tensorflow().__version__}). Otherwise {mount}: Mountpoint for Amazon S3 and s3fs do that."
        )
    return f"{mount.capitalize()}, or copy the files."


def _check_beam(path: str, scheme: str, key: str) -> None:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
        if scheme == "s3":
            importlib.import_module("boto3")  # without it, Beam fails when it first reads
    except (ValueError, ImportError):
        extra = _BEAM_EXTRAS.get(scheme)
        way = f"Install apache-beam[{extra}] here and on the workers" if extra else "Choose another store"
        raise UsageError(f"{key}: Apache Beam has no file system for {scheme}://, got {path}. {way}.") from None
