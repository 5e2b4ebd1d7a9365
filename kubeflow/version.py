"""Version of the code, to check that a spec and a container image come from the same commit."""

import functools
import hashlib
import pathlib

from schema.errors import UsageError
from schema.version import VERSION

_PACKAGES = ("schema", "serving", "components", "pipeline", "kubeflow")


@functools.cache
def read_version() -> str:
    """Returns the version number with a digest of the code, which differs between two commits of one version."""
    root = pathlib.Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"{VERSION}+{digest.hexdigest()[:12]}"


def check_version(compiled: str) -> None:
    """Refuses a spec that another version has compiled.

    Args:
        compiled: result of `read_version` when the spec was compiled.
    Raises:
        UsageError: if it differs from the version here; names both.
    """
    if compiled != read_version():
        raise UsageError(
            f"the pipeline was compiled by Graft {compiled}, and this image holds {read_version()}. "
            "Build the image and compile the pipeline from the same commit."
        )
