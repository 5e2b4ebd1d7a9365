"""Progress of a run: a line for each component, with step, rate and remaining time while it runs."""

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from components.progress import Event
from pipeline.console.printing import print_indented

if TYPE_CHECKING:  # it imports TFX, which takes seconds
    from pipeline.local.runner import Finished

_SECONDS_BETWEEN_LINES = 30.0
_NARROW = 80  # columns; a narrower terminal shows neither bar nor rate
_BAR_WIDTH = 20
_BEGUN = "begun"  # field of a task: things done at its first event that counts some, and the seconds until then
# Steps of TFX's own components, which report no progress.
_STEPS_OF_TFX = {
    "StatisticsGen": "computing statistics of the images",
    "ExampleValidator": "comparing the statistics with the schema",
    "Transform": "tracing the preprocessing graph",
}
# Steps of TFX's code that follow a counted step.
_STEPS_AFTER = {"images evaluated": "computing and writing the metrics"}


class ProgressDisplay:
    """Display of a run: on a terminal a bar or the seconds of a step; elsewhere a plain line at intervals."""

    def __init__(self, console: Console):
        """Prints to a console."""
        self.finished: list[Finished] = []
        self._console = console
        self._totals: dict[str, int] = {}
        self._component = ""
        self._steps: dict[str, TaskID] = {}
        self._printed = 0.0
        self._lock = threading.RLock()  # any thread may send events, and a step replaces another
        self._ended = threading.Event()
        # Redirected streams would print TFX's output to the console as well.
        self._bars = Progress(
            SpinnerColumn(table_column=Column(no_wrap=True)),
            _Description(),
            Bar(console),
            Figures(console),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "ProgressDisplay":
        """Starts the bars; without a terminal a thread that prints plain lines."""
        self._bars.start()
        if not self._console.is_terminal:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the display; prints the component that an error has stopped."""
        self._ended.set()
        with self._lock:
            self._clear()
            self._bars.stop()
            if error and self._component:
                self._print_component(self._component, "stopped")

    def expect(self, step: str, total: int) -> None:
        """Sets the total of a step that a later component counts."""
        self._totals[step] = total

    def prepare(self, step: str) -> None:
        """Shows a step before the first component."""
        with self._lock:
            self._printed = time.monotonic()
            self._show("", step)

    def start(self, component: str) -> None:
        """Shows that a component starts."""
        with self._lock:
            self._component = component
            self._printed = time.monotonic()
            self._show("", self._describe_step(_STEPS_OF_TFX.get(component, "")))

    def update(self, event: Event) -> None:
        """Shows an event of a component: a note, or the progress of a step."""
        if event.note:
            print_indented(self._console, event.note, 4)
            return
        with self._lock:
            if event.step not in self._steps:
                self._show(event.step, self._describe_step(event.step))
            total = event.total or self._totals.get(event.step)
            task = count_done(self._bars, self._steps[event.step], event.done, total)
            self.print_if_due()
            if task.finished:
                self._show("", self._describe_step(_STEPS_AFTER.get(event.step, "")))

    def finish(self, component: "Finished") -> None:
        """Prints a finished component with its duration."""
        with self._lock:
            self._clear()
            self._component = ""
            self.finished.append(component)
            self._print_component(component.name, describe_state(component))

    def print_if_due(self) -> None:
        """Prints the progress without a terminal, if nothing was printed for 30 s."""
        with self._lock:
            due = time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES
            if self._console.is_terminal or not due or not self._steps:
                return
            self._printed = time.monotonic()
            task = self._find_task()
            line = f"{task.description}: " if task.completed else f"still running: {task.description}, "
            self._console.print(f"    {line}{describe(task)}", highlight=False, markup=False)

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            self.print_if_due()

    def _describe_step(self, step: str) -> str:
        return ": ".join(filter(None, [self._component, step]))

    def _show(self, step: str, description: str) -> None:
        """Replaces the shown step; `step` is "" for work that a component does not count."""
        self._clear()
        self._steps[step] = self._bars.add_task(description, total=None)

    def _find_task(self) -> Task:
        [task] = (task for task in self._bars.tasks if task.id in self._steps.values())
        return task

    def _clear(self) -> None:
        for task in self._steps.values():
            self._bars.remove_task(task)
        self._steps.clear()

    def _print_component(self, name: str, state: str) -> None:
        self._console.print(f"  {name:<18} {state:>9}", highlight=False)


class _Description(ProgressColumn):
    """Column with component and step on one line; the only column that is cut on a narrow terminal."""

    def render(self, task: Task) -> Text:
        """Renders the description, without markup."""
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class Bar(ProgressColumn):
    """Column with the bar of a step that has a total."""

    def __init__(self, console: Console):
        """Takes the console, whose width may change."""
        super().__init__(Column(no_wrap=True))
        self._console = console

    def render(self, task: Task) -> RenderableType:
        """Renders the bar; an empty text without a total or on a narrow terminal."""
        if not task.total or self._console.width < _NARROW:
            return Text("")
        return ProgressBar(total=task.total, completed=task.completed, width=_BAR_WIDTH)


class Figures(ProgressColumn):
    """Column with count, rate and remaining time of a step; with its seconds if the step counts nothing."""

    def __init__(self, console: Console):
        """Takes the console, whose width may change."""
        super().__init__(Column(no_wrap=True))
        self._console = console

    def render(self, task: Task) -> Text:
        """Renders the figures of one step."""
        return Text(describe(task, with_rate=self._console.width >= _NARROW))


def count_done(bars: Progress, number: TaskID, done: int = 1, total: int | None = None) -> Task:
    """Counts things of a step as done, and notes the end of the first ones, from which on `Figures` tells a rate."""
    bars.update(number, advance=done, total=total)
    [task] = (task for task in bars.tasks if task.id == number)
    if done:
        task.fields.setdefault(_BEGUN, (task.completed, task.elapsed or 0.0))
    return task


def describe(task: Task, with_rate: bool = True) -> str:
    """Returns the progress of a step: "640 of 1,186, 13.1/s, 0:42 left"; its time, "31 s", if it counts nothing."""
    if not task.completed:
        return f"{task.elapsed or 0:.0f} s"
    words = [f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")]
    rate = _measure_rate(task)
    if rate and with_rate:
        words.append(f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s")
    if rate and task.total:
        left = round(max(0.0, task.total - task.completed) / rate)
        hours, minutes = left // 3600, left // 60 % 60
        words.append((f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{left % 60:02} left")
    return ", ".join(words)


def _measure_rate(task: Task) -> float:
    """Returns the number of things done per second since the end of the first one; 0 before the second one.

    The first one takes longer than the others: it builds a graph, compiles it, or opens files. It is over when a
    component reports it, so the display does not know how long it took.
    """
    done, elapsed = task.fields.get(_BEGUN, (0, 0.0))
    seconds = (task.elapsed or 0.0) - elapsed
    return (task.completed - done) / seconds if seconds > 0 else 0.0


def describe_state(component: "Finished") -> str:
    """Returns "unchanged" for a cached component, else its duration: "5.3 s"."""
    return "unchanged" if component.cached else f"{component.seconds:.1f} s"
