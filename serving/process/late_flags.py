"""Flags that a server gets after its start, on its standard input, so that it can import its libraries before."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, cast

WAIT_FOR_FLAGS = "--wait-for-flags"  # only argument of a server that waits


def send_flags(process: "subprocess.Popen[bytes]", flags: Sequence[str]) -> bool:
    """Sends flags to a server that waits for them; returns False if the server has ended."""
    try:
        with cast(IO[bytes], process.stdin) as pipe:
            pipe.write(json.dumps(list(flags)).encode())
    except OSError:  # a broken pipe
        return False
    return process.poll() is None


def receive_flags(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a server, or the flags on its standard input if it is to wait for them.

    Raises:
        SystemExit: if the process that would send the flags has closed the pipe without.
    """
    if list(arguments) != [WAIT_FOR_FLAGS]:
        return list(arguments)
    text = sys.stdin.read()
    if not text:
        sys.exit(0)
    return [str(flag) for flag in json.loads(text)]
