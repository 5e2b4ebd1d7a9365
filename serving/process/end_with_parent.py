"""Script that runs a program which Linux ends when the parent process ends, even by SIGKILL.

    end_with_parent.py PARENT SIGNAL PROGRAM ARGUMENT ...

The script sets the signal and then executes the program. It is a separate process because code between fork and exec
may block for ever in a process with threads. It imports nothing of the project, so that it starts fast. The program
ignores SIGINT: Ctrl-C on a terminal reaches all its processes, and the parent decides how the program stops.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept through exec


def main(parent: int, number: int, command: list[str]) -> None:
    """Executes the program in place of this process, unless the parent has already ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() == parent:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.exit(f"{command[0]}: cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
