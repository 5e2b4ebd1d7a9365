"""Removes the folders of this machine from the documents that travel with a model."""

import re
from typing import Any

# An absolute path at the start of a text or behind a separator of command lines, with or without file://.
_PATH = re.compile(r"""(?:(?<=[\s=,:;'"(\[{])|^)(?:(?:file://)?/(?!/)|~\w*/)[^\s,;:'")\]}]*""")


def shorten_paths(value: Any) -> Any:
    """Shortens each absolute path in a JSON value to its last part; keeps URIs of stores.

    >>> shorten_paths({"data": "/home/ann/photos", "out": "gs://bucket/a", "args": ["--temp=/tmp/x", "--n=1"]})
    {'data': 'photos', 'out': 'gs://bucket/a', 'args': ['--temp=x', '--n=1']}
    """
    if isinstance(value, dict):
        return {key: shorten_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shorten_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~", "file://")):  # a path with spaces, too
        return _shorten(value)
    return _PATH.sub(lambda match: _shorten(match[0]), value)


def _shorten(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
