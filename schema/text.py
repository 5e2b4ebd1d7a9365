"""Makes names fit to be printed: a file, a class, a model or a server's answer may say anything."""

import re
import shlex
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # invisible, and part of words in Persian and of many emoji
_ESCAPED = {"\\": "\\\\", "'": "\\'"}


def printable(name: str) -> str:
    r"""Returns a name with control characters, line breaks, changes of direction and undecodable bytes escaped.

    As Python writes them; nothing else is changed, and the same text again stays as it is.

    >>> printable("a\x1b[2J.jpg")
    'a\\x1b[2J.jpg'
    """
    if name.isprintable():
        return name
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in name)


def printable_lines(text: str) -> str:
    """Returns a text of several lines with each line as `printable` returns it."""
    return "\n".join(map(printable, text.split("\n")))


def list_some(names: Sequence[str], most: int = 3) -> str:
    """Lists the first names; says how many there are besides.

    >>> list_some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def quote(name: str) -> str:
    r"""Quotes a name for a shell; one with control characters in the form $'...', which bash, zsh and POSIX 2024 take.

    >>> quote("a b\n")
    "$'a b\\n'"
    """
    if all(map(_is_shown, name)):
        return shlex.quote(name)
    return "$'" + "".join(map(_escape_for_shell, name)) + "'"


def _escape_for_shell(character: str) -> str:
    if character == "\n":
        return "\\n"
    if _is_shown(character):
        return _ESCAPED.get(character, character)
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def escape_json(text: str, encoding: str) -> str:
    """Returns a JSON document with what is not `printable`, or not in the encoding, in JSON's own escapes.

    Outside of its strings a document has no such character, but for line breaks.
    """
    return re.sub(
        r"[^\n -~]", lambda found: found[0] if _fits(found[0], encoding) else _escape_for_json(found[0]), text
    )


def _fits(character: str, encoding: str) -> bool:
    try:
        return _is_shown(character) and bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def _escape_for_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in _JOINERS
