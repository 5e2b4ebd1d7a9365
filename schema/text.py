"""Escaping of names for terminals, shells and JSON: a file name or a server's answer may hold any character."""

import re
import shlex
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # invisible joiners, in words of Persian and in many emoji
_ESCAPED = {"\\": "\\\\", "'": "\\'"}


def printable(name: str) -> str:
    r"""Escapes control characters, line breaks, bidirectional controls and undecodable bytes as Python does.

    Other characters stay, and a second call changes nothing.

    >>> printable("a\x1b[2J.jpg")
    'a\\x1b[2J.jpg'
    """
    if name.isprintable():
        return name
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in name)


def printable_lines(text: str) -> str:
    """Applies `printable` to each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def list_some(names: Sequence[str], most: int = 3) -> str:
    """Joins the first names with commas, followed by the number of the others.

    >>> list_some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def write_counted(number: int, one: str, several: str) -> str:
    """Renders a number with its noun as "1 image" or "2 images"."""
    return f"{number:,} {one if number == 1 else several}"


def quote(name: str) -> str:
    r"""Quotes a name for a shell.

    A name with control characters is written as $'...', which bash, zsh and POSIX 2024 accept.

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
    """Replaces characters that are unprintable or not in the encoding by the escapes of JSON.

    Only the strings of a document hold such characters; line breaks stay.
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
