"""`graft.log`: each line has time, run, level and component; no line is lost, however a run ends."""

import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from pipeline.local import log_lines

ROOT = pathlib.Path(__file__).parents[3]
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z (\S+) (INFO|WARNING|ERROR|CRITICAL|-) (\S+) (\S+): (.*)")
START = """
import logging, os, pathlib, sys, warnings
from pipeline.local.run_log import RunLog
log = RunLog(pathlib.Path("graft.log"), "run-1", verbose=False)
"""


@pytest.fixture
def write(tmp_path):
    """Runs Python code after `log` was made; returns the lines as (run, level, component, source, text).

    Without `log.flush()` in it, the last are written just after its end: `last` is a text to wait for.
    """

    def run(code, *, status=0, last=""):
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{START}\n{code}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == status, done.stderr
        deadline = time.monotonic() + 30
        while last not in (tmp_path / "graft.log").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        lines = (tmp_path / "graft.log").read_text().splitlines()
        return [LINE.fullmatch(line).groups() for line in lines]

    return run


def test_line_names_run_level_component_and_source(write):
    """Records of Python's logging; a component is named only while it runs."""
    lines = write("""
logging.getLogger("some.library").warning("early")
log.start("Trainer"); logging.error("late"); log.finish("5.3 s")
logging.getLogger("some.library").error("after")
log.flush()
""")
    assert lines == [
        ("run-1", "WARNING", "-", "some.library", "early"),
        ("run-1", "INFO", "Trainer", "graft", "started"),
        ("run-1", "ERROR", "Trainer", "<string>", "late"),
        ("run-1", "INFO", "Trainer", "graft", "finished: 5.3 s"),
        ("run-1", "ERROR", "-", "some.library", "after"),
    ]


def test_what_goes_past_the_logging_has_the_fields_too(write):
    """print(), a subprocess, a Python warning, and C++ with its own level."""
    lines = write(r"""
print("printed")
os.write(2, b"W0000 00:00:1732 file.cc:1] careful\n")
os.write(1, b"2026-11-26 18:11:02.123456: E tensorflow/core.cc:9] wrong\n")
os.system("echo from a shell")
warnings.warn("look out")
log.flush()
""")
    assert [(level, source, text) for _, level, _, source, text in lines[:4]] == [
        ("-", "output", "printed"),
        ("WARNING", "output", "W0000 00:00:1732 file.cc:1] careful"),
        ("ERROR", "output", "2026-11-26 18:11:02.123456: E tensorflow/core.cc:9] wrong"),
        ("-", "output", "from a shell"),
    ]
    assert lines[4][1:4] == ("WARNING", "-", "py.warnings")
    assert lines[4][4].endswith("UserWarning: look out")


def test_lines_said_before_a_process_dies_are_there(write):
    """As of C++ that aborts: neither Python's end nor a thread has a say in it."""
    said = 'os.write(2, b"F0000 00:00:1 check failed\\n" * 1000 + b"the very last")'
    lines = write(f"{said}; os.abort()", status=-signal.SIGABRT, last="the very last")
    assert len(lines) == 1001
    assert lines[0][1] == "CRITICAL"
    assert lines[-1][4] == "the very last"


def test_process_that_outlives_the_run_does_not_hold_it_up(write):
    """It has the pipe, and goes on to be heard."""
    lines = write('os.system("(sleep 0.5; echo later) & "); print("now"); log.flush(); os._exit(0)')
    assert [text for *_, text in lines] == ["now"]


def test_log_that_cannot_be_written_holds_nothing_up(write):
    """Its process was killed: writing fails, waiting does not last."""
    write("""
import psutil, signal
for child in psutil.Process().children():
    child.send_signal(signal.SIGKILL); child.wait()
logging.error("y" * 1_000_000)
log.start("Trainer"); log.flush(); os._exit(0)
""")


def test_traceback_has_all_fields_in_each_line(write):
    """A search for a run or a component finds the whole traceback."""
    lines = write("""
log.start("Evaluator")
try:
    raise ValueError("two\\nlines")
except ValueError as error:
    logging.error("it failed", exc_info=error)
log.flush()
""")[1:]
    assert {line[:4] for line in lines} == {("run-1", "ERROR", "Evaluator", "<string>")}
    first, second, *_, last_but_one, last = [line[4] for line in lines]
    assert (first, second) == ("it failed", "Traceback (most recent call last):")
    assert (last_but_one, last) == ("ValueError: two", "lines")


