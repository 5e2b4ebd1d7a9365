"""Check of paths for wildcard characters, which TensorFlow and Apache Beam expand.

Neither library can quote these characters: not Beam's `FileSystems.match`, which reads `Split-train/*` for TFX and the
statistics of TFDV, not `tf.io.gfile.glob`, and not the checkpoint reader in `tf.saved_model.load`. A path with such a
character matches other files, or none.
"""

import re

from schema.errors import UsageError
from schema.text import printable

# A backslash quotes the next character. A bracket is a wildcard only if another one closes it: "[", "]", "[]", "[!]",
# "{a,b}" and a line break are plain names, as tests with each of the three readers show.
_WILDCARD = re.compile(r"[*?\\]|\[(?:!.|[^!])[^\]]*\]", re.DOTALL)


def check_plain(path: str, key: str, advice: str) -> None:
    """Refuses a path with wildcard characters.

    Args:
        path: full path that TensorFlow will read, parent folders included.
        key: configuration key or option of the path, for the message.
        advice: last sentence of the message: the remedy.
    Raises:
        UsageError: if the path has a wildcard character.
    """
    if found := _WILDCARD.search(path):
        raise UsageError(
            f"{key}: {printable(path)}: expected a path without {printable(found[0])}, which TensorFlow and Apache "
            f"Beam take for a pattern of file names. {advice}"
        )
