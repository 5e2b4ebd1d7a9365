"""Shows how a run goes: a line per component, and while it runs how far it is."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from components.progress import Event

if TYPE_CHECKING:  # TFX, which takes seconds
    from pipeline.local_runner import Finished

_SECONDS_BETWEEN_LINES = 30.0


class ProgressDisplay:
    """On a terminal a bar with rate and time left; elsewhere a plain line now and then."""

    def __init__(self, console: Console):
        """Prints to a console."""
        self.finished: list[Finished] = []
        self._console = console
        self._totals: dict[str, int] = {}
        self._component = ""
        self._steps: dict[str, TaskID] = {}
        self._said = 0.0
        # Live would send what TFX prints to the console as well.
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            Figures(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "ProgressDisplay":
        """Starts the moving lines."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends them, whatever happened."""
        self._clear()
        self._bars.stop()
        if error and self._component:
            self._print_component(self._component, "stopped")

    def expect(self, step: str, total: int) -> None:
        """Says how many there will be of what a component counts."""
        self._totals[step] = total

    def start(self, component: str) -> None:
        """A component starts."""
        self._component = component
        self._said = time.monotonic()
        self._show("", component)

    def update(self, event: Event) -> None:
        """A component says how far it is."""
        if event.note:
            self._console.print(
                f"    {event.note}", highlight=False, markup=False, soft_wrap=not self._console.is_terminal
            )
            return
        if event.step not in self._steps:
            self._show(event.step, f"{self._component}: {event.step}")
        total = event.total or self._totals.get(event.step)
        self._bars.update(self._steps[event.step], advance=event.done, total=total)
        task = next(t for t in self._bars.tasks if t.id == self._steps[event.step])
        if not self._console.is_terminal and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._console.print(f"    {self._component}: {event.step}: {describe(task)}", highlight=False, markup=False)
        if task.finished:
            self._show("", self._component)

    def finish(self, component: "Finished") -> None:
        """Says how long it took."""
        self._clear()
        self._component = ""
        self.finished.append(component)
        self._print_component(component.name, "unchanged" if component.cached else f"{component.seconds:.1f} s")

    def _show(self, step: str, description: str) -> None:
        """Takes the place of what was shown before; without a step, for what a component does and does not count."""
        self._clear()
        self._steps[step] = self._bars.add_task(description, total=None)

    def _clear(self) -> None:
        for task in self._steps.values():
            self._bars.remove_task(task)
        self._steps.clear()

    def _print_component(self, name: str, state: str) -> None:
        self._console.print(f"  {name:<18} {state:>9}", highlight=False)


class Figures(ProgressColumn):
    """How many, how many a second, and how long it will take."""

    def render(self, task: Task) -> Text:
        """Renders the figures of one step; none for a component that does not count."""
        return Text(describe(task) if task.completed else "")


def describe(task: Task) -> str:
    """How far a step is, in words: "640 of 1186, 13.1/s, 0:42 left"."""
    done = f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")
    rate = task.completed / task.elapsed if task.elapsed else 0.0
    words = [done, f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s"]
    if task.total and rate:
        left = round(max(0.0, task.total - task.completed) / rate)
        hours, minutes = left // 3600, left // 60 % 60
        words.append((f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{left % 60:02} left")
    return ", ".join(words)
