"""Prefixes each line of `graft.log` with time (UTC), run, level and component; see `run_log`.

    log_lines.py RUN_ID [DESCRIPTOR]    from the standard input to the standard error, and to another file descriptor

Runs as a process of its own. It still reads the pipe after C++ has aborted the run. A thread of the run could not read
a full pipe while C++ holds Python's lock. It imports nothing of the project, so that it starts fast.
"""

import contextlib
import datetime
import os
import re
import sys
from collections.abc import Iterator

# Separators of a line for this process, MARK kind FIELD field FIELD ...: ASCII's record and unit separators.
MARK, FIELD = "\x1e", "\x1f"
LOG, COMPONENT, FLUSH = "log", "component", "flush"
_FIELDS = {LOG: 3, COMPONENT: 1, FLUSH: 0}  # number of fields, by kind; the text of a line may contain a mark
NOTHING = "-"
OUTPUT = "output"  # source of a line that did not come from Python's logging
_LONGEST = 1 << 16  # bytes
_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
# Abseil's "W0000 00:00:1732... file.cc:1]", and TensorFlow's "2026-11-26 18:11:02.123456: W tensorflow/...".
_CPP_LEVEL = re.compile(r"([IWEF])\d{4} \d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ([IWEF]) ")
# Colours, cursor movements, titles; then any other control character and changes of direction. A terminal that shows
# the log would obey them.
_ESCAPES = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[ -~])"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)


def main(run_id: str, *others: str) -> None:
    """Copies lines until every process has closed the other end of the pipe."""
    targets = [2, *map(int, others)]
    component = NOTHING
    for line in read_lines(0):
        kind, *fields = parse(line)
        if kind == COMPONENT:
            component = fields[0]
        elif kind == FLUSH:
            os.write(1, b"\n")
        elif fields[-1].strip():
            _write(targets, render(run_id, component, *fields))


def read_lines(source: int) -> Iterator[str]:
    """Yields the lines of a file descriptor; a mark begins a new line."""
    rest = b""
    while chunk := os.read(source, _LONGEST):
        *lines, rest = (rest + chunk).replace(MARK.encode(), b"\n" + MARK.encode()).split(b"\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        yield from (line.decode(errors="replace") for line in lines)
    yield rest.decode(errors="replace")


def parse(line: str) -> list[str]:
    """Returns kind and fields of a line; the fields of a line of the log are level, source and text."""
    kind, *fields = line[1:].split(FIELD, 3)
    if line.startswith(MARK) and len(fields) == _FIELDS.get(kind):
        return [kind, *fields]
    found = _CPP_LEVEL.match(line)
    level = _LEVELS[found[1] or found[2]] if found else NOTHING
    return [LOG, level, OUTPUT, line]


def render(run_id: str, component: str, level: str, source: str, text: str) -> str:
    """Returns one line of the log; of a text that overwrites itself, such as a progress bar, the last state."""
    # UTC, as in the run's id: local time repeats an hour when summer time ends.
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    text = _ESCAPES.sub("", text.rstrip("\r").rpartition("\r")[2])
    return f"{now}Z {run_id} {level} {component} {source}: {text}\n"


def _write(targets: list[int], line: str) -> None:
    """Writes to each target; skips a full or closed one, because the run must not wait for its log."""
    for target in targets:
        with contextlib.suppress(OSError):
            os.write(target, line.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
