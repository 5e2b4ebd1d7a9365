"""What a person sees. TFX, Beam and TensorFlow write to a log file instead."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

if TYPE_CHECKING:  # TFX, which this module is there to silence
    from pipeline.local_runner import Finished


class ComponentProgress:
    """A line per component: while it runs (on a terminal), and how long it took."""

    def __init__(self, console: Console):
        """Prints to a console."""
        self.finished: list[Finished] = []
        self._console = console
        self._name = ""
        self._spinner = Spinner("dots")
        # Live would send what TFX prints to the console as well.
        self._live = Live(self._spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> "ComponentProgress":
        """Starts the moving line."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it, whatever happened."""
        self._live.stop()
        if error:
            self._print(self._name, "stopped")

    def start(self, name: str) -> None:
        """Says that a component starts; without a terminal, in a line of its own."""
        self._name = name
        self._spinner.update(text=f"{name} ...")
        if not self._console.is_terminal:
            self._print(name, "started")

    def finish(self, component: "Finished") -> None:
        """Says how long it took."""
        self.finished.append(component)
        self._print(component.name, "unchanged" if component.cached else f"{component.seconds:.1f} s")

    def _print(self, name: str, state: str) -> None:
        self._console.print(f"  {name:<18} {state:>9}", highlight=False)


@contextlib.contextmanager
def muted_imports() -> Iterator[None]:
    """Drops what TensorFlow's C++ says while it is imported; no setting silences all of it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def redirect_noise(log: pathlib.Path) -> Console:
    """Sends what the process writes from now on to a file, C++ included.

    Args:
        log: a file to append to.
    Returns:
        A console on what was the standard output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return Console(file=terminal)
