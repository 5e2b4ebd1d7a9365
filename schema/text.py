"""Makes names fit to be printed: a file may be called anything."""

_JOINERS = "\u200c\u200d"  # invisible, and part of words in Persian and of many emoji


def printable(name: str) -> str:
    r"""Returns a name with control characters, line breaks and undecodable bytes escaped as Python writes them.

    >>> printable("a\x1b[2J.jpg")
    'a\\x1b[2J.jpg'
    """
    return "".join(c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in name)
