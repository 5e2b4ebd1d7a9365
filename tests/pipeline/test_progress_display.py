"""What a person sees of a run: bars on a terminal, plain lines elsewhere."""

import io
import re
import types

import pytest
from rich.console import Console

from components.progress import Event, listen, report
from pipeline import progress_display
from pipeline.progress_display import ProgressDisplay


def component(name, cached=False):
    return types.SimpleNamespace(name=name, cached=cached, seconds=12.34)


@pytest.fixture
def clock(monkeypatch):
    """A time that the test sets."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: now.seconds)
    return now


def show(clock, events, terminal=False):
    """What is printed while a Trainer reports events, each (seconds passed, event)."""
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, legacy_windows=False)
    display = ProgressDisplay(console)
    display._bars.get_time = lambda: clock.seconds
    for task in display._bars.tasks:
        task._get_time = display._bars.get_time
    with display, listen(display.update):
        display.start("Trainer")
        display.expect("images embedded", 1000)
        for seconds, event in events:
            clock.seconds += seconds
            report(event.step, event.done, event.total, event.note)
            display._bars.refresh()
        display.finish(component("Trainer"))
    return console.file.getvalue()


def test_without_a_terminal_a_line_comes_now_and_then(clock):
    """With how many, how fast and how long; not a line for each image."""
    printed = show(clock, [(1, Event("images embedded", 1))] + [(1, Event("images embedded", 10))] * 50)
    lines = [line.strip() for line in printed.splitlines()]
    assert len(lines) == 2
    assert lines[0].startswith("Trainer: images embedded: 301 of 1,000, 10/s, 1:")
    assert lines[0].endswith(" left")
    assert lines[1].split() == ["Trainer", "12.3", "s"]


def test_figures_of_an_epoch_get_a_line_each(clock):
    """In either mode; brackets in it are no markup."""
    for terminal in (False, True):
        printed = show(clock, [(1, Event("head", note="head epoch 1 of 5: loss 0.5 [x]"))], terminal)
        assert "    head epoch 1 of 5: loss 0.5 [x]\n" in printed


def test_on_a_terminal_a_bar_moves(clock):
    """Name, step, figures; it is gone in the end."""
    printed = show(clock, [(1, Event("images embedded", 10)), (1, Event("images embedded", 10))], terminal=True)
    assert "Trainer: images embedded" in printed
    assert "20 of 1,000" in printed
    assert re.search(r"Trainer +12\.3 s", printed)


def test_component_that_says_nothing_is_one_line(clock):
    """Unchanged ones, too."""
    console = Console(file=io.StringIO(), width=100)
    with ProgressDisplay(console) as display:
        display.start("Transform")
        display.finish(component("Transform", cached=True))
    assert console.file.getvalue().split() == ["Transform", "unchanged"]


def test_component_that_fails_is_named():
    """Where it stopped, before the message why."""
    console = Console(file=io.StringIO(), width=100)

    def fail():
        with ProgressDisplay(console) as display:
            display.start("DataGate")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert console.file.getvalue().split() == ["DataGate", "stopped"]


def test_nobody_listening_costs_nothing():
    """A component on a remote worker reports to no one."""
    report("images read", 1)
