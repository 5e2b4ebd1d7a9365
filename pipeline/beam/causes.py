"""Finds the first cause in the text of an error that comes from another process, with the chain of Java or Python."""

import re

_LONG = 300  # characters to show of an error; some errors contain the bytes of an image
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = re.compile(r"^(?:The above exception was the direct cause|During handling of the above exception)", re.M)
_RAISED = re.compile(r"^(?!java\.|javax\.|org\.)[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)(?::.*)?$", re.M)
_CAUSED_BY = re.compile(r"^\s*Caused by: (.*)$", re.M)
_FRAME = re.compile(r"\n\s+(?:at |\.\.\. \d+ more).*", re.S)
_STEP = re.compile(r" \[while running .*", re.S)


def find_first_cause(text: str) -> str:
    """Returns the first cause of an error on one line, of at most 300 characters.

    Args:
        text: text of the error. A traceback of Python inside goes before a chain of Java around it.
    Returns:
        The line of the first exception in a chain of Python's, the last "Caused by" of Java's, or the text itself.
    """
    return " ".join(_STEP.sub("", _find(text)).split())[:_LONG]


def _find(text: str) -> str:
    _, found, traceback = text.partition(_TRACEBACK)
    if found and (raised := _RAISED.findall(_CHAINED.split(traceback)[0])):
        return raised[-1]
    if caused := _CAUSED_BY.findall(text):
        return caused[-1]
    return _FRAME.sub("", text)
