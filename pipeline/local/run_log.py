"""`graft.log`: all that a run's process writes, with time (UTC), run, level and component in each line.

A line: `2026-11-26 18:11:02.123Z 20261126T181102-822Z-3f2a WARNING Trainer tensorflow: text`. Of a record of several
lines, such as a traceback, each has all fields. What did not come through Python's logging has the source `output`.
"""

import contextlib
import io
import logging
import os
import pathlib
import re
import select
import subprocess
import sys
import sysconfig

from pipeline.local import log_lines
from pipeline.local.log_lines import COMPONENT, FIELD, FLUSH, LOG, MARK

_ROOT = f"{pathlib.Path(__file__).parents[2]}/"
_PACKAGES = f"{sysconfig.get_path('purelib')}/"
_OWN = "graft"
_FLUSH_SECONDS = 5.0
# Said in every run, of what is as it should be; matched whole.
_NOISE = (
    # TFX's channel_resolver.py asks whether an empty message of the compiled pipeline is there, and it always is.
    re.compile(r"ArtifactQuery\.property_predicate is not supported\."),
    # Of a call within TFMA, which nobody but TFMA can change.
    re.compile(r"From \S+/tensorflow_model_analysis/\S+: tf_record_iterator .* is deprecated .*", re.DOTALL),
)


class RunLog:
    """The log of one run, and what were the standard output and the standard error before it.

    Attributes:
        run_id: in each line.
        stdout, stderr: what a person sees.
        component: the one that is at work, or "".
        finished: number of components that have finished.
    """

    def __init__(self, path: pathlib.Path, run_id: str, verbose: bool):
        """Sends what the process writes from now on to the log, C++ included.

        Args:
            path: a file to append to.
            run_id: of the run.
            verbose: whether to show it on the standard error, too.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        self.run_id = run_id
        self.component, self.finished = "", 0
        self.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
        self.stderr = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
        shown = [self.stderr.fileno()] if verbose else []
        source, sink = os.pipe()
        self._flushed, flushed = os.pipe()
        with open(path, "ab") as file:
            subprocess.Popen(
                [sys.executable, "-I", "-S", log_lines.__file__, run_id, *map(str, shown)],
                stdin=source,
                stdout=flushed,
                stderr=file,
                pass_fds=shown,
                start_new_session=True,  # Ctrl-C is for the run; the log ends when the run has ended
            )
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        for descriptor in (source, sink, flushed):
            os.close(descriptor)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # else what is printed comes behind what was said later
        _log_to_stderr()

    def start(self, component: str) -> None:
        """Names a component in the lines that follow."""
        self.component = component
        self._tell(COMPONENT, component)
        logging.getLogger(_OWN).info("started")

    def finish(self, state: str) -> None:
        """Says how the component ended: "unchanged", or its seconds."""
        self.component, self.finished = "", self.finished + 1
        logging.getLogger(_OWN).info("finished: %s", state)
        self._tell(COMPONENT, log_lines.NOTHING)

    def flush(self) -> None:
        """Waits until all that was written is in the log, or for some seconds."""
        self._tell(FLUSH)
        if select.select([self._flushed], [], [], _FLUSH_SECONDS)[0]:
            os.read(self._flushed, 1)

    def _tell(self, *fields: str) -> None:
        with contextlib.suppress(OSError):  # somebody has killed its process; the run goes on without it
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(2, f"{MARK}{FIELD.join(fields)}\n".encode())


class _Formatter(logging.Formatter):
    """Marks each line of a record, with level and source, for `log_lines`."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{MARK}{LOG}{FIELD}{record.levelname}{FIELD}{_find_source(record)}{FIELD}"
        return "\n".join(head + line for line in super().format(record).splitlines())


def _log_to_stderr() -> None:
    """Logs warnings and errors of all libraries, and what our own code says besides."""
    # TensorFlow, absl, TFX and Beam add no handlers of their own where the root logger has one.
    from absl import logging as absl_logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    handler.addFilter(is_worth_a_line)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    absl_logging.set_verbosity(absl_logging.INFO)  # our components log with it


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drops what the libraries say below a warning, 8,000 lines in the demo, and `_NOISE`."""
    if record.levelno < logging.WARNING:
        return record.pathname.startswith(_ROOT) and not record.pathname.startswith(_PACKAGES)
    return not any(noise.fullmatch(record.getMessage()) for noise in _NOISE)


def _find_source(record: logging.LogRecord) -> str:
    """Returns the logger's name; of the loggers that all modules share, the module's."""
    if record.name not in ("absl", "root"):
        return record.name
    path = record.pathname.removeprefix(_PACKAGES).removeprefix(_ROOT)
    return path.removesuffix(".py").replace("/", ".")
