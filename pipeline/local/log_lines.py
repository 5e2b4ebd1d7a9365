"""Puts time (UTC), run, level and component before each line of `graft.log`; see `run_log`.

    log_lines.py RUN_ID [DESCRIPTOR]    from the standard input to the standard error, and to another file descriptor

A process of its own. What C++ says before it aborts is still in the pipe when its process is gone, and a thread could
not read a full pipe while C++ holds Python's lock. It imports nothing of the project, so that it starts in no time.
"""

import contextlib
import datetime
import os
import re
import sys
from collections.abc import Iterator

# Before a line for this process: what it is, and fields. ASCII's own signs for that.
MARK, FIELD = "\x1e", "\x1f"
LOG, COMPONENT, FLUSH = "log", "component", "flush"
_FIELDS = {LOG: 3, COMPONENT: 1, FLUSH: 0}  # the number of each; a name in a line may hold a mark
NOTHING = "-"
OUTPUT = "output"  # the source of what did not come through Python's logging
_LONGEST = 1 << 16  # bytes
_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
# Abseil's "W0000 00:00:1732... file.cc:1]", and TensorFlow's "2026-11-26 18:11:02.123456: W tensorflow/...".
_CPP_LEVEL = re.compile(r"([IWEF])\d{4} \d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ([IWEF]) ")
# Colours, cursor movements, titles; then any other control character and
# changes of direction. They would act on the terminal that shows them.
_ESCAPES = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[ -~])"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)


def main(run_id: str, *others: str) -> None:
    """Copies lines until no process has the other end of the pipe any more."""
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
    """Yields the lines of a file descriptor; a mark begins a line wherever it is."""
    rest = b""
    while chunk := os.read(source, _LONGEST):
        *lines, rest = (rest + chunk).replace(MARK.encode(), b"\n" + MARK.encode()).split(b"\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        yield from (line.decode(errors="replace") for line in lines)
    yield rest.decode(errors="replace")


def parse(line: str) -> list[str]:
    """Returns what a line is and its fields; of one to be written: level, source and text."""
    kind, *fields = line[1:].split(FIELD, 3)
    if line.startswith(MARK) and len(fields) == _FIELDS.get(kind):
        return [kind, *fields]
    found = _CPP_LEVEL.match(line)
    level = _LEVELS[found[1] or found[2]] if found else NOTHING
    return [LOG, level, OUTPUT, line]


def render(run_id: str, component: str, level: str, source: str, text: str) -> str:
    """Returns one line of the log; of a text that is written over itself, as a progress bar is, the last state."""
    # In UTC, as the run's id; local time has one hour twice when summer time ends.
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    text = _ESCAPES.sub("", text.rstrip("\r").rpartition("\r")[2])
    return f"{now}Z {run_id} {level} {component} {source}: {text}\n"


def _write(targets: list[int], line: str) -> None:
    """Writes to each target; one that is full or closed is passed over, for the run must not wait for its log."""
    for target in targets:
        with contextlib.suppress(OSError):
            os.write(target, line.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
