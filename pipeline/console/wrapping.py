"""Wraps texts between words; a command to copy stays on one line, with its arguments.

A command behind a colon goes to the end of the text: "As JPEG: ./graft convert photos others". Inside a sentence it
ends at a comma, or before the first word that is no argument: "./graft releases rollback makes ...".
"""

import re

from rich.cells import cell_len

_QUOTED = r"'(?:[^']|'\"'\"')*'"  # as shlex.quote writes it
_END = r"(?=[,;:.)]*(?:\s|$))"  # of an argument, which leaves the punctuation to the sentence
_VALUE = rf"(?:{_QUOTED}|[^\s'-]\S*?{_END})"
_OPTION = rf"--?[a-z][a-z-]*(?:[ =]{_VALUE})?"
_FIRST_OPERAND = r"\S+(?= -)"  # a plain word before an option, such as the data folder
_OPERAND = rf"(?=\S*[/\d_A-Z-]){_VALUE}"  # a path, a number or a placeholder; another word belongs to the sentence
_GROUPS = "embeddings|kubeflow|releases|sample"
_LAST = r"(?:^|(?<=: )){called} (?:(?![,;.] ).)+$"
_COMMAND = (
    r"(?:[A-Z_]+=\S+ )?{called} "
    rf"(?:(?:{_GROUPS}) )?[a-z]+(?: (?:{_OPTION}|{_QUOTED}|{_FIRST_OPERAND}|{_OPERAND}))*\S*"
)


def find_breaks(text: str, first_width: int, width: int, called: str) -> list[int]:
    """Returns the positions at which the second and further lines begin.

    Keeps words longer than a line whole; rich itself would break them.

    Args:
        text: one line of any length.
        first_width: columns of the first line.
        width: columns of the further lines.
        called: the command that the user typed to call Graft.
    """
    command = f"{_LAST}|{_COMMAND}".replace("{called}", re.escape(called))
    breaks, start, room = [], 0, first_width
    for word in re.finditer(rf"`[^`]+`\S*|{command}|{_OPTION}\S*|\S+", text):
        if text[start : word.start()].strip() and cell_len(text[start : word.end()]) > room:
            start, room = word.start(), width
            breaks.append(start)
    return breaks
