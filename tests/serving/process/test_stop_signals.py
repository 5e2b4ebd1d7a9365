"""Signals that end a server: no handler waits for a lock, and an end comes in time."""

import pathlib
import signal
import subprocess
import sys

import pytest

from serving.process import stop_signals

ROOT = pathlib.Path(__file__).parents[3]
STOPPED, ENDED = 5, 7  # exit codes
# Argument of the code: what it does when it has caught the signals.
PROGRAM = f"""
import os, signal, sys, threading, time
from serving.process import stop_signals
stopped = threading.Event()
with stop_signals.caught() as signals:
    stop_signals.watch(signals, stopped.set, lambda: os._exit({ENDED}), float(sys.argv[2]))
    exec(sys.argv[1])
    sys.exit({STOPPED} if stopped.wait(60) else 0)
"""
IGNORING_SIGINT = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
SEND = "os.kill(os.getpid(), signal.{})"


def run(code, seconds=600, prefix=(), program=PROGRAM):
    """Runs code in a process that has `seconds` to stop."""
    command = [*prefix, sys.executable, "-c", program, code, str(seconds)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_first_signal_asks_to_stop(name):
    """Work in progress goes on."""
    assert run(SEND.format(name)).returncode == STOPPED


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_second_signal_ends_at_once(second):
    """Long before the limit of 600 s."""
    done = run(f"{SEND.format('SIGINT')}; stopped.wait(); {SEND.format(second)}; time.sleep(600)")
    assert done.returncode == ENDED


def test_stop_that_takes_too_long_is_ended():
    """After 0.2 s here."""
    assert run(f"{SEND.format('SIGTERM')}; time.sleep(600)", seconds=0.2).returncode == ENDED


def test_signals_within_handlers_block_nothing():
    """A handler that took a lock waited for ever, as soon as one signal came within another's handler."""
    shower = "import itertools; [os.kill(os.getpid(), signal.SIGINT) for _ in itertools.count()]"
    assert run(shower).returncode == ENDED


def test_signal_that_was_ignored_before_is_caught():
    """A shell without job control starts its background jobs so."""
    assert run(SEND.format("SIGINT"), prefix=IGNORING_SIGINT).returncode == STOPPED


def test_signals_that_are_not_ignored_are_listed():
    """Of a server, whose parent gets SIGINT in its place."""
    code = "from serving.process.stop_signals import list_unignored; sys.exit(list_unignored() != [signal.SIGTERM])"
    command = [*IGNORING_SIGINT, sys.executable, "-c", f"import signal, sys; {code}"]
    assert subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode == 0


def test_signals_behind_a_stop_disturb_nothing():
    """The process is ending; a traceback of KeyboardInterrupt would say that something is wrong."""
    program = f"{PROGRAM.partition('    sys.exit')[0]}    stopped.wait(60)\n{SEND.format('SIGINT')}\nsys.exit(3)"
    done = run(SEND.format("SIGINT"), program=program)
    assert (done.returncode, done.stderr) == (3, b"")


def test_handlers_are_put_back_where_no_signal_came():
    """Later tests rely on this."""
    before = [signal.getsignal(number) for number in stop_signals.NUMBERS]
    with stop_signals.caught():
        assert [signal.getsignal(number) for number in stop_signals.NUMBERS] != before
    assert [signal.getsignal(number) for number in stop_signals.NUMBERS] == before
