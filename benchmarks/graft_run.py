"""Runs `./graft run` and other commands in processes of their own and measures them; what the benchmarks share."""

import dataclasses
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from typing import IO

from pipeline.workspace.manifest import RunResult

ROOT = pathlib.Path(__file__).parents[1]
# Each run trains all of its epochs and pushes, whatever its weights and its images are worth.
TO_THE_END = ("--early-stopping-patience", "1000", "--min-accuracy", "0")
_TAIL = 3000  # characters of what a failed command printed


@dataclasses.dataclass(frozen=True)
class Measured:
    """A process that went through.

    Attributes:
        seconds: wall clock from its start to its end, imports included.
        peak_bytes: the most resident memory of the process; had it processes below it, of the largest one, and
            not of all together.
        printed: to its standard output.
    """

    seconds: float
    peak_bytes: int
    printed: str


def measure(*command: str) -> Measured:
    """Runs a command in the project's folder; the end of what it has to say is shown if it fails."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{_read(stderr)[-_TAIL:]}\n{shlex.join(command)}: failed with {process.returncode}")
        return Measured(seconds, usage.ru_maxrss * 1024, _read(stdout))  # Linux counts in kB


def run_graft(data: pathlib.Path, out: pathlib.Path, *options: str) -> Measured:
    """Runs the pipeline as `./graft run` does once it is set up."""
    return measure(sys.executable, str(ROOT), "run", "--data", str(data), "--out", str(out), *options)


def load_manifest(out: pathlib.Path) -> RunResult:
    """Reads the manifest of the newest run in a workspace, which trained a model or took that of an earlier run."""
    return RunResult.read(str(max((out / "runs").glob(f"*/{RunResult.FILE}")).parent))


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
