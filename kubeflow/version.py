"""Which Graft a spec was compiled by, and which one an image holds: the two must be the same."""

import functools
import hashlib
import pathlib

from schema.errors import UsageError
from schema.version import VERSION

_PACKAGES = ("schema", "serving", "components", "pipeline", "kubeflow")


@functools.cache
def read_version() -> str:
    """The version, and a digest of the code: between two releases the number alone does not tell."""
    root = pathlib.Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"{VERSION}+{digest.hexdigest()[:12]}"


def check_version(compiled: str) -> None:
    """Refuses a spec of another version.

    Args:
        compiled: what `read_version` said when the spec was compiled.
    Raises:
        UsageError: naming both.
    """
    if compiled != read_version():
        raise UsageError(
            f"the pipeline was compiled by Graft {compiled}, and this image holds {read_version()}. "
            "Build the image and compile the pipeline from the same commit."
        )
