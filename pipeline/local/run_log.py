"""Log of a run, `graft.log`: the output of the process, with time (UTC), run, level and component in each line.

A line: `2026-11-26 18:11:02.123Z 20261126T181102-822Z-3f2a WARNING Trainer tensorflow: text`. Each line of a longer
record, such as a traceback, has all fields. Output from outside Python's logging has the source `output`.
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
# Warnings of every run, about nothing that is wrong; matched whole.
_NOISE = (
    # TFX's channel_resolver.py tests whether a message of the compiled pipeline is set; it is always set, and empty.
    re.compile(r"ArtifactQuery\.property_predicate is not supported\."),
    # Beam's of the wheel that Graft builds without binary code.
    re.compile(r'The \.whl package ".*-py3-none-any\.whl" provided in --extra_package must be binary-compatible .*'),
    # A deprecated call inside TFMA.
    re.compile(r"From \S+/tensorflow_model_analysis/\S+: tf_record_iterator .* is deprecated .*", re.DOTALL),
)


class RunLog:
    """Log of one run, with the former standard output and standard error.

    Attributes:
        run_id: id of the run, in each line.
        stdout, stderr: streams that the user sees.
        component: the running component, or "".
        finished: number of finished components.
    """

    def __init__(self, path: pathlib.Path, run_id: str, verbose: bool):
        """Redirects the output of the process, C++ included, to the log.

        Args:
            path: file to append to.
            run_id: id of the run.
            verbose: whether to show the lines on the standard error, too.
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
                start_new_session=True,  # Ctrl-C must not end the log before the run
            )
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        for descriptor in (source, sink, flushed):
            os.close(descriptor)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # else lines appear out of order
        _log_to_stderr()

    def start(self, component: str) -> None:
        """Sets the component of the lines that follow."""
        self.component = component
        self._send(COMPONENT, component)
        logging.getLogger(_OWN).info("started")

    def finish(self, state: str) -> None:
        """Logs the end of the component: "unchanged", or its seconds."""
        self.component, self.finished = "", self.finished + 1
        logging.getLogger(_OWN).info("finished: %s", state)
        self._send(COMPONENT, log_lines.NOTHING)

    def flush(self) -> None:
        """Waits until the log has all written lines, for at most 5 s."""
        self._send(FLUSH)
        if select.select([self._flushed], [], [], _FLUSH_SECONDS)[0]:
            os.read(self._flushed, 1)

    def _send(self, *fields: str) -> None:
        with contextlib.suppress(OSError):  # the process of the log was killed; the run continues without it
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(2, f"{MARK}{FIELD.join(fields)}\n".encode())


class _Formatter(logging.Formatter):
    """Formatter that marks each line of a record, with level and source, for `log_lines`."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{MARK}{LOG}{FIELD}{record.levelname}{FIELD}{_find_source(record)}{FIELD}"
        return "\n".join(head + line for line in super().format(record).splitlines())


def _log_to_stderr() -> None:
    """Sets up logging: warnings and errors of all libraries, and from INFO on the project's own code."""
    # TensorFlow, absl, TFX and Beam add no handlers of their own where the root logger has one.
    from absl import logging as absl_logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    handler.addFilter(is_worth_a_line)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    absl_logging.set_verbosity(absl_logging.INFO)  # the components log with absl


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drops the libraries' records below a warning, 8,000 lines in the demo, and `_NOISE`."""
    if record.levelno < logging.WARNING:
        return record.pathname.startswith(_ROOT) and not record.pathname.startswith(_PACKAGES)
    return not any(noise.fullmatch(record.getMessage()) for noise in _NOISE)


def _find_source(record: logging.LogRecord) -> str:
    """Returns the name of the logger; for the shared loggers "absl" and "root" the name of the module."""
    if record.name not in ("absl", "root"):
        return record.name
    path = record.pathname.removeprefix(_PACKAGES).removeprefix(_ROOT)
    return path.removesuffix(".py").replace("/", ".")
