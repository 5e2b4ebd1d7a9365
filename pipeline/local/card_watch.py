"""Share of the time that the card waited while a component ran, as the driver's nvidia-smi tells it."""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

from serving.client import launch
from serving.process.cards import PROGRAM, VISIBLE, hides_all

WATCHED = ("Embedder", "Trainer")  # the components that compute on a card
_QUERY = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500")
_PATIENCE = 1.0  # seconds for the program to end, and for its last lines


class CardWatch:
    """Sums of the samples of nvidia-smi, one for each component."""

    def __init__(self) -> None:
        """Begins without a sample."""
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._sums: dict[str, tuple[float, int]] = {}

    def start(self, component: str) -> None:
        """Counts the samples from now on for a component, if the component is one of WATCHED."""
        with self._lock:
            self._running |= {component} & set(WATCHED)

    def finish(self, component: str) -> None:
        """Counts no more samples for a component."""
        with self._lock:
            self._running.discard(component)

    def add(self, line: str) -> None:
        """Counts a sample: the percentage of time in which a card computed. Another line counts nothing."""
        with contextlib.suppress(ValueError), self._lock:
            busy = float(line)
            for component in self._running:
                total, count = self._sums.get(component, (0.0, 0))
                self._sums[component] = total + busy, count + 1

    @property
    def waited(self) -> dict[str, float] | None:
        """Share of the time that the cards waited, 0 to 1 by component; None without a sample."""
        with self._lock:
            return {name: round(1 - total / count / 100, 3) for name, (total, count) in self._sums.items()} or None


@contextlib.contextmanager
def watch_card() -> Iterator[CardWatch]:
    """Runs nvidia-smi inside a `with` statement; starts no program where there is none, or all cards are hidden."""
    watch, program, visible = CardWatch(), shutil.which(PROGRAM), os.environ.get(VISIBLE)
    if not program or hides_all():
        yield watch
        return
    command = [program, *_QUERY, *([f"--id={visible}"] if visible else [])]
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = launch.start_process(command, stdout=subprocess.PIPE, **quiet)
    reader = threading.Thread(target=_read, args=(process, watch), name="card", daemon=True)
    reader.start()
    try:
        yield watch
    finally:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # no signal ends a process that hangs in the driver
            process.wait(_PATIENCE)
        reader.join(_PATIENCE)


def _read(process: "subprocess.Popen[bytes]", watch: CardWatch) -> None:
    """Counts the samples of a program until it ends."""
    if process.stdout:
        with process.stdout as lines:
            for line in lines:
                watch.add(line.decode(errors="replace"))
