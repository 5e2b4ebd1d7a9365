"""Versions of Graft, Python and the libraries that decide about a model."""

import importlib.metadata
import platform

from schema.version import VERSION

_LIBRARIES = ("tensorflow", "keras", "tfx", "apache-beam", "tensorflow-model-analysis", "numpy", "pillow")


def read_libraries() -> dict[str, str]:
    """Returns the versions by name; omits a library that is not installed."""
    versions = {"Graft": VERSION, "Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