def test_noise_of_every_run_is_left_out(write):
    """Matched whole: what has something to add is kept, and so is what else the same module says."""
    said = "ArtifactQuery.property_predicate is not supported."
    wheel = 'The .whl package "/a b/graft-0.3.0-py3-none-any.whl" provided in --extra_package must be '
    wheel += "binary-compatible with the worker runtime environment."
    lines = write(f"""
from absl import logging as absl_logging
absl_logging.warning({said!r}); absl_logging.warning({said + " Really."!r}); absl_logging.warning("ContextQuery")
logging.warning({wheel!r}); logging.warning({wheel.replace("none-any", "cp310-linux")!r})
logging.getLogger("a.library").info("chatter")
log.flush()
""")
    assert [text for *_, text in lines] == [said + " Really.", "ContextQuery", wheel.replace("none-any", "cp310-linux")]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"10 %\r50 %\r100 %\r\n", ["100 %"]),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07and\x08 bell\x07\n", ["red and bell"]),
        (b"\n\n \nblank lines before\n", ["blank lines before"]),
        (b"half a line" + b"\x1elog\x1fINFO\x1fa.b\x1fwhole\n", ["half a line", "whole"]),
        (b"\xff is no UTF-8\n", ["\N{REPLACEMENT CHARACTER} is no UTF-8"]),
        (b"without an end", ["without an end"]),
        (b"z" * 100_000, ["z" * 65536 + "z" * 34464]),
    ],
)
def test_foreign_lines_do_no_harm_to_a_terminal(tmp_path, written, shown):
    """Carriage returns, escapes, blank lines, torn lines, other bytes, and no end of line at all."""
    done = subprocess.run(
        [sys.executable, log_lines.__file__, "run-1"], input=written, capture_output=True, timeout=300, check=True
    )
    assert "".join(LINE.fullmatch(line)[5] for line in done.stderr.decode().splitlines()) == "".join(shown)


def test_verbose_shows_what_is_logged(tmp_path):
    """The same lines on the standard error."""
    code = START.replace("False", "True") + 'print("printed"); log.flush()'
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == ""
    assert done.stderr == (tmp_path / "graft.log").read_text() != ""


@pytest.fixture
def graft_run(warm_python, tmp_path):
    """Types `./graft run` where a line of Python takes the place of a check before the first component.

    Returns the exit code, the standard error, and the lines of the log.
    """
    for name in "ab":  # names are all that is looked at before that check
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(30):
            (tmp_path / "data" / name / f"{number}.png").write_bytes(b"")

    def run(code):
        script = f"""
import os, signal, sys, time
from pipeline import cli; from pipeline.local import run
def check_engine(*_):
    {code}
    return []
run.check_engine = check_engine
sys.argv = ["graft", "run", "data"]
cli.main()
"""
        command = [warm_python.program, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        lines = (tmp_path / "graft-out" / "graft.log").read_text().splitlines()
        return done.returncode, done.stderr, [LINE.fullmatch(line).groups() for line in lines]

    return run


@pytest.mark.slow
def test_unexpected_error_leaves_its_whole_traceback(graft_run):
    """The message of one line has the first cause, which may stand far behind, and says where the whole is."""
    code, complaint, lines = graft_run(
        'raise RuntimeError("Pipeline BeamApp-1 failed: " + "java" * 99 + "\\nCaused by: java.io.IOException: useful")'
    )
    assert code == 1
    told = "graft: unexpected: java.io.IOException: useful\nThe whole error, with the traceback, is in "
    assert complaint.startswith(told)
    texts = [text for *_, text in lines]
    assert texts[:2] == ["graft run failed", "Traceback (most recent call last):"]
    assert texts[-1] == "Caused by: java.io.IOException: useful"
    assert {line[1:4] for line in lines} == {("ERROR", "-", "pipeline.commands.session")}


@pytest.mark.slow
def test_interrupt_loses_no_line(graft_run):
    """Ctrl-C goes to all processes of a terminal; the run ends at once, and what was said before is in the log.

    A job on another engine may run on, so it is named.
    """
    code, complaint, lines = graft_run(
        "from pipeline.beam import jobs; jobs.add(jobs.Job('BeamApp-1_uuid', 'flink:8099', flink=True));"
        'os.write(2, b"by C++\\n" * 5000); print("by Python"); os.killpg(os.getpgrp(), signal.SIGINT); time.sleep(60)'
    )
    assert code == 128 + signal.SIGINT
    assert complaint.startswith("graft: interrupted before the first component: nothing was done.")
    assert "\ngraft: Job BeamApp-1 may run on in Flink and hold its slots: cancel it in Flink's interface" in complaint
    assert [text for *_, text in lines] == ["by C++"] * 5000 + ["by Python"]


@pytest.mark.slow
def test_runs_are_told_apart_in_the_log(graft_run):
    """Each appends, with its own id."""
    graft_run('print("one")')
    *_, lines = graft_run('print("two")')
    runs = {text: run for run, *_, text in lines if text in ("one", "two")}
    assert re.fullmatch(r"\d{8}T\d{6}-\d{3}Z-[0-9a-f]{4}", runs["one"])
    assert runs["one"] < runs["two"]
