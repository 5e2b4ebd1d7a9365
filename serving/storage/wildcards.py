"""Paths that TensorFlow and Apache Beam take for patterns of file names.

Both expand what they are given, and neither has a way to quote: Beam's `FileSystems.match`, by which TFX reads
`Split-train/*` and TFDV its statistics; `tf.io.gfile.glob`; and the reader of checkpoints, which is in each
`tf.saved_model.load`. A path with such a character names another file, or none.
"""

import re

from schema.errors import UsageError
from schema.text import printable

# A backslash quotes the character behind it. A bracket counts only where another one closes it: "[", "]", "[]", "[!]",
# "{a,b}" and a line break are names like others, tried with each of the three readers.
_WILDCARD = re.compile(r"[*?\\]|\[(?:!.|[^!])[^\]]*\]", re.DOTALL)


def check_plain(path: str, key: str, advice: str) -> None:
    """Refuses a path that would be taken for a pattern.

    Args:
        path: of a folder, as it will be given to TensorFlow; a folder above it counts, too.
        key: what the user calls it: a key of the configuration, or an option.
        advice: what to do.
    Raises:
        UsageError: if it has a character that stands for others.
    """
    if found := _WILDCARD.search(path):
        raise UsageError(
            f"{key}: {printable(path)}: expected a path without {printable(found[0])}, which TensorFlow and Apache "
            f"Beam take for a pattern of file names. {advice}"
        )
