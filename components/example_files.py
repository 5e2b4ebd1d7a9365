"""Names and lists of the TFRecord files of a split. Each name holds their number, so that a foreign file shows."""

import os
import re
from collections.abc import Sequence

import tensorflow as tf

from schema.errors import GraftError
from schema.text import printable

_NAME = re.compile(r"data_tfrecord-(\d{5,7})-of-(\d{5,7})")


def name_file(index: int, count: int) -> str:
    """Returns the name of a file of a split. No other code makes or parses these names.

    >>> name_file(0, 3)
    'data_tfrecord-00000-of-00003'
    """
    return f"data_tfrecord-{index:05d}-of-{count:05d}"


def list_split(folder: str) -> list[str]:
    """Lists the TFRecord files of a split, in order.

    Args:
        folder: folder of the split, such as `examples/1/Split-train`.
    Raises:
        GraftError: if a file of the set is missing, or the folder holds any other file.
    """
    found = set(tf.io.gfile.listdir(folder)) if tf.io.gfile.isdir(folder) else set()
    count = max((int(match[2]) for match in map(_NAME.fullmatch, found) if match), default=1)
    expected = [name_file(index, count) for index in range(count)]
    missing, foreign = sorted(set(expected) - found), sorted(found - set(expected))
    if missing or foreign:
        wrong = [f"{printable(name)} is {state}" for name, state in _pair(missing, foreign)]
        raise GraftError(
            f"{folder}: expected the files of one run, {expected[0]} to {expected[-1]}; {', '.join(wrong)}. "
            "The component that wrote them has to run again; on this machine: ./graft repair, and then ./graft run."
        )
    return [os.path.join(folder, name) for name in expected]


def list_files(patterns: Sequence[str]) -> list[str]:
    """Lists the files that match TFX file patterns: the path of a file, or `Split-train/*` for all files of a split.

    Raises:
        GraftError: as `list_split`.
    """
    listed = (
        list_split(os.path.dirname(pattern)) if os.path.basename(pattern) == "*" else [pattern] for pattern in patterns
    )
    return [os.fspath(file) for files in listed for file in files]


def _pair(missing: list[str], foreign: list[str]) -> list[tuple[str, str]]:
    """Pairs the first name of each list with its fault: "missing" or "of another"."""
    return [(names[0], state) for names, state in ((missing, "missing"), (foreign, "of another")) if names]
