"""Runs commands within a time for all of them, and samples their CPU time."""

import contextlib
import dataclasses
import shlex
import sys
import tempfile
import time

import psutil

from benchmarks.graft_run import ROOT

_INTERVAL = 0.25  # seconds between two samples


class SkippedError(Exception):
    """Error: a command did not fit into the time."""


@dataclasses.dataclass(frozen=True)
class Process:
    """Process that has ended.

    Attributes:
        seconds: wall clock, from the start to the end.
        printed: standard output.
        samples: pairs of a time, in seconds since 1970, and the CPU seconds of the process and its children until then.
    """

    seconds: float
    printed: str
    samples: list[tuple[float, float]]


class Clock:
    """Time that is left of the benchmark."""

    def __init__(self, minutes: float) -> None:
        """Starts."""
        self._end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()

    def run(self, needed: float, *command: str) -> Process:
        """Runs a command of this Python in the project's folder.

        Args:
            needed: seconds that the command is expected to take.
            command: arguments of Python.
        Raises:
            SkippedError: if less time is left, or the command was stopped at the limit.
        """
        if needed > self.left:
            raise SkippedError(f"skipped: needs some {needed:.0f} s, {max(self.left, 0):.0f} s are left")
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            started = time.monotonic()
            process = psutil.Popen([sys.executable, *command], cwd=ROOT, stdout=stdout, stderr=stderr)
            samples = self._watch(process)
            stdout.seek(0)
            stderr.seek(0)
            if process.returncode:
                raise SystemExit(f"{stderr.read()[-3000:]}\n{shlex.join(command)}: failed with {process.returncode}")
            return Process(time.monotonic() - started, stdout.read(), samples)

    def _watch(self, process: psutil.Popen) -> list[tuple[float, float]]:
        """Samples the CPU time of a process until it ends; kills it at the limit."""
        samples = [(time.time(), 0.0)]
        while process.poll() is None:
            # A process that has ended takes its seconds along, until its parent has waited for it.
            samples.append((time.time(), max(_count_cpu(process), samples[-1][1])))
            if self.left < 0:
                _kill(process)
                raise SkippedError("stopped at the limit")
            time.sleep(_INTERVAL)
        return samples


def _count_cpu(process: psutil.Process) -> float:
    """Counts the CPU seconds of a process and of those below it, also of those that have ended."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += sum(member.cpu_times()[:4])  # user, system, and both of children that have ended
    return total


def _kill(process: psutil.Process) -> None:
    for member in [*process.children(recursive=True), process]:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.wait()
