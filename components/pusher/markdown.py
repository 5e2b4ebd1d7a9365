"""Escaping of names for Markdown (CommonMark, and GitHub's tables and links)."""

import re

from schema.text import printable

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>|~&$#@])")
_LINE_START = re.compile(r"^(\s*)(\d*)([.)](?=\s|$)|[-+=](?=[-=\s]|$))")  # a list or a rule, if it begins a line


class Markdown(str):
    """Text that is Markdown already."""


def escape(text: str) -> Markdown:
    r"""Escapes the characters that Markdown reads as markup, and makes control characters visible.

    >>> escape("a_b|c <i>")
    'a\\_b\\|c \\<i\\>'
    """
    escaped = _ACTIVE.sub(r"\\\1", printable(text))
    escaped = _LINE_START.sub(r"\1\2\\\3", escaped)
    return Markdown(escaped.replace("://", ":\\/\\/").replace("www.", "www\\."))


def write_code(text: str) -> Markdown:
    """Writes a text as a code span for a cell of a table, with a fence that the text cannot close."""
    text = printable(text).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest or text != text.strip() else ""
    return Markdown(f"{fence}{space}{text}{space}{fence}") if text else Markdown()
