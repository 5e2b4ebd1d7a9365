"""The display of a run: bars on a terminal, plain lines elsewhere."""

import io
import re
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from waiting import wait_until

from components.progress import Event, listen, report
from pipeline.convert import summary
from pipeline.local import progress_display
from pipeline.local.progress_display import ProgressDisplay


def component(name, cached=False):
    return types.SimpleNamespace(name=name, cached=cached, seconds=12.34)


def plain(printed):
    """Returns a text without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: now.seconds)
    return now


def show(clock, events, terminal=False, width=100):
    """Returns the output while a Trainer reports events, each (seconds passed, event)."""
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, legacy_windows=False)
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


@pytest.mark.parametrize("announced", [[], [(0, Event("fine-tuning steps", 0, 155))]], ids=["", "announced"])
def test_rate_counts_from_the_end_of_the_first_step(clock, announced):
    """The first step compiles for 40 s: alone it tells no rate. Five more in 10 s are 0.5 a second."""
    steps = [(40, Event("fine-tuning steps", 1, 155)), *[(2, Event("fine-tuning steps", 1, 155))] * 5]
    printed = plain(show(clock, [*announced, *steps], terminal=True))
    first, *_, last = re.findall(r"fine-tuning steps .*?(\d+ of 155.*?) *[\r\n]", printed)
    assert first == "1 of 155"
    assert last == "6 of 155, 0.5/s, 4:58 left"


def test_what_one_report_counts_has_no_rate(clock):
    """Images that were stored by an earlier run are counted at once, and say nothing about the time that is left."""
    printed = plain(show(clock, [(1, Event("images embedded", 900)), (5, Event("images embedded", 10))], terminal=True))
    assert re.search(r"900 of 1,000 *[\r\n]", printed)
    assert "910 of 1,000, 2.0/s, 0:45 left" in printed


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


def test_step_that_counts_nothing_shows_its_seconds(clock):
    """Something moves, and there is no bar that stands still; the next step begins at 0."""
    events = [(1, Event("exporting the model")), (12, Event("exporting the model")), (1, Event("drawing"))]
    printed = show(clock, events, terminal=True)
    assert re.search(r"Trainer: exporting the model +12 s", plain(printed))
    assert re.search(r"Trainer: drawing +0 s", plain(printed))
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" not in printed


@pytest.mark.parametrize("step", ["images embedded", "a step with a name that is longer than sixty columns are wide"])
def test_narrow_terminal_has_one_whole_line(clock, step):
    """What is done is cut before the figures are; without a bar and a rate there is room for both."""
    printed = show(clock, [(1, Event(step, 100, 1000)), (10, Event(step, 100, 1000))], terminal=True, width=60)
    lines = [line for line in re.split(r"[\r\n]+", plain(printed)) if line.strip() and "12.3 s" not in line]
    lines = lines[:-1]  # drawn once more behind the end
    assert max(map(len, map(str.rstrip, lines))) <= 60
    assert re.fullmatch(r"\S Trainer: \S.* 200 of 1,000, \d:\d\d left *", lines[-1])


def test_without_a_terminal_a_step_that_counts_nothing_is_heard_of(clock):
    """Nothing is reported meanwhile: a clock prints the line."""
    console = Console(file=io.StringIO(), width=100)
    display = ProgressDisplay(console)
    display._bars.get_time = lambda: clock.seconds
    with display:
        display.start("Transform")
        for clock.seconds in (29.0, 31.0, 32.0, 62.0):
            display.print_if_due()
        lines = console.file.getvalue().splitlines()
    assert lines == [f"    still running: Transform: tracing the preprocessing graph, {n} s" for n in (31, 62)]


def test_clock_prints_while_a_component_is_silent(monkeypatch):
    """In a thread of its own, which ends with the display."""
    monkeypatch.setattr(progress_display, "_SECONDS_BETWEEN_LINES", 0.0)
    console = Console(file=io.StringIO(), width=100)
    before = set(threading.enumerate())
    with ProgressDisplay(console) as display:
        display.prepare("loading TensorFlow and TFX")
        wait_until(console.file.getvalue)
    assert re.match(r"    still running: loading TensorFlow and TFX, \d+ s\n", console.file.getvalue())
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_steps_from_several_threads_do_not_meet(clock):
    """Each takes the place of the other; none finds its own gone."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with ProgressDisplay(console) as display, ThreadPoolExecutor(4) as threads:
        display.start("ServingValidator")
        list(threads.map(lambda i: display.update(Event(f"step {i % 7}", 1, 3)), range(500)))
        display.finish(component("ServingValidator"))


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
    """A component on a remote worker has no listener."""
    report("images read", 1)


def test_a_bar_of_other_commands_has_a_rate(monkeypatch):
    """`./graft convert` counts files with the same columns."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    monkeypatch.setattr(summary, "make_console", lambda stderr: console)
    with summary.show_progress(100) as advance:
        advance()
        time.sleep(0.01)
        advance()
        time.sleep(0.2)
    assert re.search(r"2 of 100, [\d.]+/s, \d:\d\d left", plain(console.file.getvalue()))
